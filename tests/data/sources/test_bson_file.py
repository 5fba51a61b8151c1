"""The scan against `bson` itself: real, generated and corrupt files, in one range and many."""

import hashlib
import json
from pathlib import Path

import bson
import numpy as np
import pytest
from bson.binary import Binary
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.catalog import Categories, build_categories, read_catalog, read_categories
from lib.data.records import ARRAYS, NO_CATEGORY, CorruptRecord, RecordBatch, load_batch
from lib.data.scan_report import check_strict
from lib.data.sources import bson_file
from lib.data.sources.bson_file import index_bson, scan_file, scan_range
from lib.errors import UserError
from tests.conftest import jpeg, product

Rows = list[tuple[int, int | None, list[bytes]]]  # _id, category_id, images


def decoded_rows(path: Path) -> Rows:
    """By the package `bson`."""
    with path.open("rb") as file:
        return [
            (r["_id"], r.get("category_id"), [bytes(i["picture"]) for i in r["imgs"]])
            for r in bson.decode_file_iter(file)
        ]


def scan_whole(path: Path) -> RecordBatch:
    return scan_range(path, 0, path.stat().st_size)


def scanned_rows(path: Path) -> Rows:
    batch, data = scan_whole(path), path.read_bytes()
    ends = np.cumsum(batch.image_count)
    images = []
    for offset, length, md5 in zip(batch.offset, batch.length, batch.md5, strict=True):
        images.append(data[offset : offset + length])
        assert md5.tobytes() == hashlib.md5(images[-1]).digest()
    assert ends[-1:].sum() == len(images)
    return [
        (number, None if category == NO_CATEGORY else category, images[end - count : end])
        for number, category, count, end in zip(
            batch.product_id.tolist(),
            batch.category_id.tolist(),
            batch.image_count.tolist(),
            ends.tolist(),
            strict=True,
        )
    ]


def test_the_real_example_is_scanned_as_bson_decodes_it(shared_data):
    path = shared_data / "cdiscount" / "train_example.bson"
    rows = scanned_rows(path)
    assert rows == decoded_rows(path)
    assert len(rows) == 82
    assert sum(len(images) for *_, images in rows) == 110


int64 = st.integers(-(2**63) + 1, 2**63 - 1)
extras = st.dictionaries(
    st.text("abcxyz", min_size=1, max_size=6),
    st.none()
    | st.booleans()
    | int64
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
    | st.binary(max_size=9)
    | st.lists(int64, max_size=3),
    max_size=4,
)
images = st.lists(
    st.tuples(st.binary(max_size=40), st.sampled_from([0, 2, 5, 128]), extras), max_size=4
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(int64, int64, images, extras, st.randoms()), max_size=5))
def test_order_of_keys_and_extra_keys_do_not_matter(tmp_path_factory, products):
    path = tmp_path_factory.mktemp("bson") / "x.bson"
    with path.open("wb") as file:
        for number, category, images, extra, random in products:
            items = [
                ("_id", number),
                ("category_id", category),
                ("imgs", [e | {"picture": Binary(d, subtype)} for d, subtype, e in images]),
                *extra.items(),
            ]
            random.shuffle(items)
            file.write(bson.encode(dict(items)))
    assert scanned_rows(path) == decoded_rows(path)


def test_of_two_equal_keys_the_last_counts_as_in_bson(tmp_path):
    first, second = bson.encode({"_id": 1, "imgs": []}), bson.encode({"_id": 2, "imgs": [{}]})
    body = first[4:-1] + second[4:-1]
    path = tmp_path / "x.bson"
    path.write_bytes((len(body) + 5).to_bytes(4, "little") + body + b"\0")
    assert scanned_rows(path) == [(2, None, [])]


