import errno
import os
import shutil

import pytest

from lib.utils import disk_errors
from lib.utils.disk_errors import blame, is_disk_full


def test_an_error_of_a_file_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        (tmp_path / "file" / "inside").read_text()
    assert blame(caught.value) == f"{tmp_path / 'file' / 'inside'}: Not a directory"


def test_other_errors_are_no_file_to_blame():
    assert blame(ValueError("no")) is None
    assert blame(OSError(errno.EIO, "Input/output error")) is None  # of which file?
    assert blame(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None  # a fault of ours


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_by_the_error(tmp_path, number):
    assert is_disk_full(OSError(number, os.strerror(number)), tmp_path)


def test_a_full_disk_is_told_by_what_is_left(tmp_path, monkeypatch):
    error, folder = ValueError("short write"), tmp_path / "not" / "there"
    assert not is_disk_full(error, folder)
    monkeypatch.setattr(disk_errors, "MIN_FREE_BYTES", shutil.disk_usage(tmp_path).free * 2)
    assert is_disk_full(error, folder)
