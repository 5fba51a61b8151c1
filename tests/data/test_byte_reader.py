"""The same bytes, whichever way the pictures lie in files."""

import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lib.data import byte_reader as module
from lib.data.byte_reader import ByteReader
from lib.data.catalog import FileTable, build_categories, read_catalog, read_categories
from lib.data.image_reader import ImageReader
from lib.data.sources.bson_file import index_bson
from tests.conftest import jpeg, product


@pytest.fixture
def known(tmp_path, write_bson, write_categories):
    path = write_bson([product(i, [jpeg(3 * i), jpeg(3 * i + 1)], 10) for i in range(40)])
    build_categories(tmp_path, write_categories([10]))
    index_bson(tmp_path, path, read_categories(tmp_path), True, 0.0)
    return read_catalog(tmp_path, path)


@pytest.fixture
def scattered(known, tmp_path):
    """The same pictures, a file each."""
    data = known.path.read_bytes()
    names = [f"{row}.jpg" for row in range(len(known.length))]
    for name, start, length in zip(names, known.offset, known.length, strict=True):
        (tmp_path / name).write_bytes(data[start : start + length])
    files = FileTable(np.arange(len(names)), pa.chunked_array([names]), "image")
    return replace(known, path=tmp_path, offset=np.zeros_like(known.offset), files=files)


@pytest.mark.parametrize("most_open", [2, 1000])
def test_one_file_or_many_give_the_same_bytes(known, scattered, monkeypatch, most_open):
    monkeypatch.setattr(module, "MAX_OPEN_FILES", most_open)
    rows = np.random.default_rng(0).permutation(len(known.length))
    one, many = ByteReader(known), ByteReader(scattered)
    data = known.path.read_bytes()
    expected = [data[known.offset[r] : known.offset[r] + known.length[r]] for r in rows]
    assert list(one.read_many(rows)) == list(many.read_many(rows)) == expected
    assert one.read(5) == many.read(5)
    one.close()
    many.close()


def test_a_file_that_is_gone_is_a_fault_of_its_picture_alone(scattered):
    (scattered.path / "7.jpg").unlink()
    with ImageReader(scattered, (20, 16), 2) as reader:
        for _ in reader.batches(np.arange(20), 6):
            pass
        assert np.flatnonzero(reader.corrupt).tolist() == [7]
        assert reader.first_corrupt == (7, "cannot be read: No such file or directory")
        assert str(scattered.path / "7.jpg") in reader.byte_reader.location(7)


def test_bitmaps_are_read_as_grey_pictures(known, tmp_path):
    bitmaps = np.random.default_rng(0).integers(0, 256, (80, 6, 5), np.uint8)
    (tmp_path / "a.raw").write_bytes(bitmaps[:50].tobytes())
    (tmp_path / "b.raw").write_bytes(b"head" + bitmaps[50:].tobytes())
    files = FileTable(np.array([0, 50]), pa.chunked_array([["a.raw", "b.raw"]]), "uint8:6x5")
    row = np.arange(80)
    offset = np.where(row < 50, row * 30, 4 + (row - 50) * 30)
    length = np.full(80, 30, np.int32)
    drawn = replace(known, path=tmp_path, offset=offset, length=length, files=files)
    with ImageReader(drawn, (6, 5), 2) as reader:
        ((_, pictures),) = reader.batches(row, 100)
    assert (pictures == bitmaps[:, None]).all()


def test_what_is_asked_for_ahead_covers_every_picture(known, monkeypatch):
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, at, length, how: asked.append((at, length)))
    monkeypatch.setattr(module, "GAP", 64)
    monkeypatch.setattr(module, "READAHEAD", 700)
    byte_reader = ByteReader(known)
    monkeypatch.setattr(byte_reader, "_in_page_cache", lambda rows: False)
    rows = np.array([70, 3, 4, 5, 30])
    byte_reader.prefetch(rows)
    covered = np.zeros(known.path.stat().st_size, bool)
    for at, length in asked:
        covered[at : at + length] = True
    for row in rows:
        assert covered[known.offset[row] : known.offset[row] + known.length[row]].all()
    assert covered.sum() < 6 * known.length.max()
    assert max(length for _, length in asked) <= 700


def test_nothing_is_asked_for_that_is_in_page_cache(known, monkeypatch):
    known.path.read_bytes()
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: pytest.fail("asked"))
    ByteReader(known).prefetch(np.arange(80))
