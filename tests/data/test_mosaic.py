import cv2
import numpy as np
import pytest

from lib.data.catalog import build_categories, read_catalog, read_categories
from lib.data.image_reader import GRAY, ImageReader
from lib.data.mosaic import MosaicReader
from lib.data.sources.bson_file import index_bson
from tests.conftest import jpeg, product

COUNTS = [1, 2, 0, 3, 4, 6, 1]
SIZE = (41, 33)  # odd: quarters leave a line of grey


@pytest.fixture
def known(tmp_path, write_bson, write_categories):
    pictures = iter([jpeg(i) for i in range(sum(COUNTS))])
    products = [
        product(i, [next(pictures) for _ in range(count)], 10) for i, count in enumerate(COUNTS)
    ]
    build_categories(tmp_path, write_categories([10]))
    index_bson(tmp_path, write_bson(products), read_categories(tmp_path), True, 0.0)
    return read_catalog(tmp_path, tmp_path / "train.bson")


def expected(known, row):
    """By OpenCV, picture by picture."""
    first, count = int(known.first_image[row]), min(int(known.image_count[row]), 4)
    data = [np.frombuffer(jpeg(first + i), np.uint8) for i in range(count)]
    whole = [cv2.imdecode(one, cv2.IMREAD_COLOR)[:, :, ::-1] for one in data]

    def sized(picture, height, width):
        shrinks = picture.shape[0] > height or picture.shape[1] > width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=how)

    if count == 1:
        return sized(whole[0], *SIZE)
    mosaic = np.full((*SIZE, 3), GRAY, np.uint8)
    for i, picture in enumerate(whole):
        top, left = i // 2 * 20, i % 2 * 16
        mosaic[top : top + 20, left : left + 16] = sized(picture, 20, 16)
    return mosaic


def test_mosaics_are_made_of_the_products_own_pictures(known):
    rows = np.array([6, 0, 5, 4, 2, 3, 1, 0])
    with MosaicReader(known, SIZE, 2) as reader:
        batches = list(reader.batches(rows, 3))
        assert not reader.corrupt.any()
    assert np.concatenate([some for some, _ in batches]).tolist() == rows.tolist()
    pictures = np.concatenate([p for _, p in batches]).transpose(0, 2, 3, 1)
    for row, picture in zip(rows.tolist(), pictures, strict=True):
        np.testing.assert_array_equal(picture, expected(known, row))


def test_a_product_without_pictures_is_grey(known):
    with MosaicReader(known, SIZE, 1) as reader:
        assert (reader.decode(2) == GRAY).all()


def test_single_pictures_are_as_ever(known):
    with MosaicReader(known, SIZE, 1) as mosaics, ImageReader(known, SIZE, 1) as plain:
        last = len(known.offset) - 1
        np.testing.assert_array_equal(mosaics.decode(6), plain.decode(last))


def test_a_rotten_picture_spoils_its_quarter_alone(known):
    at = int(known.first_image[4]) + 1
    with known.path.open("r+b") as file:
        file.seek(int(known.offset[at]))
        file.write(b"\0" * int(known.length[at]))
    with MosaicReader(known, SIZE, 1) as reader:
        mosaic = reader.decode(4)
        assert np.flatnonzero(reader.corrupt).tolist() == [at]
    want = expected(known, 4)
    assert (mosaic[:20, 16:32] == GRAY).all()
    np.testing.assert_array_equal(mosaic[:20, :16], want[:20, :16])
    np.testing.assert_array_equal(mosaic[20:], want[20:])