def test_a_record_with_a_wrong_value_is_corrupt_and_the_scan_goes_on(write_bson):
    records = [
        product(1, [jpeg(1)], 5),
        {"imgs": [], "category_id": 5},
        {"_id": "x", "imgs": []},
        {"_id": 2, "imgs": [{"picture": 3}]},
        {"_id": 3, "imgs": 4},
        {"_id": 4, "imgs": [1]},
        {"_id": 5, "category_id": "x"},
        product(9, [jpeg(2)], 5),
    ]
    batch = scan_whole(write_bson(records))
    lengths = [len(bson.encode(record)) for record in records]
    reasons = [
        "no _id",
        "_id is not an integer",
        "picture is not binary",
        "imgs is not an array",
        "imgs holds something that is not a document",
        "category_id is not an integer",
    ]
    assert batch.corrupt == [
        CorruptRecord(sum(lengths[:i]), lengths[i], reason) for i, reason in enumerate(reasons, 1)
    ]
    assert batch.product_id.tolist() == [1, 9]
    assert batch.location.tolist() == [0, sum(lengths[:-1])]


def test_a_wrong_byte_inside_a_record_costs_no_other_record(write_bson):
    records = [product(i, [jpeg(i)], 5) for i in (1, 2, 3)]
    path = write_bson(records)
    data = path.read_bytes()
    first, second = (len(bson.encode(record)) for record in records[:2])
    for at in range(first, first + 120):  # the rest is the image itself
        for value in (0, 1, 0x7F, 0xFF):
            path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            batch = scan_whole(path)
            numbers = batch.product_id.tolist()
            assert numbers[0] == 1
            assert numbers[-1] == 3
            assert len(numbers) + len(batch.corrupt) == 3
            for part in batch.corrupt:
                assert (part.offset, part.length) == (first, second)


@pytest.mark.parametrize("cut", [1, 3, 4, 50])
def test_a_truncated_last_record_is_corrupt(write_bson, cut):
    path = write_bson([product(1, [jpeg(1)], 5), product(2, [jpeg(2)], 5)])
    start = len(bson.encode(product(1, [jpeg(1)], 5)))
    path.write_bytes(path.read_bytes()[: start + cut])
    batch = scan_whole(path)
    assert batch.product_id.tolist() == [1]
    (part,) = batch.corrupt
    assert (part.offset, part.length) == (start, cut)
    assert part.reason.startswith("truncated, or a wrong length")
    assert batch.ends_corrupt


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60, b"\0" * 64])
def test_garbage_between_records_is_skipped(tmp_path, garbage):
    good = [bson.encode(product(i, [jpeg(i)], 5)) for i in (1, 2)]
    path = tmp_path / "x.bson"
    for at in range(3):
        path.write_bytes(b"".join([*good[:at], garbage, *good[at:]]))
        batch = scan_whole(path)
        assert batch.product_id.tolist() == [1, 2]
        assert [(c.offset, c.length) for c in batch.corrupt] == [(len(b"".join(good[:at])), 64)]


@pytest.mark.parametrize("change", [-8, 8, 100_000, -(2**30)])
def test_a_record_with_a_wrong_length_costs_no_other_record(write_bson, change):
    records = [product(i, [jpeg(i)], 5) for i in (1, 2, 3)]
    path = write_bson(records)
    data = bytearray(path.read_bytes())
    first = len(bson.encode(records[0]))
    wrong = int.from_bytes(data[first : first + 4], "little", signed=True) + change
    data[first : first + 4] = wrong.to_bytes(4, "little", signed=True)
    path.write_bytes(bytes(data))
    batch = scan_whole(path)
    assert batch.product_id.tolist() == [1, 3]
    assert [part.offset for part in batch.corrupt] == [first]
    assert "length" in batch.corrupt[0].reason


def test_the_size_of_parser_batches_does_not_matter(write_bson, monkeypatch):
    path = write_bson([product(i, [jpeg(i % 7)] * (i % 4), i) for i in range(40)])
    monkeypatch.setattr(bson_file, "BATCH_RECORDS", 3)
    monkeypatch.setattr(bson_file, "BATCH_IMAGES", 4)
    assert scanned_rows(path) == decoded_rows(path)


def test_a_range_begins_at_its_first_record_and_ends_after_its_last(write_bson):
    records = [product(i, [jpeg(i)], 5) for i in range(6)]
    path = write_bson(records)
    ends = np.cumsum([0, *(len(bson.encode(record)) for record in records)]).tolist()
    batch = scan_range(path, ends[1] + 1, ends[3] + 1)
    assert (batch.start, batch.end, batch.ends_corrupt) == (ends[2], ends[4], False)
    assert batch.product_id.tolist() == [2, 3]
    assert batch.corrupt == []
    inside = scan_range(path, ends[1] + 1, ends[1] + 9)
    assert (inside.start, inside.ends_corrupt, len(inside.location)) == (-1, True, 0)


