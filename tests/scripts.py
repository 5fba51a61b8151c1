"""The numbered scripts as a user's shell would run them."""

import os
import subprocess
import sys
from pathlib import Path

from lib.stages.order import STAGES
from tests.conftest import ROOT

SCRIPTS = {stage.NAME: stage.SCRIPT for stage in STAGES}

ALL_STAGES = """
import sys
from lib.cli import run_stage
from lib.stages.order import STAGES
for stage in STAGES:
    exit_status = run_stage(stage, sys.argv[1:])
    if exit_status:
        sys.exit(exit_status)
"""


def run_all(*arguments: str) -> subprocess.CompletedProcess:
    """All six stages in order until one fails, in one process that imports the libraries once."""
    return _run(["-c", ALL_STAGES, *arguments], ROOT)


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
