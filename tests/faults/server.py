"""A process that has imported the libraries and forks a run of the stages for each request.

On a tiny catalog the imports take longer than all stages. The shared library of `interpose.c` is
loaded with it, so that system calls of a run can fail or send a signal at their n-th turn.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.runtime.workers import THREAD_VARIABLES
from tests.conftest import ROOT

SOURCE = Path(__file__).with_name("interpose.c")
CLOSED_PIPE = "closed pipe"
MAX_SECONDS, HUNG = 300, 124  # of a run; the exit status of one that takes longer


@dataclass(frozen=True)
class Ended:
    """A run that has ended: its exit status as a shell gives it, and what it printed."""

    exit_status: int
    stdout: str
    stderr: str


class Server:
    """Starts runs and waits for them. Use it as a context."""

    def __init__(self, folder: Path) -> None:
        """folder: for the compiled library, the counter of system calls, and printed text."""
        self._folder = folder
        self._library = compile_interposer(folder)
        self.counter = folder / "counter"
        (folder / "home").mkdir()
        (folder / "home").chmod(0o777)
        self._number = 0

    def __enter__(self) -> "Server":
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
        environment |= {"PYTHONPATH": str(ROOT), "LD_PRELOAD": str(self._library)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(
        self,
        stages: Sequence[str],
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        stdout: str | None = None,
        user: int | None = None,
    ) -> "Running":
        """Start these stages in order until one fails, in a process group of its own.

        environment: FAULT_* of `interpose.c`. limits: of `resource`, as {"RLIMIT_FSIZE": 4096};
        "memory" is in bytes beyond what the process has. stdout: path to write to, or CLOSED_PIPE;
        default: a file that `Running.wait` reads. user: id to run as.
        """
        self._number += 1
        self.counter.write_bytes(bytes(8))
        outputs = [self._folder / f"{name}-{self._number}" for name in ("stdout", "stderr")]
        request = {
            "stages": list(stages),
            "arguments": list(arguments),
            "environment": {**(environment or {}), "FAULT_COUNTER": str(self.counter)},
            "limits": dict(limits or {}),
            "outputs": [stdout or str(outputs[0]), str(outputs[1])],
            "user": user,
            "home": str(self._folder / "home"),
        }
        return Running(self, self.ask("start", request), outputs)

    def ask(self, verb: str, request: Any) -> int:
        """Send one request and return the number that answers it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([verb, request]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def count(self) -> int:
        """Calls of the chosen kind since the last start."""
        return int.from_bytes(self.counter.read_bytes(), sys.byteorder)


@dataclass(frozen=True)
class Running:
    """A run that has been started; `process` is also the id of its process group."""

    server: Server
    process: int
    outputs: Sequence[Path]

    def wait(self) -> Ended:
        """Wait for the end."""
        exit_status = self.server.ask("wait", self.process)
        texts = [path.read_text(errors="replace") if path.exists() else "" for path in self.outputs]
        for path in self.outputs:
            path.unlink(missing_ok=True)
        return Ended(exit_status, *texts)


def compile_interposer(folder: Path) -> Path:
    """The shared library of `interpose.c`."""
    library = folder / "interpose.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-ldl"], check=True
    )
    return library


def serve() -> None:
    """Answer requests on stdin until it closes."""
    import tests.imported_libraries  # noqa: F401

    for line in sys.stdin:
        verb, request = json.loads(line)
        if verb == "start":
            print(_fork(request), flush=True)
        else:
            print(_wait(request), flush=True)


def _fork(request: dict[str, Any]) -> int:
    process = os.fork()
    if process:
        return process
    exit_status = 1
    try:
        exit_status = _run(request)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # as an interpreter that ends
    finally:
        _exit(exit_status)
    return 0


def _run(request: dict[str, Any]) -> int:
    from lib.cli import run_stage
    from lib.stages.order import STAGES

    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, output in enumerate(request["outputs"], start=1):
        os.dup2(_open_output(output), number)
    for name, limit in request["limits"].items():
        if name == "memory":  # beyond what this process has
            name, limit = "RLIMIT_AS", limit + _virtual_bytes()
        resource.setrlimit(getattr(resource, name), (limit, limit))
    if request["user"] is not None:
        os.setgid(request["user"])
        os.setuid(request["user"])
        os.environ["HOME"] = request["home"]  # numba keeps compiled code there
    os.environ.update(request["environment"])
    ctypes.CDLL(None).fault_arm()
    for stage in STAGES:
        if stage.NAME in request["stages"]:
            exit_status = run_stage(stage, request["arguments"])
            if exit_status:
                return exit_status
    return 0


def _open_output(output: str) -> int:
    if output != CLOSED_PIPE:
        return os.open(output, os.O_WRONLY | os.O_CREAT, 0o666)
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _virtual_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _exit(exit_status: int) -> None:
    """End as an interpreter does: its exit functions run, and its streams are flushed."""
    import atexit
    import logging

    atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            exit_status = exit_status or 120  # as Python's own
    os._exit(exit_status)


def _wait(process: int) -> int:
    end = time.monotonic() + MAX_SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return HUNG


if __name__ == "__main__":
    serve()
