import hashlib
import json

import bson
import numpy as np
import pytest

from lib.data.catalog import build_categories, read_catalog, read_categories
from lib.data.scan_report import check_strict
from lib.data.sources.bson_file import index_bson
from lib.errors import UserError
from tests.conftest import jpeg, product


@pytest.fixture
def classes(tmp_path, write_categories):
    build_categories(tmp_path, write_categories([30, 10, 20]))
    return read_categories(tmp_path)


def test_the_real_example(shared_data, tmp_path):
    root = shared_data / "cdiscount"
    assert build_categories(tmp_path, root / "category_names.csv") == {"classes": 5270}
    table = read_categories(tmp_path)
    facts = index_bson(tmp_path, root / "train_example.bson", table, True, 0.0)
    assert facts == {"products": 82, "images": 110, "distinct_images": 109, "passed_over": 0}
    known = read_catalog(tmp_path, root / "train_example.bson")
    assert len(np.unique(known.label)) == 36
    with (root / "train_example.bson").open("rb") as file:
        records = list(bson.decode_file_iter(file))
    assert known.product_id.tolist() == [r["_id"] for r in records]
    assert table.category_id[known.label].tolist() == [r["category_id"] for r in records]
    pictures = [(row, i["picture"]) for row, r in enumerate(records) for i in r["imgs"]]
    data = (root / "train_example.bson").read_bytes()
    for image, (row, picture) in enumerate(pictures):
        start, length = int(known.offset[image]), int(known.length[image])
        assert data[start : start + length] == picture
        assert known.image_product[image] == row
        assert known.md5[image].tobytes() == hashlib.md5(picture).digest()


def test_classes_are_ordered_by_id_and_named(classes):
    assert classes.category_id.tolist() == [10, 20, 30]
    assert classes.names[0] == ("TOP", "MIDDLE 0", "LEAF 10")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "line 1: no column category_id"),
        ("category_id,category_level1,category_level2,category_level3\nx,a,b,c\n", "line 2"),
        ("category_id,category_level1,category_level2,category_level3\n", "no categories"),
        (
            "category_id,category_level1,category_level2,category_level3\n1,a,b,c\n1,a,b,c\n",
            "line 3: duplicate category_id 1",
        ),
    ],
)
def test_a_bad_category_table_is_named_by_line(tmp_path, text, words):
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        build_categories(tmp_path, path)


def test_odd_records_are_counted_and_passed_over(tmp_path, write_bson, classes, caplog):
    path = write_bson(
        [
            product(1, [jpeg(1), b"", jpeg(2)], 10),
            product(2, [], 20),
            product(1, [jpeg(3)], 10),
            product(3, [jpeg(4)], 99),
            product(4, [jpeg(5)]),
            product(5, [jpeg(6)], 30),
        ]
    )
    facts = index_bson(tmp_path, path, classes, True, 0.9)
    assert facts == {"products": 3, "images": 3, "distinct_images": 3, "passed_over": 3}
    known = read_catalog(tmp_path, path)
    assert known.product_id.tolist() == [1, 2, 5]
    assert known.label.tolist() == [0, 1, 2]
    assert known.image_count.tolist() == [2, 0, 1]
    assert known.image_position.tolist() == [0, 1, 0]
    assert known.first_image.tolist() == [0, 2, 2]
    counts = json.loads((tmp_path / "damage.json").read_text())["counts"]
    assert counts == {
        "image of no bytes": 1,
        "product without images": 1,
        "duplicate _id": 1,
        "unknown category_id": 1,
        "no category_id": 1,
    }
    assert "1 x unknown category_id" in caplog.text
    with pytest.raises(UserError, match=r"3 of 6 records cannot be used.*byte.*duplicate _id 1"):
        index_bson(tmp_path, path, classes, True, 0.1)


def test_the_test_file_has_no_labels(tmp_path, write_bson, classes):
    path = write_bson([product(7, [jpeg(1)]), product(8, [jpeg(1)], 10)])
    index_bson(tmp_path, path, classes, False, 0.0)
    assert read_catalog(tmp_path, path).label.tolist() == [-1, -1]


def test_an_empty_file_is_an_error(tmp_path, classes):
    (tmp_path / "e.bson").touch()
    with pytest.raises(UserError, match="the file is empty"):
        index_bson(tmp_path, tmp_path / "e.bson", classes, True, 0.0)


def test_images_of_products(tmp_path, write_bson, classes):
    pictures = [product(i, [jpeg(i)] * (i % 3), 10) for i in range(6)]
    path = write_bson(pictures)
    index_bson(tmp_path, path, classes, True, 0.0)
    known = read_catalog(tmp_path, path)
    assert known.images_of(np.array([5, 1, 3])).tolist() == [0, 4, 5]


def test_each_kind_of_damage_is_counted_and_named_by_its_byte(tmp_path, write_bson, classes):
    records = [product(i, [jpeg(i)], 10) for i in range(4)] + [product(3, [b""], 10)]
    path = write_bson(records)
    sizes = [len(bson.encode(record)) for record in records]
    data = path.read_bytes()
    middle = sum(sizes[:2])
    tail = bson.encode(product(9, [jpeg(9)], 10))[:30]
    path.write_bytes(data[:middle] + b"\xff" * 50 + data[middle:] + tail)
    facts = index_bson(tmp_path, path, classes, True, 0.9)
    assert (facts["products"], facts["passed_over"]) == (4, 3)
    report = json.loads((tmp_path / "damage.json").read_text())
    size = path.stat().st_size
    assert [(r["byte"], r["reason"]) for r in report["records"]] == [
        (middle, "garbage where a record should begin, or a wrong length (-1)"),
        (sum(sizes[:4]) + 50, "duplicate _id 3"),
        (
            size - 30,
            f"truncated, or a wrong length: {_length(tail)} bytes expected, 30 left",
        ),
    ]
    with pytest.raises(UserError, match=rf"--strict: .*duplicate _id.* the first at byte {middle}"):
        check_strict(tmp_path, path)


def _length(record: bytes) -> int:
    return int.from_bytes(record[:4], "little")


def test_strict_passes_a_whole_file(tmp_path, write_bson, classes):
    path = write_bson([product(1, [jpeg(1)], 10)])
    index_bson(tmp_path, path, classes, True, 0.0)
    check_strict(tmp_path, path)


def test_a_hole_is_weighed_by_its_bytes(tmp_path, write_bson, classes):
    """One damaged place among many records, but most of the file."""
    path = write_bson([product(i, [jpeg(i)], 10) for i in range(30)])
    path.write_bytes(b"\xff" * path.stat().st_size * 2 + path.read_bytes())
    with pytest.raises(UserError, match=r"1 of 31 records cannot be used, the first at byte 0"):
        index_bson(tmp_path, path, classes, True, 0.1)


def test_a_foreign_file_is_an_error(tmp_path, classes):
    path = tmp_path / "x.bson"
    path.write_bytes(b"PK\x03\x04" + b"\0" * 60)
    with pytest.raises(UserError, match=r"x.bson: 1 of 1 records cannot be used.*byte 0"):
        index_bson(tmp_path, path, classes, True, 0.01)
