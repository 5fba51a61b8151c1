"""The labelling study as a process, and its page over real HTTP."""

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


def run_study(*arguments: str) -> subprocess.CompletedProcess:
    """Run the study until it ends by itself."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*STUDY, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


class RunningPage:
    """A running study: its process and the address of its page."""

    def __init__(self, process: subprocess.Popen, url: str) -> None:
        self.process, self.url = process, url
        self.port = int(re.findall(r":(\d+)/", url)[0])

    def request(self, path: str, body: Any = None) -> dict[str, Any]:
        """The JSON response; raises HTTPError for an error status."""
        headers = {"Origin": self.url.rstrip("/"), "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def interrupt(self) -> str:
        """Stop the study by Ctrl-C; returns what it printed."""
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        return output


@contextmanager
def running_page(config: Path, data: Path, *arguments: str) -> Iterator[RunningPage]:
    command = [*STUDY, "--config", str(config), "--data", str(data), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            address = re.search(r"open (http://\S+)", line)
            if address:
                yield RunningPage(process, address[1])
                break
        else:
            raise AssertionError(f"ended with status {process.wait()}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
