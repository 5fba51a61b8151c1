"""The scanner against `bson` itself, on real and generated records, and on damage."""

import bson
import pytest
from bson.binary import Binary
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.catalogue.bson_scan import Damage, Record, scan
from lib.errors import UserError
from tests.conftest import jpeg, product


def expected(path) -> list[tuple]:
    with path.open("rb") as file:
        return [
            (r["_id"], r.get("category_id"), [bytes(i["picture"]) for i in r["imgs"]])
            for r in bson.decode_file_iter(file)
        ]


def scanned(path) -> list[tuple]:
    data = path.read_bytes()
    rows = []
    for record in scan(path):
        assert isinstance(record, Record), record
        for offset, picture in record.pictures:
            assert data[offset : offset + len(picture)] == picture
        pictures = [picture for _, picture in record.pictures]
        rows.append((record.product_id, record.category_id, pictures))
    return rows


def test_the_real_example(shared_data):
    path = shared_data / "cdiscount" / "train_example.bson"
    rows = scanned(path)
    assert rows == expected(path)
    assert len(rows) == 82
    assert sum(len(pictures) for *_, pictures in rows) == 110


int64 = st.integers(-(2**63), 2**63 - 1)
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


def test_a_record_that_is_wrong_inside_is_damage_and_the_pass_goes_on(write_bson):
    good = product(1, [jpeg(1)], 5)
    path = write_bson(
        [
            good,
            {"imgs": [], "category_id": 5},
            {"_id": "x", "imgs": []},
            {"_id": 2, "imgs": [{"picture": 3}]},
            {"_id": 3, "imgs": 4},
            {"_id": 4, "imgs": [1]},
            product(9, [jpeg(2)], 5),
        ]
    )
    records = list(scan(path))
    reasons = [r.reason for r in records if isinstance(r, Damage)]
    assert reasons == [
        "no _id",
        "_id is not an integer",
        "picture is not binary",
        "imgs is not an array",
        "imgs holds something that is not a document",
    ]
    assert [r.product_id for r in records if isinstance(r, Record)] == [1, 9]


def test_a_broken_length_inside_never_reads_past_the_record(write_bson):
    path = write_bson([product(1, [jpeg(1)], 5), product(2, [jpeg(2)], 5)])
    whole = path.read_bytes()
    first = len(bson.encode(product(1, [jpeg(1)], 5)))
    for at in range(4, first - 1):
        for value in (0, 0x7F, 0xFF):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            records = list(scan(path))
            assert len(records) == 2
            last = records[1]
            assert isinstance(last, Record)
            assert last.product_id == 2
        if at > 120:  # the rest is the picture itself
            break


@pytest.mark.parametrize("cut", [1, 3, 4, 50])
def test_a_truncated_file_names_the_byte(write_bson, cut):
    path = write_bson([product(1, [jpeg(1)], 5), product(2, [jpeg(2)], 5)])
    start = len(bson.encode(product(1, [jpeg(1)], 5)))
    path.write_bytes(path.read_bytes()[: start + cut])
    with pytest.raises(UserError, match=rf"truncated: the record at byte {start} .* fetch"):
        list(scan(path))


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60, b"\0" * 64])
def test_a_foreign_file_is_an_error(tmp_path, garbage):
    path = tmp_path / "x.bson"
    path.write_bytes(garbage)
    with pytest.raises(UserError, match=r"x.bson: (not BSON|truncated)"):
        list(scan(path))


def test_a_wrong_outer_length_is_an_error(write_bson):
    path = write_bson([product(1, [jpeg(1)], 5), product(2, [jpeg(2)], 5)])
    data = bytearray(path.read_bytes())
    data[0] -= 8
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="byte 0 does not end where its length says"):
        list(scan(path))