def scan_in_ranges(path: Path, folder: Path, range_bytes: int, processes: int = 1):
    files, corrupt = scan_file(path, folder, processes, range_bytes=range_bytes)
    batches = [load_batch(file) for file in files]
    return {n: np.concatenate([getattr(b, n) for b in batches]) for n in ARRAYS}, corrupt


def assert_ranges_equal_one_scan(
    path: Path, folder: Path, range_bytes: int, processes: int = 1
) -> None:
    whole = scan_whole(path)
    arrays, corrupt = scan_in_ranges(path, folder, range_bytes, processes)
    for name in ARRAYS:
        np.testing.assert_array_equal(arrays[name], getattr(whole, name))
    assert corrupt == whole.corrupt


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=30)), max_size=2),
    st.integers(0, 40),
    st.integers(20, 400),
)
def test_ranges_give_the_same_as_one_scan_of_a_corrupt_file(
    tmp_path_factory, products, changed_bytes, insertions, cut, range_bytes
):
    folder = tmp_path_factory.mktemp("ranges")
    records = [
        product(i, [bytes([i]) * size] * count, i) for i, (count, size) in enumerate(products)
    ]
    data = bytearray(b"".join(bson.encode(record) for record in records))
    for at, value in changed_bytes:
        data[at % len(data)] = value
    for at, garbage in insertions:
        data[at % len(data) : at % len(data)] = garbage
    path = folder / "x.bson"
    path.write_bytes(bytes(data[: len(data) - cut]) or b"\0")
    assert_ranges_equal_one_scan(path, folder / "ranges", range_bytes)


def test_products_inside_an_image_are_not_records(tmp_path):
    """A range that begins inside the image finds them, and is scanned again."""
    inner = b"".join(bson.encode(product(100 + i, [jpeg(i)], 5)) for i in range(5))
    records = [product(1, [jpeg(1)], 5), product(2, [inner, inner], 5), product(3, [jpeg(3)], 5)]
    path = tmp_path / "x.bson"
    path.write_bytes(b"".join(bson.encode(record) for record in records))
    arrays, corrupt = scan_in_ranges(path, tmp_path / "ranges", 1000)
    assert arrays["product_id"].tolist() == [1, 2, 3]
    assert corrupt == []


def test_processes_give_the_same_as_one_scan(tmp_path):
    path = tmp_path / "x.bson"
    path.write_bytes(b"".join(bson.encode(product(i, [jpeg(i % 5)] * 2, i)) for i in range(40)))
    assert_ranges_equal_one_scan(path, tmp_path / "ranges", 2000, processes=2)


