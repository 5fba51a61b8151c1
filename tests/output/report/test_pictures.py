import base64

import cv2
import numpy as np
import pytest

from lib.data.catalog import Categories, read_catalog
from lib.data.sources.bson_file import index_bson
from lib.output.report.pictures import SIDE, Pictures, data_uri
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


def pixels(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def test_pictures_are_small_jpegs_of_the_right_products(catalog):
    with Pictures(catalog, 2) as pictures:
        large, small, damaged = pictures.of_products([0, 1, 2])
        assert [len(large), len(small), len(damaged)] == [1, 4, 1]
        assert pixels(large[0]).shape == (SIDE, SIDE // 2, 3)
        assert pixels(small[0]).shape == (40, 32, 3)
        original = cv2.imdecode(np.frombuffer(jpeg(1), np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(pixels(small[1]).astype(int) - original).mean() < 12
        assert pictures.of_images([1, 2]) == small[:2]


def test_a_thin_picture_keeps_a_pixel_of_its_short_side():
    assert pixels(data_uri(np.zeros((1, 5000, 3), np.uint8))).shape == (1, SIDE, 3)
