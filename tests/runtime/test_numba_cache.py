import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.runtime import numba_cache
from lib.runtime.numba_cache import VARIABLE, explain_damaged_cache, use_writable_cache

MODULE = """
from numba import njit

@njit(cache=True)
def double(x):
    return 2 * x
"""
CALL = """
from lib.runtime.numba_cache import explain_damaged_cache
try:
    from kernel import double
    print(double(4))
except Exception as error:
    print(explain_damaged_cache(error))
"""


def call(folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": f"{folder}:{Path.cwd()}"}
    command = [sys.executable, "-c", CALL]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


def test_a_damaged_cache_is_one_line_and_its_remedy_mends_it(tmp_path):
    (tmp_path / "kernel.py").write_text(MODULE)
    assert call(tmp_path) == "8"
    for file in (tmp_path / "__pycache__").glob("*.nb[ic]"):
        os.truncate(file, file.stat().st_size // 2)
    line = call(tmp_path)
    assert line.startswith("the cache of compiled code is damaged; delete it with: find ")
    for file in (tmp_path / "__pycache__").glob("*.nb[ic]"):
        file.unlink()
    assert call(tmp_path) == "8"


def test_other_errors_are_not_the_cache():
    assert explain_damaged_cache(ValueError("no")) is None


@pytest.mark.parametrize("writable", ["package", "home", "none"])
def test_without_a_writable_folder_a_run_has_one_of_its_own(tmp_path, monkeypatch, writable):
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(numba_cache, "PACKAGE", tmp_path / "package")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    for name in ("package", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name == writable)
    use_writable_cache()
    if writable == "none":
        shutil.rmtree(os.environ[VARIABLE])
    else:
        assert VARIABLE not in os.environ
