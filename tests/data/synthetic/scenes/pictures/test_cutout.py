"""Cutouts keep their object whole when they are scaled, turned and trimmed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.synthetic.scenes.pictures.cutout import OPAQUE, Cutout, pose, trim


def rectangle(width: int, height: int, margin: int = 0) -> Cutout:
    alpha = np.zeros((height + 2 * margin, width + 2 * margin), np.uint8)
    alpha[margin : margin + height, margin : margin + width] = 255
    image = np.zeros((*alpha.shape, 3), np.uint8)
    image[:, : alpha.shape[1] // 2] = 255  # the left half is white
    return Cutout(image, alpha, "test")


def test_trimming_leaves_the_object():
    trimmed = trim(rectangle(5, 3, margin=4))
    assert trimmed.alpha.shape == (3, 5)
    assert trimmed.image.shape == (3, 5, 3)
    empty = Cutout(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), "")
    assert trim(empty) is empty


@given(st.integers(20, 90), st.integers(20, 90), st.floats(8, 150), st.floats(-90, 90))
def test_a_posed_rectangle_has_the_size_of_a_turned_one(width, height, side, angle):
    posed = pose(rectangle(width, height), side, angle, False)
    scale, turn = side / max(width, height), np.deg2rad(angle)
    cosine, sine = abs(np.cos(turn)) * scale, abs(np.sin(turn)) * scale
    expected = (width * sine + height * cosine, width * cosine + height * sine)
    assert posed.alpha.shape == pytest.approx(expected, abs=3 + 1.5 * scale)
    area = (posed.alpha >= OPAQUE).sum()
    edge = 2 * scale * (width + height)  # half transparent pixels along it, as wide as the scale
    assert abs(area - width * height * scale**2) <= (1.2 + scale / 4) * edge + 4


def test_a_mirror_swaps_left_and_right():
    plain, mirrored = (pose(rectangle(40, 40), 40, 0, flag) for flag in (False, True))
    assert plain.image[20, 5].tolist() == [255] * 3 == mirrored.image[20, -6].tolist()
    assert plain.image[20, -6].tolist() == [0] * 3 == mirrored.image[20, 5].tolist()
