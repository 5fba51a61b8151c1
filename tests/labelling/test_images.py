"""PNGs of a product's images."""

import cv2
import numpy as np
import pytest

from lib.data.catalog import Categories, read_catalog
from lib.data.image_reader import PLACEHOLDER_SIZE
from lib.data.sources.bson_file import index_bson
from lib.labelling import images
from lib.labelling.images import ProductImages
from tests.conftest import jpeg, product


@pytest.fixture
def catalog(tmp_path, write_bson):
    """A large image, five small ones, and one that cannot be decoded."""
    records = [
        product(1, [jpeg(0, height=1000, width=500)], 7),
        product(2, [jpeg(seed) for seed in range(5)], 7),
        product(3, [b"not an image"], 7),
    ]
    path = write_bson(records)
    (tmp_path / "index").mkdir()
    categories = Categories(np.array([7]), [("a", "b", "c")])
    index_bson(tmp_path / "index", path, categories, True, 0.0, processes=1)
    return read_catalog(tmp_path / "index", path)


def decode(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_a_large_image_is_scaled_down_and_a_small_one_is_unchanged(catalog):
    served = ProductImages(catalog)
    assert decode(served.png(0, 0)).shape == (images.MAX_SIDE, images.MAX_SIDE // 2, 3)
    original = cv2.imdecode(np.frombuffer(jpeg(3), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decode(served.png(1, 3)), original)
    served.close()


def test_a_product_shows_at_most_four_images(catalog):
    served = ProductImages(catalog)
    assert [served.count(row) for row in range(3)] == [1, images.MAX_IMAGES, 1]
    served.close()


def test_a_corrupt_image_is_a_placeholder(catalog):
    served = ProductImages(catalog)
    placeholder = decode(served.png(2, 0))
    assert placeholder.shape[:2] == PLACEHOLDER_SIZE
    assert len(np.unique(placeholder)) == 1
    served.close()
