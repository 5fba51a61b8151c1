import os
import shutil
from pathlib import Path

import pytest

from lib.runtime import numba_cache
from lib.runtime.numba_cache import VARIABLE, use_writable_cache


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


def test_a_user_without_a_home_has_no_folder_of_caches(monkeypatch):
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", fail)
    assert numba_cache._user_folders() == []
