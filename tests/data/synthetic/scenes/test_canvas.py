"""The canvas: layers at any place, compared with painting pixel by pixel."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lib.data.synthetic.scenes.canvas import NO_OBJECT, Canvas, Layer, extent
from lib.data.synthetic.scenes.pictures.cutout import OPAQUE, Cutout

layers = st.lists(
    st.tuples(
        st.integers(-1, 3),  # object
        st.integers(1, 7),  # width
        st.integers(1, 7),  # height
        st.integers(-9, 14),  # x
        st.integers(-9, 12),  # y
        st.integers(0, 1000),  # seed of the pixels
    ),
    max_size=6,
)


def canvas_of(rows: list) -> Canvas:
    canvas = Canvas(np.full((9, 12, 3), 50, np.uint8))
    for number, width, height, x, y, seed in rows:
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        alpha = rng.choice(np.array([0, 100, 200, 255], np.uint8), (height, width))
        canvas.layers.append(Layer(number, Cutout(image, alpha, "test"), x, y))
    return canvas


def paint_by_pixel(canvas: Canvas, without: frozenset[int]) -> tuple[np.ndarray, np.ndarray]:
    image, objects = canvas.background.copy(), np.full((9, 12), NO_OBJECT)
    for layer in canvas.layers:
        if layer.object in without:
            continue
        for (row, column), alpha in np.ndenumerate(layer.cutout.alpha):
            y, x = layer.y + row, layer.x + column
            if 0 <= y < 9 and 0 <= x < 12:
                weight = np.float32(alpha) / 255
                behind = image[y, x].astype(np.float32)
                front = layer.cutout.image[row, column].astype(np.float32)
                image[y, x] = np.rint(behind + weight * (front - behind))
                if alpha >= OPAQUE:
                    objects[y, x] = layer.object
    return image, objects


@given(layers, st.sets(st.integers(0, 3)))
def test_painting_is_that_of_each_pixel(rows, without):
    canvas = canvas_of(rows)
    image, objects = canvas.paint(frozenset(without))
    expected_image, expected_objects = paint_by_pixel(canvas, frozenset(without))
    assert np.array_equal(image, expected_image)
    assert np.array_equal(objects, expected_objects)


@given(layers, st.sets(st.integers(0, 3), min_size=1))
def test_areas_count_each_pixel_once(rows, numbers):
    canvas = canvas_of(rows)
    pixels = {
        (layer.y + row, layer.x + column)
        for layer in canvas.layers
        for (row, column), alpha in np.ndenumerate(layer.cutout.alpha)
        if layer.object in numbers and alpha >= OPAQUE
    }
    inside = [(y, x) for y, x in pixels if 0 <= y < 9 and 0 <= x < 12]
    assert canvas.areas(numbers) == (len(pixels), len(inside))


def test_the_extent_is_that_of_the_pixels():
    shown = np.zeros((5, 6), bool)
    assert extent(shown) is None
    shown[1, 2] = shown[3, 4] = True
    assert extent(shown) == (2, 5, 1, 4)
