"""The numbered scripts as a user's shell would run them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

ALL = """
import sys
from lib.cli import SCRIPTS, run_stage
for stage in SCRIPTS:
    status = run_stage(stage, "x", sys.argv[1:])
    if status:
        sys.exit(status)
"""


def run_all(*arguments: str) -> subprocess.CompletedProcess:
    """All six, one after the other until one fails; in one process, which imports once."""
    return _run(["-c", ALL, *arguments], ROOT)


def run_script(script: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return _run([str(ROOT / script), *arguments], cwd)


def _run(command: list[str], cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True
    )
