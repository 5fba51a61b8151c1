import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.strokes import normalize_strokes, parse_drawing, rasterize, truncate_strokes

POINT = st.tuples(st.integers(0, 255), st.integers(0, 255))
DRAWINGS = st.lists(st.lists(POINT, min_size=1, max_size=6), min_size=1, max_size=4).map(
    lambda strokes: [np.array(stroke, np.int16) for stroke in strokes]
)


def total_length(drawing: list[np.ndarray]) -> float:
    return sum(float(np.hypot(*np.diff(s.astype(float), axis=0).T).sum()) for s in drawing)


def test_rasterized_strokes_equal_the_published_bitmaps(shared_data):
    folder = shared_data / "quickdraw"
    for name in ("fork", "elephant"):
        with gzip.open(folder / "strokes" / f"{name}.ndjson.gz") as file:
            lines = file.read().splitlines()
        bitmaps = np.load(folder / "bitmap28_paper11" / f"{name}.npy").reshape(-1, 28, 28)
        rasters = np.stack([rasterize(parse_drawing(line)[1], 28) for line in lines])
        assert np.abs(rasters.astype(int) - bitmaps).mean() < 2.5  # of 255
        correlations = [
            np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(rasters, bitmaps, strict=True)
        ]
        assert min(correlations) > 0.99


def test_a_dot_is_in_the_middle():
    image = rasterize([np.array([[0, 0]], np.int16)], 28)
    assert image[13:15, 13:15].min() > 80
    image[12:16, 12:16] = 0
    assert image.max() == 0


@given(DRAWINGS, st.integers(8, 40))
def test_any_drawing_fits_its_square(drawing, side):
    image = rasterize(drawing, side)
    assert image.shape == (side, side)
    assert image.max() > 0


@given(DRAWINGS, st.floats(0.01, 1))
def test_a_truncated_drawing_is_the_beginning_of_the_drawing(drawing, fraction):
    part = truncate_strokes(drawing, fraction)
    assert len(part) <= len(drawing)
    np.testing.assert_allclose(total_length(part), fraction * total_length(drawing), atol=1.5)
    for stroke, original in zip(part[:-1], drawing, strict=False):
        np.testing.assert_array_equal(stroke, original)
    last = drawing[len(part) - 1]
    np.testing.assert_array_equal(part[-1][:-1], last[: len(part[-1]) - 1])


@given(DRAWINGS)
def test_truncating_nothing_keeps_all_strokes_that_have_a_length(drawing):
    part = [stroke for stroke in truncate_strokes(drawing, 1.0) if total_length([stroke]) > 0]
    expected = [stroke for stroke in drawing if total_length([stroke]) > 0]
    for stroke, original in zip(part, expected, strict=True):
        np.testing.assert_array_equal(stroke, original)


@given(DRAWINGS)
def test_a_normalized_drawing_reaches_three_edges_and_keeps_its_proportions(drawing):
    before = np.concatenate(drawing).astype(float)
    after = np.concatenate(normalize_strokes(drawing)).astype(float)
    assert after.min(0).tolist() == [0, 0]
    assert after.max() == (255 if np.ptp(before, axis=0).max() > 0 else 0)
    scale = after.max() / max(np.ptp(before, axis=0).max(), 1)
    np.testing.assert_allclose(after, (before - before.min(0)) * scale, atol=0.5)


def test_real_drawings_are_normalized_already(shared_data):
    with gzip.open(shared_data / "quickdraw" / "strokes" / "fork.ndjson.gz") as file:
        drawings = [parse_drawing(line)[1] for line in file.read().splitlines()]
    changes = [
        np.abs(np.concatenate(normalize_strokes(drawing)).astype(int) - np.concatenate(drawing))
        for drawing in drawings
    ]
    assert np.median([change.max() for change in changes]) == 0
    # Simplification has moved some of the outermost points.
    assert max(change.mean() for change in changes) < 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "not a drawing"),
        ('{"key_id": "1"}', "not a drawing"),
        ('{"key_id": null, "drawing": [[[1], [1]]]}', "not a drawing"),
        ('{"key_id": "1", "drawing": []}', "without strokes"),
        ('{"key_id": "1", "drawing": [[[NaN], [1]]]}', "outside"),
        ('{"key_id": "\\ud800", "drawing": [[[1], [1]]]}', "not a drawing"),
        ('{"key_id": "1", "drawing": [[[], []]]}', "without points"),
        ('{"key_id": "1", "drawing": [[[1]]]}', "without"),
        ('{"key_id": "1", "drawing": [[[1], [256]]]}', "outside"),
        ('{"key_id": "1", "drawing": [[[1, 2], [3]]]}', "not a drawing"),
    ],
)
def test_a_line_that_is_not_a_drawing_raises_with_the_reason(text, message):
    with pytest.raises(ValueError, match=message):
        parse_drawing(text.encode())


@pytest.mark.parametrize(
    ("key", "read"), [('"0012"', "0012"), ("12", "12"), ('"99999999999999999999"', "9" * 20)]
)
def test_a_key_is_kept_as_it_stands(key, read):
    line = f'{{"key_id": {key}, "drawing": [[[1], [1]]]}}'
    assert parse_drawing(line.encode())[0] == read


@pytest.mark.parametrize(
    "drawing",
    [
        "[" * 50_000,
        "[[[9" + "9" * 400 + "],[1]]]",
        '[{"0": 1, "1": 2}]',
        "[[[1e999],[1]]]",
        "[3]",
        "{}",
    ],
    ids=range(6),
)
def test_json_that_is_no_drawing_raises_no_other_error(drawing):
    with pytest.raises(ValueError, match=r"not a drawing|coordinates|strokes|points"):
        parse_drawing(b'{"key_id": "1", "drawing": ' + drawing.encode() + b"}")


def test_a_line_of_a_megabyte_is_not_parsed():
    with pytest.raises(ValueError, match="at most 1,048,576; not a drawing"):
        parse_drawing(b'{"key_id": "1", "drawing": [' + b"[]," * 400_000 + b"[]]}")
