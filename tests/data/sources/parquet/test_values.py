"""Texts and images of columns of every type."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lib.data.sources.parquet.values import file_names_of, has_images, images_of, texts_of
from lib.errors import UserError

PATH = Path("x.parquet")
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array(["a", None, ""]), ["a", None, ""]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
        (pa.array(["a", "a"]).dictionary_encode(), ["a", "a"]),
        (pa.array([1, None, 2**62]), ["1", None, str(2**62)]),
        (pa.array([1.0, None, np.nan, -0.0]), ["1", None, None, "0"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([b"\xc3\x9f", None]), ["ß", None]),
        (pa.array([date(2026, 11, 28)]), ["2026-11-28"]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_plain_values_are_texts(values, texts):
    assert texts_of(PATH, "c", values) == texts


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pa.array([0.5]), "column c has fractions"),
        (pa.array([b"\xff"]), "column c has bytes that are not UTF-8"),
        (pa.array([["a"]]), "column c is of type list<item: string>"),
        (pa.array([{"a": 1}]), "column c is of type struct"),
    ],
)
def test_other_values_are_an_error(values, words):
    with pytest.raises(UserError, match=words):
        texts_of(PATH, "c", values)


def test_numbers_of_a_class_label_have_names():
    assert texts_of(PATH, "c", pa.array([1, 0, -1, None]), ["x", "y"]) == ["y", "x", None, None]
    with pytest.raises(UserError, match="has the label 2, but its ClassLabel has 2 names"):
        texts_of(PATH, "c", pa.array([2]), ["x", "y"])


@pytest.mark.parametrize(
    ("values", "counts", "images"),
    [
        (pa.array([b"a", None, b""]), [1, 0, 1], [b"a", b""]),
        (pa.array([b"a", b"b"], pa.large_binary()), [1, 1], [b"a", b"b"]),
        (
            pa.array([{"bytes": b"a", "path": "p"}, None, {"bytes": None, "path": "q"}], STRUCT),
            [1, 0, 1],
            [b"a", None],
        ),
        (
            pa.array([[{"bytes": b"a"}, {"bytes": b"b"}], None, [], [None]], pa.list_(STRUCT)),
            [2, 0, 0, 1],
            [b"a", b"b", None],
        ),
        (pa.array([[b"a"], [b"b", b"c"]], pa.large_list(pa.binary())), [1, 2], [b"a", b"b", b"c"]),
        (pa.array([[b"a", b"b"], None], pa.list_(pa.binary(), 2)), [2, 0], [b"a", b"b"]),
    ],
)
def test_images_are_bytes_structs_or_lists(values, counts, images):
    assert has_images(values.type)
    found, flat = images_of(values)
    assert (found.tolist(), flat.to_pylist()) == (counts, images)
    tail_counts, tail = images_of(values.slice(1))
    assert (tail_counts.tolist(), tail.to_pylist()) == (counts[1:], images[counts[0] :])


def test_names_of_files_may_be_lists():
    assert not has_images(pa.string())
    assert not has_images(pa.list_(pa.string()))
    assert not has_images(pa.struct({"path": pa.string()}))
    assert file_names_of(PATH, "c", pa.array(["a|b", None])) == ["a|b", ""]
    names = pa.array([["a", None, "b"], None], pa.list_(pa.string()))
    assert file_names_of(PATH, "c", names) == ["a|b", ""]
    with pytest.raises(UserError, match="images are bytes, structs with a field bytes, names"):
        file_names_of(PATH, "c", pa.array([[1]]))
