"""The scanner against `bson` itself, on real and generated records, and on damage."""

import hashlib
from pathlib import Path

import bson
import pytest
from bson.binary import Binary
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.records import NO_CATEGORY, CorruptRecord, RecordBatch
from lib.data.sources.bson_file import scan_range
from tests.conftest import jpeg, product


def expected(path: Path) -> list[tuple]:
    with path.open("rb") as file:
        return [
            (r["_id"], r.get("category_id"), [bytes(i["picture"]) for i in r["imgs"]])
            for r in bson.decode_file_iter(file)
        ]


def whole(path: Path) -> RecordBatch:
    return scan_range(path, 0, path.stat().st_size)


def scanned(path: Path, found: RecordBatch | None = None) -> list[tuple]:
    found = whole(path) if found is None else found
    data = path.read_bytes()
    rows, image = [], 0
    for number, category, count in zip(
        found.product_id.tolist(), found.category_id.tolist(), found.image_count, strict=True
    ):
        pictures = []
        for offset, length, md5 in zip(
            found.offset[image : image + count],
            found.length[image : image + count],
            found.md5[image : image + count],
            strict=True,
        ):
            pictures.append(data[offset : offset + length])
            assert md5.tobytes() == hashlib.md5(pictures[-1]).digest()
        image += count
        rows.append((number, None if category == NO_CATEGORY else category, pictures))
    assert image == len(found.offset)
    return rows


def test_the_real_example(shared_data):
    path = shared_data / "cdiscount" / "train_example.bson"
    rows = scanned(path)
    assert rows == expected(path)
    assert len(rows) == 82
    assert sum(len(pictures) for *_, pictures in rows) == 110


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
pictures = st.lists(
    st.tuples(st.binary(max_size=40), st.sampled_from([0, 2, 5, 128]), extras), max_size=4
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(int64, int64, pictures, extras, st.randoms()), max_size=5))
def test_agrees_with_bson_whatever_the_order_and_the_extra_keys(tmp_path_factory, products):
    path = tmp_path_factory.mktemp("bson") / "x.bson"
    with path.open("wb") as file:
        for number, category, images, extra, order in products:
            items = [
                ("_id", number),
                ("category_id", category),
                ("imgs", [e | {"picture": Binary(d, kind)} for d, kind, e in images]),
                *extra.items(),
            ]
            order.shuffle(items)
            file.write(bson.encode(dict(items)))
    assert scanned(path) == expected(path)


def test_the_same_key_twice_means_the_last_as_in_bson(tmp_path):
    first, second = bson.encode({"_id": 1, "imgs": []}), bson.encode({"_id": 2, "imgs": [{}]})
    body = first[4:-1] + second[4:-1]
    path = tmp_path / "x.bson"
    path.write_bytes((len(body) + 5).to_bytes(4, "little") + body + b"\0")
    assert scanned(path) == [(2, None, [])]


def test_a_record_that_is_wrong_inside_is_damage_and_the_pass_goes_on(write_bson):
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
    found = whole(write_bson(records))
    lengths = [len(bson.encode(record)) for record in records]
    reasons = [
        "no _id",
        "_id is not an integer",
        "picture is not binary",
        "imgs is not an array",
        "imgs holds something that is not a document",
        "category_id is not an integer",
    ]
    assert found.corrupt == [
        CorruptRecord(sum(lengths[:i]), lengths[i], reason) for i, reason in enumerate(reasons, 1)
    ]
    assert found.product_id.tolist() == [1, 9]
    assert found.location.tolist() == [0, sum(lengths[:-1])]


def test_a_broken_byte_inside_never_costs_the_records_around_it(write_bson):
    records = [product(i, [jpeg(i)], 5) for i in (1, 2, 3)]
    path = write_bson(records)
    whole_file = path.read_bytes()
    first, second = (len(bson.encode(record)) for record in records[:2])
    for at in range(first, first + 120):  # the rest is the picture itself
        for value in (0, 1, 0x7F, 0xFF):
            path.write_bytes(whole_file[:at] + bytes([value]) + whole_file[at + 1 :])
            found = whole(path)
            numbers = found.product_id.tolist()
            assert numbers[0] == 1
            assert numbers[-1] == 3
            assert len(numbers) + len(found.corrupt) == 3
            for one in found.corrupt:
                assert (one.offset, one.length) == (first, second)


@pytest.mark.parametrize("cut", [1, 3, 4, 50])
def test_a_truncated_tail_is_named_by_its_byte(write_bson, cut):
    path = write_bson([product(1, [jpeg(1)], 5), product(2, [jpeg(2)], 5)])
    start = len(bson.encode(product(1, [jpeg(1)], 5)))
    path.write_bytes(path.read_bytes()[: start + cut])
    found = whole(path)
    assert found.product_id.tolist() == [1]
    (one,) = found.corrupt
    assert (one.offset, one.length) == (start, cut)
    assert one.reason.startswith("truncated, or a wrong length")
    assert found.ends_corrupt


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60, b"\0" * 64])
def test_garbage_is_passed_over_wherever_it_lies(tmp_path, garbage):
    good = [bson.encode(product(i, [jpeg(i)], 5)) for i in (1, 2)]
    path = tmp_path / "x.bson"
    for at in range(3):
        parts = [*good[:at], garbage, *good[at:]]
        path.write_bytes(b"".join(parts))
        found = whole(path)
        assert found.product_id.tolist() == [1, 2]
        assert [(d.offset, d.length) for d in found.corrupt] == [(len(b"".join(good[:at])), 64)]


@pytest.mark.parametrize("change", [-8, 8, 100_000, -(2**30)])
def test_a_wrong_outer_length_costs_its_own_record(write_bson, change):
    records = [product(i, [jpeg(i)], 5) for i in (1, 2, 3)]
    path = write_bson(records)
    data = bytearray(path.read_bytes())
    first = len(bson.encode(records[0]))
    wrong = int.from_bytes(data[first : first + 4], "little", signed=True) + change
    data[first : first + 4] = wrong.to_bytes(4, "little", signed=True)
    path.write_bytes(bytes(data))
    found = whole(path)
    assert found.product_id.tolist() == [1, 3]
    assert [d.offset for d in found.corrupt] == [first]
    assert "length" in found.corrupt[0].reason


def test_batches_do_not_show(write_bson, monkeypatch):
    records = [product(i, [jpeg(i % 7)] * (i % 4), i) for i in range(40)]
    path = write_bson(records)
    monkeypatch.setattr("lib.data.sources.bson_file.BATCH_RECORDS", 3)
    monkeypatch.setattr("lib.data.sources.bson_file.BATCH_IMAGES", 4)
    assert scanned(path) == expected(path)


def test_a_range_finds_its_first_record_and_runs_to_the_end_of_its_last(write_bson):
    records = [product(i, [jpeg(i)], 5) for i in range(6)]
    path = write_bson(records)
    ends = [0]
    for record in records:
        ends.append(ends[-1] + len(bson.encode(record)))
    found = scan_range(path, ends[1] + 1, ends[3] + 1)
    assert (found.start, found.end, found.ends_corrupt) == (ends[2], ends[4], False)
    assert found.product_id.tolist() == [2, 3]
    assert found.corrupt == []
    inside = scan_range(path, ends[1] + 1, ends[1] + 9)
    assert (inside.start, inside.ends_corrupt, len(inside.location)) == (-1, True, 0)
