"""Ranges put together give what one pass over the whole file gives, damaged or not."""

from pathlib import Path

import bson
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.records import ARRAYS, load_batch
from lib.data.sources import bson_file
from lib.data.sources.bson_file import scan_file, scan_range
from tests.conftest import jpeg, product


def together(path: Path, folder: Path, range_bytes: int, jobs: int = 1) -> tuple[dict, list]:
    files, damage = scan_file(path, folder, jobs, range_bytes=range_bytes)
    found = [load_batch(file) for file in files]
    return {n: np.concatenate([getattr(f, n) for f in found]) for n in ARRAYS}, damage


def assert_same(path: Path, folder: Path, range_bytes: int, jobs: int = 1) -> None:
    whole = scan_range(path, 0, path.stat().st_size)
    arrays, damage = together(path, folder, range_bytes, jobs)
    for name in ARRAYS:
        assert np.array_equal(arrays[name], getattr(whole, name)), name
    assert damage == whole.corrupt


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=30)), max_size=2),
    st.integers(0, 40),
    st.integers(20, 400),
)
def test_ranges_equal_one_pass_on_damaged_files(
    tmp_path_factory, products, bytes_changed, inserted, cut, range_bytes
):
    folder = tmp_path_factory.mktemp("ranges")
    records = [
        product(i, [bytes([i]) * size] * count, i) for i, (count, size) in enumerate(products)
    ]
    data = bytearray(b"".join(bson.encode(record) for record in records))
    for at, value in bytes_changed:
        data[at % len(data)] = value
    for at, garbage in inserted:
        data[at % len(data) : at % len(data)] = garbage
    path = folder / "x.bson"
    path.write_bytes(bytes(data[: len(data) - cut]) or b"\0")
    assert_same(path, folder / "ranges", range_bytes)


def test_a_picture_that_holds_products_is_a_picture(tmp_path):
    """A range that begins inside it finds the products in it, and has to be walked again."""
    inner = b"".join(bson.encode(product(100 + i, [jpeg(i)], 5)) for i in range(5))
    records = [product(1, [jpeg(1)], 5), product(2, [inner, inner], 5), product(3, [jpeg(3)], 5)]
    path = tmp_path / "x.bson"
    path.write_bytes(b"".join(bson.encode(record) for record in records))
    arrays, damage = together(path, tmp_path / "ranges", 1000)
    assert arrays["product_id"].tolist() == [1, 2, 3]
    assert damage == []


def test_processes_give_the_same_as_one(tmp_path):
    path = tmp_path / "x.bson"
    path.write_bytes(b"".join(bson.encode(product(i, [jpeg(i % 5)] * 2, i)) for i in range(40)))
    assert_same(path, tmp_path / "ranges", 2000, jobs=2)


def test_finished_ranges_are_not_scanned_again(tmp_path, monkeypatch):
    path = tmp_path / "x.bson"
    path.write_bytes(b"".join(bson.encode(product(i, [jpeg(i)], i)) for i in range(20)))
    whole = bson_file._scan_to_file
    scanned: list[int] = []

    def counted(*task):
        if len(scanned) == 3:
            raise KeyboardInterrupt
        scanned.append(task[1])
        whole(*task)

    monkeypatch.setattr(bson_file, "_scan_to_file", counted)
    with pytest.raises(KeyboardInterrupt):
        scan_file(path, tmp_path / "ranges", 1, range_bytes=1500)
    scanned.clear()
    monkeypatch.setattr(bson_file, "_scan_to_file", lambda *t: (scanned.append(t[1]), whole(*t)))
    assert_same(path, tmp_path / "ranges", 1500)
    assert min(scanned) == 3 * 1500
