"""Keys of BSON documents against the package `bson`."""

from pathlib import Path
from typing import Any

import bson
import pytest
from bson.code import Code
from bson.regex import Regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.data.records import CorruptRecord
from lib.data.texts.documents import document_texts
from tests.conftest import jpeg, product

COLUMNS = ["title", "price"]
values = st.one_of(
    *(st.none(), st.booleans(), st.text(max_size=20), st.integers(-(2**63), 2**63 - 1)),
    *(st.floats(allow_nan=False), st.binary(max_size=9), st.just(Regex("a", "i"))),
    *(st.just(Code("x")), st.just(Code("x", {"y": 1})), st.lists(st.integers(0, 9), max_size=2)),
)
names = st.one_of(
    st.sampled_from([*COLUMNS, "imgsx", "titl"]),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=6),
)


def read(path: Path, corrupt: list[CorruptRecord] | None = None) -> list[tuple[str, list[str]]]:
    return list(document_texts(path, COLUMNS).read(COLUMNS, [] if corrupt is None else corrupt))


def text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) + ("0" if "." in repr(value) and "e" not in repr(value) else "")
    is_code = isinstance(value, Code)
    return str(value) if isinstance(value, str | int) and not is_code else ""


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.dictionaries(names, values, max_size=6), min_size=1, max_size=4), st.booleans())
def test_texts_are_those_that_bson_decodes(tmp_path, more, is_first):
    documents = []
    for number, keys in enumerate(more):
        own = {k: v for k, v in keys.items() if k not in ("_id", "imgs", "category_id")}
        record = product(number, [b"title\0price"], 3)
        documents.append(own | record if is_first else record | own)
    path = tmp_path / "a.bson"
    path.write_bytes(b"".join(map(bson.encode, documents)))
    expected = [
        (str(d["_id"]), [text(d.get(column)) for column in COLUMNS])
        for d in map(bson.decode, map(bson.encode, documents))
    ]
    assert read(path) == expected


def test_the_header_is_what_a_document_has(write_bson):
    path = write_bson([product(1, [jpeg(1)]), product(2, [jpeg(2)]) | {"title": "Tee"}])
    table = document_texts(path, COLUMNS)
    assert table.header == ["title"]
    assert "no document has a text or number price; name another key" in str(table.missing("price"))


def test_corrupt_documents_are_passed_over(write_bson):
    good = [product(n, [jpeg(n)]) | {"title": f"Tee {n}"} for n in range(4)]
    path = write_bson(good)
    data = path.read_bytes()
    lengths = [len(bson.encode(document)) for document in good]
    broken = bytearray(data)
    broken[lengths[0] : lengths[0] + 4] = b"\xff" * 4  # the length of the second
    title = data.index(b"Tee 3")
    broken[title] = 0xFF
    path.write_bytes(broken)
    corrupt: list[CorruptRecord] = []
    assert read(path, corrupt) == [("0", ["Tee 0", ""]), ("2", ["Tee 2", ""])]
    assert [record.offset for record in corrupt] == [sum(lengths[:3])]


@pytest.mark.parametrize("value", [1.299, 12.5, 899.0, 1e-7])
def test_numbers_with_a_fraction_are_read_in_one_way(write_bson, value):
    from lib.data.attributes.numbers import parse

    path = write_bson([product(1, [jpeg(1)]) | {"price": value}])
    ((_, (_, found)),) = read(path)
    parsed = parse(found)
    assert parsed is not None
    assert parsed.point == parsed.comma == value
