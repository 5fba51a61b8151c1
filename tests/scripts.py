"""The numbered scripts as a user's shell would run them."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from lib import cli
from lib.cli import run_all as cli_run_all
from lib.cli import run_stage
from lib.runtime import workers
from lib.stages.order import STAGES
from tests.conftest import ROOT

SCRIPTS = {stage.NAME: stage.SCRIPT for stage in STAGES}

# Runs are forked from a process that has imported the libraries: on a tiny catalog, the imports
# take longer than all stages. Their workers are forked from the same process, which no run and no
# worker has started itself, so it is told its address.
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["tests.imported_libraries"])
_server: Any = forkserver._forkserver  # type: ignore[attr-defined]
_outputs: tuple[Path, ...] = ()  # the files of stdout and stderr of this process, if it is a fork


class _Worker(ForkServerProcess):
    """A worker of the pipeline whose output goes where that of its run goes."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.outputs = _outputs

    def run(self) -> None:
        _redirect(self.outputs)
        super().run()


class _Workers(ForkServerContext):
    Process = _Worker


def fork_workers(patch: pytest.MonkeyPatch) -> None:
    """Fork the worker processes of the pipeline in the same way, instead of fresh interpreters."""
    patch.setattr(workers, "get_context", forking_or)


def forking_or(method: str) -> multiprocessing.context.BaseContext:
    """A context that forks where fresh interpreters are asked for; else as `get_context`."""
    return _Workers() if method == "spawn" else multiprocessing.get_context(method)


def run_all(*arguments: str, stages: Sequence[str] = tuple(SCRIPTS)) -> subprocess.CompletedProcess:
    """These stages in order until one fails, in one process. One thread, whatever the config."""
    return call_in_fork(_run_stages, stages, arguments)


def fork_run(*arguments: str) -> subprocess.CompletedProcess:
    """`run_cli` in a fork, which forks its scripts too."""
    return call_in_fork(_run_cli, arguments)


def fork_stage(outputs: Sequence[Path], stage: str, *arguments: str) -> ForkServerProcess:
    """Start a numbered script in a fork; its stdout and stderr go to two files."""
    return fork(outputs, _run_stages, [stage], arguments)


def fork_cli(arguments: Sequence[str], outputs: Sequence[Path]) -> ForkServerProcess:
    """Start what `run_cli` calls in a fork; its stdout and stderr go to two files."""
    return fork(outputs, cli_run_all, arguments)


def fork(outputs: Sequence[Path], call: Callable[..., int], *arguments: Any) -> ForkServerProcess:
    """Start a function whose value is the exit status; its stdout and stderr go to two files."""
    for output in outputs:
        output.touch()
    _server.ensure_running()
    address = _server._forkserver_address
    process = FORKING.Process(target=_in_fork, args=(address, outputs, call, arguments))
    process.start()
    return process


def call_in_fork(call: Callable[..., int], *arguments: Any) -> subprocess.CompletedProcess:
    """Call a function in a fork until its end; the last argument is that of a shell."""
    with TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = fork(outputs, call, *arguments)
        process.join()
        texts = [output.read_text() for output in outputs]
        assert process.exitcode is not None
        return subprocess.CompletedProcess(arguments[-1], process.exitcode, *texts)


def _in_fork(
    address: str, outputs: Sequence[Path], call: Callable[..., int], arguments: Sequence[Any]
) -> None:
    global _outputs
    _server._forkserver_address = address
    _server.ensure_running = resource_tracker.ensure_running
    _outputs = tuple(outputs)
    _redirect(_outputs)
    fork_workers(pytest.MonkeyPatch())
    os.chdir(ROOT)
    sys.exit(call(*arguments))


def _redirect(outputs: Sequence[Path]) -> None:
    """Append stdout and stderr of this process to two files."""
    for number, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), number)


def _run_cli(arguments: Sequence[str]) -> int:
    pytest.MonkeyPatch().setattr(cli, "run_script", _fork_script)
    return cli_run_all(arguments)


def _fork_script(command: Sequence[str]) -> int:
    """In place of `lib.runtime.scripts.run_script`."""
    (stage,) = [name for name, script in SCRIPTS.items() if script == command[1]]
    process = fork_stage(_outputs, stage, *command[2:])
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run_stages(stages: Sequence[str], arguments: Sequence[str]) -> int:
    for stage in STAGES:
        exit_status = run_stage(stage, arguments) if stage.NAME in stages else 0
        if exit_status:
            return exit_status
    return 0


def run_script(script: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """One numbered script."""
    return _run([str(ROOT / script), *arguments], cwd)


def run_cli(*arguments: str) -> subprocess.CompletedProcess:
    """`python -m lib.cli`, as `run_all.sh` calls it."""
    return _run(["-m", "lib.cli", *arguments], ROOT)


def _run(command: list[str], cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True
    )
