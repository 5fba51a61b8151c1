import json
from pathlib import Path

import numpy as np
import pytest

from lib.data.catalog import Categories, read_catalog
from lib.data.index import SourceInfo, write_index
from lib.data.records import NO_CATEGORY, CorruptRecord, RecordBatch
from lib.errors import UserError

CATEGORIES = Categories(np.array([10, 20, 30]), [("", "", "")] * 3)


def batch_of(records: list[tuple[int, int, int]], lengths: list[int], **kwargs) -> RecordBatch:
    """Records of (product_id, category_id, number of images), 100 bytes apart."""
    product_id, category_id, image_count = np.array(records).reshape(-1, 3).T
    return RecordBatch(
        location=np.arange(len(records)) * 100,
        product_id=product_id,
        category_id=category_id,
        image_count=image_count.astype(np.int32),
        offset=np.arange(len(lengths)) * 10,
        length=np.array(lengths, np.int32),
        md5=np.arange(len(lengths), dtype=np.uint8).repeat(16).reshape(-1, 16),
        **kwargs,
    )


def write(folder, batches, info=None, corrupt=(), labelled=True, max_bad_fraction=1.0):
    loaders = [lambda batch=batch: batch for batch in batches]
    info = SourceInfo(Path("x.bson")) if info is None else info
    return write_index(folder, info, loaders, corrupt, CATEGORIES, labelled, max_bad_fraction)


def test_unusable_records_are_counted_and_left_out(tmp_path, caplog):
    records = [(1, 10, 3), (2, 20, 0), (1, 10, 1), (3, 99, 1), (4, NO_CATEGORY, 1), (5, 30, 1)]
    facts = write(tmp_path, [batch_of(records, [5, 0, 6, 7, 8, 9, 4])])
    assert facts == {"products": 3, "images": 3, "distinct_images": 3, "bad_records": 3}
    catalog = read_catalog(tmp_path, Path("x.bson"))
    assert catalog.product_id.tolist() == [1, 2, 5]
    assert catalog.label.tolist() == [0, 1, 2]
    assert catalog.image_count.tolist() == [2, 0, 1]
    assert catalog.image_position.tolist() == [0, 1, 0]
    assert catalog.image_product.tolist() == [0, 0, 2]
    assert catalog.first_image.tolist() == [0, 2, 2]
    assert catalog.offset.tolist() == [0, 20, 60]
    report = json.loads((tmp_path / "scan_report.json").read_text())
    assert report["counts"] == {
        "image of no bytes": 1,
        "product without images": 1,
        "duplicate _id": 1,
        "unknown category_id": 1,
        "no category_id": 1,
    }
    assert "1 x unknown category_id, the first at byte 300 (99); pass --strict" in caplog.text


def test_batches_are_numbered_through(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = batch_of([(1, 10, 2), (2, 20, 1)], [5, 6, 7])
    second = batch_of([(3, 30, 1), (2, 10, 1)], [8, 9])
    both = batch_of([(1, 10, 2), (2, 20, 1), (3, 30, 1), (2, 10, 1)], [5, 6, 7, 8, 9])
    both.offset[3:] -= 30
    both.md5[3:] -= 3
    write(tmp_path / "one", [both])
    write(tmp_path / "two", [first, second])
    for name in ("products.arrow", "images.arrow"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_labels_of_an_unlabelled_source_are_ignored(tmp_path):
    write(tmp_path, [batch_of([(1, 99, 0), (2, 10, 0)], [])], labelled=False)
    assert read_catalog(tmp_path, Path("x.bson")).label.tolist() == [-1, -1]


def test_too_many_bad_records_are_an_error(tmp_path):
    records = [(1, 10, 0), (2, 99, 0), (3, 10, 0), (4, 10, 0)]
    assert write(tmp_path, [batch_of(records, [])], max_bad_fraction=0.25)["bad_records"] == 1
    with pytest.raises(UserError, match=r"1 of 4 records .* first at byte 100: unknown category"):
        write(tmp_path, [batch_of(records, [])], max_bad_fraction=0.2)


def test_corrupt_bytes_count_by_their_fraction_of_the_file(tmp_path):
    batch, info = batch_of([(i, 10, 0) for i in range(30)], []), SourceInfo(Path("x"), size=1000)
    corrupt = [CorruptRecord(0, 300, "garbage")]
    assert write(tmp_path, [batch], info, corrupt, max_bad_fraction=0.3)["bad_records"] == 1
    with pytest.raises(UserError, match="1 of 31 records cannot be used, the first at byte 0"):
        write(tmp_path, [batch], info, corrupt, max_bad_fraction=0.2)


def test_keys_groups_and_files_are_kept_for_usable_records(tmp_path):
    info = SourceInfo(
        Path("folder"),
        "row",
        keys=["a", "b", "c"],
        groups=np.array([7, 7, 8], np.int32),
        files=["one.jpg", "two.jpg"],
        codec="uint8:2x2",
    )
    records = [(1, 10, 1), (2, NO_CATEGORY, 1), (3, 30, 2)]
    batch = batch_of(records, [4, 4, 4, 0], file=np.array([0, 0, 1, 1], np.int32))
    write(tmp_path, [batch], info)
    catalog = read_catalog(tmp_path, Path("folder"))
    assert [catalog.key(row) for row in range(2)] == ["a", "c"]
    assert catalog.group.tolist() == [7, 8]
    assert catalog.files.names.to_pylist() == ["one.jpg", "two.jpg"]
    assert catalog.files.first_image.tolist() == [0, 1]
    assert catalog.files.codec == "uint8:2x2"
    records = json.loads((tmp_path / "scan_report.json").read_text())["records"]
    assert [(r["row"], r["reason"]) for r in records] == [
        (100, "no category_id b"),
        (200, "image file missing or empty two.jpg"),
    ]
