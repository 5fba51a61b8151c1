"""The study as a process, and its page over real HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

STUDY = [sys.executable, "-m", "studies.human_label"]


def call(*arguments: str) -> subprocess.CompletedProcess:
    """Until it ends by itself."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*STUDY, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


class Served:
    """A running page: where it is, and what it says when it ends."""

    def __init__(self, process: subprocess.Popen, url: str) -> None:
        self.process, self.url = process, url
        self.port = int(re.findall(r":(\d+)/", url)[0])

    def ask(self, path: str, body: Any = None) -> dict[str, Any]:
        """JSON; raises HTTPError for what is no success."""
        headers = {"Origin": self.url.rstrip("/"), "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def end(self) -> str:
        """By Ctrl-C; what it printed."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        return said


@contextmanager
def served(config: Path, data: Path, *arguments: str) -> Iterator[Served]:
    command = [*STUDY, "--config", str(config), "--data", str(data), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"open (http://\S+)", line)
            if found:
                yield Served(process, found[1])
                break
        else:
            raise AssertionError(f"ended with status {process.wait()}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
