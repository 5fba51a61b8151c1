"""PNGs of a product's images."""

import cv2
import numpy as np

from lib.data.image_reader import PLACEHOLDER_SIZE
from lib.labelling import images
from lib.labelling.images import ProductImages
from tests.conftest import jpeg


def decode(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_a_large_image_is_scaled_down_and_a_small_one_is_unchanged(odd_pictures):
    served = ProductImages(odd_pictures)
    assert decode(served.png(0, 0)).shape == (images.MAX_SIDE, images.MAX_SIDE // 2, 3)
    original = cv2.imdecode(np.frombuffer(jpeg(3), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decode(served.png(1, 3)), original)
    served.close()


def test_a_product_shows_at_most_four_images(odd_pictures):
    served = ProductImages(odd_pictures)
    assert [served.count(row) for row in range(3)] == [1, images.MAX_IMAGES, 1]
    served.close()


def test_a_corrupt_image_is_a_placeholder(odd_pictures):
    served = ProductImages(odd_pictures)
    placeholder = decode(served.png(2, 0))
    assert placeholder.shape[:2] == PLACEHOLDER_SIZE
    assert len(np.unique(placeholder)) == 1
    served.close()
