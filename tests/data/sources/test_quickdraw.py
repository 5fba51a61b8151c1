"""Drawings as strokes: lines read in place, the rule that makes pixels of them, prefixes."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.image_reader import ImageReader
from lib.data.sources.quickdraw import list_packed, list_strokes, unpack
from lib.data.strokes import normalize_strokes, parse_drawing, rasterize, truncate_strokes
from lib.errors import UserError
from tests.data.sources.test_csv_table import indexed

POINT = st.tuples(st.integers(0, 255), st.integers(0, 255))
DRAWINGS = st.lists(st.lists(POINT, min_size=1, max_size=6), min_size=1, max_size=4).map(
    lambda strokes: [np.array(stroke, np.int16) for stroke in strokes]
)


def line(key: int, *strokes: list[list[int]]) -> str:
    return json.dumps({"word": "x", "key_id": str(key), "drawing": strokes})


def way(drawing: list[np.ndarray]) -> float:
    return sum(float(np.hypot(*np.diff(s.astype(float), axis=0).T).sum()) for s in drawing)


def test_pixels_are_those_of_the_bitmaps(shared_data):
    folder = shared_data / "quickdraw"
    for name in ("fork", "elephant"):
        with gzip.open(folder / "strokes" / f"{name}.ndjson.gz") as file:
            lines = file.read().splitlines()
        bitmaps = np.load(folder / "bitmap28_paper11" / f"{name}.npy").reshape(-1, 28, 28)
        drawn = np.stack([rasterize(parse_drawing(one)[1], 28) for one in lines])
        assert np.abs(drawn.astype(int) - bitmaps).mean() < 2.5  # of 255
        alike = [
            np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(drawn, bitmaps, strict=True)
        ]
        assert min(alike) > 0.99


def test_a_dot_lies_in_the_middle():
    picture = rasterize([np.array([[0, 0]], np.int16)], 28)
    assert picture[13:15, 13:15].min() > 80
    picture[12:16, 12:16] = 0
    assert picture.max() == 0


@given(DRAWINGS, st.integers(8, 40))
def test_any_drawing_fits_its_square(drawing, side):
    picture = rasterize(drawing, side)
    assert picture.shape == (side, side)
    assert picture.max() > 0


@given(DRAWINGS, st.floats(0.01, 1))
def test_a_drawing_that_has_begun(drawing, share):
    part = truncate_strokes(drawing, share)
    assert len(part) <= len(drawing)
    np.testing.assert_allclose(way(part), share * way(drawing), atol=1.5)
    for some, whole in zip(part[:-1], drawing, strict=False):
        np.testing.assert_array_equal(some, whole)
    known = drawing[len(part) - 1]
    np.testing.assert_array_equal(part[-1][:-1], known[: len(part[-1]) - 1])


@given(DRAWINGS)
def test_all_of_a_drawing(drawing):
    whole = truncate_strokes(drawing, 1.0)
    moved = [stroke for stroke in drawing if len(stroke)]
    kept = [s for s in whole if way([s]) > 0]
    for one, other in zip(kept, [s for s in moved if way([s]) > 0], strict=True):
        np.testing.assert_array_equal(one, other)


@given(DRAWINGS)
def test_what_fits_meets_three_edges_and_keeps_its_shape(drawing):
    new = normalize_strokes(drawing)
    old, now = np.concatenate(drawing).astype(float), np.concatenate(new).astype(float)
    assert now.min(0).tolist() == [0, 0]
    assert now.max() == (255 if np.ptp(old, axis=0).max() > 0 else 0)
    scale = now.max() / max(np.ptp(old, axis=0).max(), 1)
    np.testing.assert_allclose(now, (old - old.min(0)) * scale, atol=0.5)


def test_real_drawings_fit_already(shared_data):
    with gzip.open(shared_data / "quickdraw" / "strokes" / "fork.ndjson.gz") as file:
        drawings = [parse_drawing(one)[1] for one in file.read().splitlines()]
    moved = [
        np.abs(np.concatenate(normalize_strokes(one)).astype(int) - np.concatenate(one))
        for one in drawings
    ]
    assert np.median([move.max() for move in moved]) == 0
    assert max(move.mean() for move in moved) < 10  # simplifying has moved some outermost points


def test_the_index_and_the_reader(tmp_path):
    source = tmp_path / "train"
    source.mkdir()
    flat, steep = [[0, 255], [0, 10]], [[0, 10], [0, 255]]
    lines = [line(11, flat), "", line(12, flat, steep), "{}", line(13, flat)]
    (source / "cat.ndjson").write_text("\n".join(lines))
    (source / "dog.ndjson").write_text(line(21, steep) + "\n")
    (source / "none.ndjson").write_text("")
    listed = list_strokes(source, True, 20)
    facts, known, classes = indexed(tmp_path / "i", source, source, listed, most_damaged=0.5)
    assert (facts["products"], facts["images"], facts["distinct_images"]) == (4, 4, 3)
    assert facts["passed_over"] == 1
    assert "cat.ndjson: not a drawing" in (tmp_path / "i" / "damage.json").read_text()
    assert classes.keys == ["cat", "dog"]
    assert known.product_id.tolist() == [11, 12, 13, 21]
    assert known.label.tolist() == [0, 0, 0, 1]
    with ImageReader(known, (20, 20), 1) as reader:
        wanted = rasterize([np.array(steep, np.int16).T], 20)
        np.testing.assert_array_equal(reader.decode(3)[:, :, 1], wanted)
        assert not reader.corrupt.any()
    assert list_strokes(source / "dog.ndjson", False, 20).labels == [""]


def test_packed_files_are_unpacked_once(tmp_path):
    source = tmp_path / "given"
    source.mkdir()
    with gzip.open(source / "cat.ndjson.gz", "wt") as file:
        file.write(line(1, [[0, 9], [0, 9]]) + "\n")
    folder = tmp_path / "own"
    folder.mkdir()
    assert unpack(source, folder) == 1
    assert list_strokes(folder, True, 28).keys == ["1"]
    written = (folder / "cat.ndjson").stat().st_mtime_ns
    assert unpack(source, folder) == 1
    assert (folder / "cat.ndjson").stat().st_mtime_ns == written
    assert (
        list_packed(source) == list_packed(source / "cat.ndjson.gz") == [source / "cat.ndjson.gz"]
    )
    assert list_packed(source, ["dog"]) == list_packed(folder) == []


def test_half_a_packed_file_is_told(tmp_path):
    whole = gzip.compress(b"".join(b"%d\n" % i for i in range(9999)))
    (tmp_path / "cat.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cat\.ndjson\.gz: not a complete gzip file"):
        unpack(tmp_path, tmp_path)
    assert not (tmp_path / "cat.ndjson").exists()


def test_some_classes_and_the_first_of_each(tmp_path):
    for name in ("a", "b", "ab"):
        lines = [line(i, [[0, i], [0, 255]]) for i in range(1, 4)]
        (tmp_path / f"{name}.ndjson").write_text("\n".join(["{}", *lines]))
    listed = list_strokes(tmp_path, True, 28, ["b", "ab"], 2)
    assert listed.labels == ["ab", "ab", "b", "b"]
    assert listed.keys == ["1", "2", "1", "2"]
    with pytest.raises(UserError, match=r"no file abc\.ndjson"):
        list_strokes(tmp_path, True, 28, ["abc"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", "not a drawing"),
        ('{"key_id": "1"}', "not a drawing"),
        ('{"key_id": "a", "drawing": [[[1], [1]]]}', "not a drawing"),
        ('{"key_id": "1", "drawing": []}', "without strokes"),
        ('{"key_id": "1", "drawing": [[[], []]]}', "without points"),
        ('{"key_id": "1", "drawing": [[[1]]]}', "without"),
        ('{"key_id": "1", "drawing": [[[1], [256]]]}', "outside"),
        ('{"key_id": "1", "drawing": [[[1, 2], [3]]]}', "not a drawing"),
    ],
)
def test_what_is_no_drawing(text, words):
    with pytest.raises(ValueError, match=words):
        parse_drawing(text.encode())


def test_files_without_a_drawing(tmp_path):
    (tmp_path / "a.ndjson").write_text("{}\n")
    with pytest.raises(UserError, match="no drawings in its files"):
        list_strokes(tmp_path, True, 28)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no file of the kinds"):
        list_strokes(tmp_path / "empty", True, 28)
