"""Gzipped drawings and how they are unpacked; `test_quickdraw.py` reads unpacked ones."""

import gzip

import pytest

from lib.data.sources.packed_files import list_packed, unpack
from lib.errors import UserError


def test_packed_files_are_listed_by_class(tmp_path):
    packed = tmp_path / "cat.ndjson.gz"
    packed.touch()
    (tmp_path / "dog.ndjson").touch()
    assert list_packed(tmp_path) == list_packed(packed) == [packed]
    assert list_packed(tmp_path, ["dog"]) == []


def test_an_incomplete_packed_file_is_an_error(tmp_path):
    data = gzip.compress(b"".join(b"%d\n" % i for i in range(9999)))
    (tmp_path / "cat.ndjson.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"cat\.ndjson\.gz: not a complete gzip file"):
        unpack(tmp_path, tmp_path)
    assert not (tmp_path / "cat.ndjson").exists()


def test_only_selected_classes_are_unpacked(tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / f"{name}.ndjson.gz").write_bytes(gzip.compress(b"{}\n"))
    assert unpack(tmp_path, tmp_path / "out", ["dog"]) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dog.ndjson"]
    assert (tmp_path / "out" / "dog.ndjson").read_bytes() == b"{}\n"


def test_plain_files_lie_beside_the_unpacked_ones(tmp_path):
    source, folder = tmp_path / "train", tmp_path / "out"
    (source / "birds").mkdir(parents=True)
    folder.mkdir()
    (source / "birds" / "owl.NDJSON.GZ").write_bytes(gzip.compress(b"owl\n"))
    (source / "cat.ndjson.gz").write_bytes(gzip.compress(b"packed\n"))
    (source / "cat.ndjson").write_bytes(b"plain\n")
    (source / "dog.ndjson").write_bytes(b"dog\n")
    assert list_packed(source) == [source / "birds" / "owl.NDJSON.GZ"]
    assert unpack(source, folder) == 1
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
    assert files == {"birds/owl.NDJSON": b"owl\n", "cat.ndjson": b"plain\n", "dog.ndjson": b"dog\n"}


def test_another_kind_of_file_is_named(tmp_path):
    (tmp_path / "cat.ndjson.gz").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"not a gzip archive but a pointer of git-lfs; run `git"):
        unpack(tmp_path, tmp_path)


def test_a_small_file_that_unpacks_to_very_much_is_refused(tmp_path):
    source, folder = tmp_path / "source", tmp_path / "unpacked"
    source.mkdir()
    folder.mkdir()
    (source / "cat.ndjson.gz").write_bytes(gzip.compress(bytes(70 << 20), 1))
    with pytest.raises(UserError, match="unpacks to more than 100 times its size"):
        unpack(source, folder)
    assert not (folder / "cat.ndjson").exists()
