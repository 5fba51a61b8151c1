import errno
import os
import shutil

import numpy as np
import pytest

from lib.utils import disk_errors
from lib.utils.disk_errors import explain_disk_error, find_os_error, is_disk_full, naming


def test_an_error_of_a_file_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        (tmp_path / "file" / "inside").read_text()
    inside = tmp_path / "file" / "inside"
    assert explain_disk_error(caught.value, tmp_path) == f"{inside}: Not a directory; mend that"


def test_an_error_without_a_name_names_the_folder_of_the_run(tmp_path):
    error = OSError(errno.EIO, "Input/output error")
    assert explain_disk_error(error, tmp_path) == f"{tmp_path}: Input/output error; mend that"
    too_many = OSError(errno.EMFILE, "Too many open files")
    assert str(explain_disk_error(too_many, tmp_path)).endswith("allow more open files (ulimit -n)")


def test_other_errors_have_no_explanation(tmp_path):
    assert explain_disk_error(ValueError("no"), tmp_path) is None
    missing = FileNotFoundError(errno.ENOENT, "No such file", "x")  # a fault of ours
    assert explain_disk_error(missing, tmp_path) is None


def test_the_error_that_a_library_turned_into_its_own_is_found():
    cause = PermissionError(errno.EACCES, "Permission denied", "file")
    by_cause, by_context = RuntimeError("broken archive"), RuntimeError("broken archive")
    by_cause.__cause__ = by_context.__context__ = cause
    assert find_os_error(by_cause) is cause
    assert find_os_error(by_context) is cause
    assert find_os_error(RuntimeError("broken archive")) is None


def test_a_short_write_of_numpy_is_an_error_of_the_disk(tmp_path):
    with (
        open("/dev/full", "wb", buffering=0) as file,
        pytest.raises(OSError, match="0 written") as caught,
    ):
        np.zeros(1 << 16).tofile(file)
    assert caught.value.errno is None  # the trouble with it
    line = f"{tmp_path}: cannot be written; mend that"
    assert explain_disk_error(caught.value, tmp_path) == line
    with pytest.raises(OSError, match=str(tmp_path)) as named, naming(tmp_path):
        raise caught.value
    assert explain_disk_error(named.value, tmp_path / "other") == line


def test_naming_gives_an_error_a_path_and_keeps_one_that_it_has(tmp_path):
    for given, expected in ((None, str(tmp_path)), ("other", "other")):
        with pytest.raises(OSError, match="broken") as caught, naming(tmp_path):
            raise OSError(errno.EIO, "broken", given)
        assert caught.value.filename == expected


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_by_the_error(tmp_path, number):
    assert is_disk_full(OSError(number, os.strerror(number)), tmp_path)


def test_a_full_disk_is_told_by_what_is_left(tmp_path, monkeypatch):
    error, folder = ValueError("short write"), tmp_path / "not" / "there"
    assert not is_disk_full(error, folder)
    monkeypatch.setattr(disk_errors, "MIN_FREE_BYTES", shutil.disk_usage(tmp_path).free * 2)
    assert is_disk_full(error, folder)
    assert not is_disk_full(KeyboardInterrupt(), folder)
    explained = explain_disk_error(error, folder)
    assert explained == f"{folder}: no space left on the disk; free some"
