"""The numbered scripts as a user's shell would run them."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lib.cli import run_all as cli_run_all
from lib.cli import run_stage
from lib.runtime import workers
from lib.stages.order import STAGES
from tests.conftest import ROOT

SCRIPTS = {stage.NAME: stage.SCRIPT for stage in STAGES}

# Runs are forked from a process that has imported the libraries: on a tiny catalog, the imports
# take longer than all stages.
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["tests.imported_libraries"])


def fork_workers(patch: pytest.MonkeyPatch) -> None:
    """Fork the worker processes of the pipeline in the same way, instead of fresh interpreters."""
    patch.setattr(workers, "get_context", _forking_or)


def _forking_or(method: str) -> multiprocessing.context.BaseContext:
    return FORKING if method == "spawn" else multiprocessing.get_context(method)


def run_all(*arguments: str, stages: Sequence[str] = tuple(SCRIPTS)) -> subprocess.CompletedProcess:
    """These stages in order until one fails, in one process. One thread, whatever the config."""
    with TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = FORKING.Process(target=_run_stages, args=(stages, arguments, outputs))
        process.start()
        process.join()
        texts = [output.read_text() for output in outputs]
        return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def _run_stages(stages: Sequence[str], arguments: Sequence[str], outputs: Sequence[Path]) -> None:
    fork_workers(pytest.MonkeyPatch())
    for number, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(ROOT)
    for stage in STAGES:
        exit_status = run_stage(stage, arguments) if stage.NAME in stages else 0
        if exit_status:
            sys.exit(exit_status)


def run_cli_here(arguments: Sequence[str], outputs: Sequence[Path]) -> None:
    """`run_cli` in this process, a fork, whose output goes to two files; it ends the process."""
    fork_workers(pytest.MonkeyPatch())
    for number, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(ROOT)
    sys.exit(cli_run_all(arguments))


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
