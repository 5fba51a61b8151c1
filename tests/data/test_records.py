from dataclasses import replace

import numpy as np
import pytest

from lib.data.records import (
    ARRAYS,
    CorruptRecord,
    RecordBatch,
    is_complete,
    load_batch,
    load_header,
    save_batch,
)


@pytest.fixture
def batch():
    return RecordBatch(
        location=np.array([0, 70]),
        product_id=np.array([5, 6]),
        category_id=np.array([1, 2]),
        image_count=np.array([1, 2], np.int32),
        offset=np.array([10, 80, 90]),
        length=np.array([5, 6, 7], np.int32),
        md5=np.arange(48, dtype=np.uint8).reshape(3, 16),
        start=0,
        end=100,
        ends_corrupt=True,
        corrupt=[CorruptRecord(60, 10, "no _id"), CorruptRecord(97, 3, "garbage")],
    )


def test_a_batch_is_loaded_as_it_was_saved(tmp_path, batch):
    save_batch(batch, tmp_path / "b.npy")
    loaded = load_batch(tmp_path / "b.npy")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(batch, name))
    assert (loaded.start, loaded.end, loaded.ends_corrupt) == (0, 100, True)
    assert loaded.corrupt == batch.corrupt
    assert loaded.file is None
    assert load_header(tmp_path / "b.npy") == ([0, 100, 1], batch.corrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["b.npy"]


def test_the_files_of_images_are_kept(tmp_path, batch):
    save_batch(replace(batch, file=np.array([0, 0, 1], np.int32)), tmp_path / "b.npy")
    assert load_batch(tmp_path / "b.npy").file.tolist() == [0, 0, 1]


def test_a_truncated_file_is_not_complete(tmp_path, batch):
    path = tmp_path / "b.npy"
    assert not is_complete(path)
    save_batch(batch, path)
    assert is_complete(path)
    path.write_bytes(path.read_bytes()[:-5])
    assert not is_complete(path)


def test_a_changed_byte_makes_a_batch_incomplete(tmp_path):
    empty = np.empty(0, np.int64)
    batch = RecordBatch(*[empty] * 6, np.empty((0, 16), np.uint8))
    path = tmp_path / "b.npy"
    save_batch(batch, path)
    data = path.read_bytes()
    assert is_complete(path)
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert not is_complete(path)
