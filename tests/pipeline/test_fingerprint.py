"""How a file or folder of the user is recognised."""

import os

import pytest

from lib.errors import UserError
from lib.pipeline.fingerprint import NOT_REGULAR, SAMPLE_BYTES, fingerprint, list_files


@pytest.fixture(autouse=True)
def empty_cache():
    fingerprint.cache_clear()


def fresh_fingerprint(path):
    """The fingerprint, computed anew."""
    fingerprint.cache_clear()
    return fingerprint(path)


def test_an_absent_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        fingerprint(tmp_path / "none.bin")


def test_an_unreadable_path_is_a_user_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be read: Not a directory"):
        fingerprint(tmp_path / "file" / "below")


def test_a_file_is_recognised_by_its_size_its_start_its_middle_and_its_end(tmp_path):
    path = tmp_path / "large.bin"
    content = bytearray(5 * SAMPLE_BYTES)
    path.write_bytes(content)
    digests = {fresh_fingerprint(path)}
    for position in (0, len(content) // 2, len(content) - 1):
        changed = content.copy()
        changed[position] = 1
        path.write_bytes(changed)
        digests.add(fresh_fingerprint(path))
    path.write_bytes(content + b"\0")
    digests.add(fresh_fingerprint(path))
    assert len(digests) == 5


def test_a_folder_is_recognised_by_the_names_and_sizes_of_its_files(tmp_path):
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.jpg").write_bytes(b"one")
    first = fresh_fingerprint(folder)
    assert list_files(folder) == [("a/1.jpg", 3)]
    (folder / "a" / ".DS_Store").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "2.jpg").write_bytes(b"x")
    assert fresh_fingerprint(folder) == first
    (folder / "a" / "1.jpg").write_bytes(b"three")
    second = fresh_fingerprint(folder)
    assert second != first
    (folder / "a" / "1.jpg").rename(folder / "a" / "2.jpg")
    assert fresh_fingerprint(folder) != second


def test_a_broken_link_is_listed_with_size_0(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "2.jpg").write_bytes(b"three")
    (tmp_path / "0.jpg").symlink_to(tmp_path / "nowhere")
    assert list_files(tmp_path) == [("0.jpg", 0), ("a/2.jpg", 5)]


def test_a_folder_is_entered_once_however_many_links_lead_to_it(tmp_path):
    for name in ("b/1.jpg", "a/2.jpg"):
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).touch()
    (tmp_path / "outside" / "inner").mkdir(parents=True)
    (tmp_path / "outside" / "inner" / "3.jpg").touch()
    (tmp_path / "top" / "a" / "loop").symlink_to(tmp_path / "top")
    (tmp_path / "top" / "a" / "again").symlink_to(tmp_path / "top" / "b")
    (tmp_path / "top" / "c").symlink_to(tmp_path / "outside")
    (tmp_path / "top" / "d").symlink_to(tmp_path / "outside" / "inner")
    (tmp_path / "outside" / "inner" / "self").symlink_to(tmp_path / "outside" / "inner")
    names = [name for name, _ in list_files(tmp_path / "top")]
    assert names == ["a/2.jpg", "b/1.jpg", "c/inner/3.jpg"]


def test_a_named_pipe_is_no_file_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "p.jpg")
    assert list_files(tmp_path) == [("p.jpg", NOT_REGULAR)]
    with pytest.raises(UserError, match="neither a file nor a folder"):
        fingerprint(tmp_path / "p.jpg")
