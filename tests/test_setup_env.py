"""`setup_env.sh` with a driver and without one; pip and the driver are stand-ins."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

PYTHON = """#!/bin/sh
echo "$@" >>calls
"""


@pytest.fixture
def box(tmp_path) -> Path:
    """A folder with the scripts, an environment that notes its calls, and a folder of commands."""
    for name in ("setup_env.sh", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    write_command(tmp_path / ".venv" / "bin" / "python", PYTHON)
    write_command(tmp_path / "commands" / "nvidia-smi", "#!/bin/sh\nexit 1\n")
    return tmp_path


def write_command(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def set_up(box: Path) -> list[str]:
    """The calls of pip, without options. Whatever was installed is then compiled."""
    (box / "calls").write_text("")
    path = f"{box / 'commands'}:{os.environ['PATH']}"
    script = "set -euo pipefail; . ./setup_env.sh; setup_env requirements.txt"
    subprocess.run(["bash", "-c", script], cwd=box, env=os.environ | {"PATH": path}, check=True)
    calls = (box / "calls").read_text().splitlines()
    pip = [call for call in calls if "compileall" not in call]
    assert calls == [*pip, "-m compileall -qq --workers 0 .venv/lib"] if pip else calls == []
    return [" ".join(word for word in call.split() if not word.startswith("--")) for call in pip]


def test_a_machine_without_a_driver_keeps_the_build_for_cpus(box):
    assert set_up(box) == ["-m pip install -r requirements.txt"]
    assert set_up(box) == []


def test_a_machine_with_a_driver_gets_the_build_of_the_same_version_for_gpus(box):
    write_command(box / "commands" / "nvidia-smi", "#!/bin/sh\necho GPU 0\n")
    version = next(
        line.split("==")[1].split()[0]
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line.startswith("xgboost-cpu==")
    )
    assert set_up(box) == [
        "-m pip install -r requirements.txt",
        "-m pip uninstall xgboost-cpu",
        f"-m pip install xgboost=={version}",
    ]
    assert set_up(box) == []


def test_a_driver_that_is_installed_later_is_noticed(box):
    assert len(set_up(box)) == 1
    write_command(box / "commands" / "nvidia-smi", "#!/bin/sh\necho GPU 0\n")
    assert len(set_up(box)) == 3
