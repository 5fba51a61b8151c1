import base64
from dataclasses import replace

import cv2
import numpy as np

from lib.output.report.pictures import SIDE, Pictures
from tests.conftest import jpeg, product


def pixels(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def test_pictures_are_small_jpegs_of_the_right_products(odd_pictures):
    with Pictures(odd_pictures, 2) as pictures:
        large, small, damaged = pictures.of_products([0, 1, 2])
        assert [len(large), len(small), len(damaged)] == [1, 4, 1]
        assert pixels(large[0]).shape == (SIDE, SIDE // 2, 3)
        assert pixels(small[0]).shape == (40, 32, 3)
        original = cv2.imdecode(np.frombuffer(jpeg(1), np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(pixels(small[1]).astype(int) - original).mean() < 12
        assert pictures.of_images([1, 2]) == small[:2]


def test_a_thin_picture_keeps_a_pixel_of_its_short_side(index_products):
    catalog = index_products([product(1, [jpeg(0, 5, 5000)], 7)])
    with Pictures(catalog, 1) as pictures:
        assert pixels(pictures.of_images([0])[0]).shape == (1, SIDE, 3)


def test_originals_that_are_gone_leave_no_pictures(odd_pictures, tmp_path):
    with Pictures(replace(odd_pictures, path=tmp_path / "gone.bson"), 1) as pictures:
        assert not pictures.has_originals
        assert pictures.of_products([0, 1]) == [[], []]
        assert pictures.of_images([0]) == [""]


def test_the_side_of_pictures_is_chosen(odd_pictures):
    with Pictures(odd_pictures, 1, side=20) as pictures:
        assert pixels(pictures.of_images([0])[0]).shape == (20, 10, 3)
