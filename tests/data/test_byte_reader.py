import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lib.data import byte_reader
from lib.data.byte_reader import ByteReader, fetch_ahead
from lib.data.catalog import FileTable
from lib.data.image_reader import ImageReader
from tests.conftest import jpeg


@pytest.fixture
def catalog(index_products):
    return index_products([[jpeg(3 * i), jpeg(3 * i + 1)] for i in range(40)])


@pytest.fixture
def many_files(catalog, tmp_path):
    """The same images, one file each."""
    data = catalog.path.read_bytes()
    names = [f"{row}.jpg" for row in range(len(catalog.length))]
    for name, start, length in zip(names, catalog.offset, catalog.length, strict=True):
        (tmp_path / name).write_bytes(data[start : start + length])
    files = FileTable(np.arange(len(names)), pa.chunked_array([names]), "image")
    return replace(catalog, path=tmp_path, offset=np.zeros_like(catalog.offset), files=files)


@pytest.mark.parametrize("max_open_files", [2, 1000])
def test_one_file_and_many_files_give_the_same_bytes(
    catalog, many_files, monkeypatch, max_open_files
):
    monkeypatch.setattr(byte_reader, "MAX_OPEN_FILES", max_open_files)
    rows = np.random.default_rng(0).permutation(len(catalog.length))
    one, many = ByteReader(catalog), ByteReader(many_files)
    data = catalog.path.read_bytes()
    expected = [data[catalog.offset[r] : catalog.offset[r] + catalog.length[r]] for r in rows]
    assert list(one.read_many(rows)) == list(many.read_many(rows)) == expected
    assert one.read(5) == many.read(5)
    one.close()
    many.close()


def test_a_missing_single_file_is_an_error_at_once(catalog):
    with pytest.raises(FileNotFoundError):
        ByteReader(replace(catalog, path=catalog.path.with_name("none.bson")))


def test_a_missing_file_costs_its_own_image_alone(many_files):
    (many_files.path / "7.jpg").unlink()
    with ImageReader(many_files, (20, 16), 2) as reader:
        for _ in reader.batches(np.arange(20), 6):
            pass
        assert np.flatnonzero(reader.corrupt).tolist() == [7]
        assert reader.first_corrupt == (7, "cannot be read: No such file or directory")


def test_the_location_of_an_image_names_its_file_and_byte(catalog, many_files):
    assert ByteReader(catalog).location(3) == f"at byte {catalog.offset[3]}"
    path = many_files.path / "7.jpg"
    assert ByteReader(many_files).location(7) == f"in {path} at byte 0"


def test_a_read_error_gives_the_reason(catalog):
    reader = ByteReader(catalog)
    assert reader.read_error(79) is None
    os.truncate(catalog.path, int(catalog.offset[79]) + 3)
    assert reader.read_error(79) == "beyond the end of the file"
    assert len(reader.read(79)) == 3


@pytest.fixture
def requests(monkeypatch):
    """The (start, length) of each request to the kernel."""
    requests: list[tuple[int, int]] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda _, at, length, how: requests.append((at, length))
    )
    return requests


def test_a_prefetch_covers_every_image_and_little_else(catalog, monkeypatch, requests):
    monkeypatch.setattr(byte_reader, "GAP", 64)
    monkeypatch.setattr(byte_reader, "READAHEAD", 700)
    reader = ByteReader(catalog)
    monkeypatch.setattr(reader, "_in_page_cache", lambda rows: False)
    rows = np.array([70, 3, 4, 5, 30])
    reader.prefetch(rows)
    covered = np.zeros(catalog.path.stat().st_size, bool)
    for start, length in requests:
        covered[start : start + length] = True
    for row in rows:
        assert covered[catalog.offset[row] : catalog.offset[row] + catalog.length[row]].all()
    assert covered.sum() < 6 * catalog.length.max()
    assert max(length for _, length in requests) <= 700


def test_images_in_the_page_cache_are_not_prefetched(catalog, requests):
    catalog.path.read_bytes()
    ByteReader(catalog).prefetch(np.arange(80))
    assert requests == []


def test_long_ranges_are_fetched_in_parts(monkeypatch, requests):
    monkeypatch.setattr(byte_reader, "READAHEAD", 100)
    fetch_ahead(0, 50, 290)
    assert requests == [(50, 100), (150, 100), (250, 40)]
