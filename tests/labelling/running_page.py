"""The labelling study as a process, and its page over real HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tests import scripts
from tests.conftest import ROOT

STUDY = [sys.executable, "-m", "studies.human_label"]


def run_study(*arguments: str) -> subprocess.CompletedProcess:
    """Run the study in a fresh interpreter until it ends by itself."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*STUDY, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


class RunningPage:
    """A running study: its process, the address of its page, and the file of its stdout."""

    def __init__(self, process: ForkServerProcess, url: str, output: Path) -> None:
        self.process, self.url, self.output = process, url, output
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
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGINT)
        self.process.join()
        assert self.process.exitcode == 0
        return self.output.read_text()

    def kill(self) -> None:
        """Kill the study, which has no time for anything."""
        self.process.kill()
        self.process.join()


@contextmanager
def running_page(config: Path, data: Path, *arguments: str) -> Iterator[RunningPage]:
    """The study in a fork that has the libraries, once its page answers."""
    command = ["--config", str(config), "--data", str(data), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = scripts.fork(outputs, _run, command)
        page = None
        try:
            while page is None:
                ended = not process.is_alive()
                if address := re.search(r"open (http://\S+)\n", outputs[0].read_text()):
                    page = RunningPage(process, address[1], outputs[0])
                assert page or not ended, outputs[1].read_text()
                time.sleep(0.05)
            yield page
        finally:
            process.kill()
            process.join()


def _run(arguments: list[str]) -> int:
    from studies import human_label

    sys.argv = ["human_label", *arguments]
    return human_label.main()
