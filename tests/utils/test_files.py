"""Files that are complete or absent."""

import json

import pytest

from lib.utils.files import atomic_write, file_lock, fsync, write_json


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("hello")
        assert not path.exists()
        assert temporary.parent == path.parent  # so that the rename stays on one file system
    assert path.read_text() == "hello"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_half()
    assert path.read_text() == "old"


def test_files_and_folders_can_be_synced(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    fsync(tmp_path / "a.txt")
    fsync(tmp_path)
    with pytest.raises(FileNotFoundError):
        fsync(tmp_path / "none")


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, None]})
    assert json.loads(path.read_text()) == {"b": [1, None]}
    with pytest.raises(TypeError):
        write_json(path, {"b": object()})
    assert json.loads(path.read_text()) == {"b": [1, None]}


def test_a_lock_is_for_one_and_ends_with_it(tmp_path):
    path = tmp_path / "folder" / ".lock"
    with file_lock(path), pytest.raises(BlockingIOError), file_lock(path):
        pass
    with file_lock(path):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / ".lock").symlink_to("nowhere")
    with pytest.raises(OSError, match="symbolic links"), file_lock(tmp_path / ".lock"):
        pass
    assert not (tmp_path / "nowhere").exists()