def test_finished_ranges_are_not_scanned_again(tmp_path, monkeypatch):
    path = tmp_path / "x.bson"
    path.write_bytes(b"".join(bson.encode(product(i, [jpeg(i)], i)) for i in range(20)))
    scanned: list[int] = []

    def interrupted(path, first, *args):
        if len(scanned) == 3:
            raise KeyboardInterrupt
        scanned.append(first)
        return scan_range(path, first, *args)

    def recorded(path, first, *args):
        scanned.append(first)
        return scan_range(path, first, *args)

    monkeypatch.setattr(bson_file, "scan_range", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scan_file(path, tmp_path / "ranges", 1, range_bytes=1500)
    scanned.clear()
    monkeypatch.setattr(bson_file, "scan_range", recorded)
    assert_ranges_equal_one_scan(path, tmp_path / "ranges", 1500)
    assert min(scanned) == 3 * 1500


@pytest.fixture
def categories(tmp_path, write_categories) -> Categories:
    build_categories(tmp_path, write_categories([30, 10, 20]))
    return read_categories(tmp_path)


def test_the_real_example_is_indexed(shared_data, tmp_path):
    root = shared_data / "cdiscount"
    path = root / "train_example.bson"
    assert build_categories(tmp_path, root / "category_names.csv") == {"classes": 5270}
    categories = read_categories(tmp_path)
    facts = index_bson(tmp_path, path, categories, True, 0.0)
    assert facts == {"products": 82, "images": 110, "distinct_images": 109, "bad_records": 0}
    catalog = read_catalog(tmp_path, path)
    assert len(np.unique(catalog.label)) == 36
    rows = decoded_rows(path)
    assert catalog.product_id.tolist() == [number for number, _, _ in rows]
    assert categories.category_id[catalog.label].tolist() == [category for _, category, _ in rows]
    expected = [(row, image) for row, (_, _, images) in enumerate(rows) for image in images]
    data = path.read_bytes()
    for number, (row, image) in enumerate(expected):
        start, length = int(catalog.offset[number]), int(catalog.length[number])
        assert data[start : start + length] == image
        assert catalog.image_product[number] == row
        assert catalog.md5[number].tobytes() == hashlib.md5(image).digest()


def test_each_kind_of_corruption_is_reported_with_its_byte(tmp_path, write_bson, categories):
    records = [product(i, [jpeg(i)], 10) for i in range(4)] + [product(3, [b""], 10)]
    path = write_bson(records)
    sizes = [len(bson.encode(record)) for record in records]
    data, middle = path.read_bytes(), sum(sizes[:2])
    tail = bson.encode(product(9, [jpeg(9)], 10))
    path.write_bytes(data[:middle] + b"\xff" * 50 + data[middle:] + tail[:30])
    facts = index_bson(tmp_path, path, categories, True, 0.9)
    assert (facts["products"], facts["bad_records"]) == (4, 3)
    report = json.loads((tmp_path / "scan_report.json").read_text())
    assert [(r["byte"], r["reason"]) for r in report["records"]] == [
        (middle, "garbage where a record should begin, or a wrong length (-1)"),
        (sum(sizes[:4]) + 50, "duplicate _id 3"),
        (
            path.stat().st_size - 30,
            f"truncated, or a wrong length: {len(tail)} bytes expected, 30 left",
        ),
    ]
    with pytest.raises(UserError, match=rf"--strict: .*duplicate _id.* the first at byte {middle}"):
        check_strict(tmp_path, path)


def test_an_unlabelled_file_has_no_labels(tmp_path, write_bson, categories):
    path = write_bson([product(7, [jpeg(1)]), product(8, [jpeg(1)], 10)])
    index_bson(tmp_path, path, categories, False, 0.0)
    assert read_catalog(tmp_path, path).label.tolist() == [-1, -1]


def test_an_index_leaves_only_its_tables(tmp_path, write_bson, categories):
    (tmp_path / "index").mkdir()
    path = write_bson([product(1, [jpeg(1)], 10)])
    index_bson(tmp_path / "index", path, categories, True, 0.0)
    names = sorted(entry.name for entry in (tmp_path / "index").iterdir())
    assert names == ["images.arrow", "products.arrow", "scan_report.json"]
    check_strict(tmp_path / "index", path)


def test_an_empty_file_is_an_error(tmp_path, categories):
    (tmp_path / "e.bson").touch()
    with pytest.raises(UserError, match="the file is empty"):
        index_bson(tmp_path, tmp_path / "e.bson", categories, True, 0.0)


def test_corrupt_bytes_are_weighed_by_their_length(tmp_path, write_bson, categories):
    """One corrupt part beside many records, but most of the file."""
    path = write_bson([product(i, [jpeg(i)], 10) for i in range(30)])
    path.write_bytes(b"\xff" * path.stat().st_size * 2 + path.read_bytes())
    with pytest.raises(UserError, match=r"1 of 31 records cannot be used, the first at byte 0"):
        index_bson(tmp_path, path, categories, True, 0.1)


def test_a_file_of_another_format_is_an_error(tmp_path, categories):
    path = tmp_path / "x.bson"
    path.write_bytes(b"PK\x03\x04" + b"\0" * 60)
    with pytest.raises(UserError, match=r"x.bson: 1 of 1 records cannot be used.*byte 0"):
        index_bson(tmp_path, path, categories, True, 0.01)
