import cv2
import numpy as np
import pytest

from lib.data.image_reader import GRAY, ImageReader
from lib.data.products.mosaic import MosaicReader
from tests.conftest import jpeg

IMAGE_COUNTS = [1, 2, 0, 3, 4, 6, 1]
SIZE = (41, 33)  # odd, so a line beside the quarters stays gray


@pytest.fixture
def catalog(index_products):
    images = iter([jpeg(i) for i in range(sum(IMAGE_COUNTS))])
    return index_products([[next(images) for _ in range(count)] for count in IMAGE_COUNTS])


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    shrinks = image.shape[0] > height or image.shape[1] > width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=interpolation)


def reference_mosaic(catalog, product: int) -> np.ndarray:
    """By OpenCV, image by image."""
    first = int(catalog.first_image[product])
    count = min(int(catalog.image_count[product]), 4)
    data = [np.frombuffer(jpeg(first + i), np.uint8) for i in range(count)]
    images = [cv2.imdecode(image, cv2.IMREAD_COLOR)[:, :, ::-1] for image in data]
    if count == 1:
        return resized(images[0], *SIZE)
    mosaic = np.full((*SIZE, 3), GRAY, np.uint8)
    for i, image in enumerate(images):
        top, left = i // 2 * 20, i % 2 * 16
        mosaic[top : top + 20, left : left + 16] = resized(image, 20, 16)
    return mosaic


def test_a_mosaic_consists_of_the_images_of_its_product(catalog):
    rows = np.array([6, 0, 5, 4, 2, 3, 1, 0])
    with MosaicReader(catalog, SIZE, 2) as reader:
        batches = list(reader.batches(rows, 3))
        assert not reader.corrupt.any()
    assert np.concatenate([batch_rows for batch_rows, _ in batches]).tolist() == rows.tolist()
    mosaics = np.concatenate([images for _, images in batches]).transpose(0, 2, 3, 1)
    for row, mosaic in zip(rows.tolist(), mosaics, strict=True):
        np.testing.assert_array_equal(mosaic, reference_mosaic(catalog, row))


def test_a_product_without_images_is_gray(catalog):
    with MosaicReader(catalog, SIZE, 1) as reader:
        assert (reader.decode(2) == GRAY).all()


def test_the_mosaic_of_a_single_image_is_the_image(catalog):
    with MosaicReader(catalog, SIZE, 1) as mosaics, ImageReader(catalog, SIZE, 1) as images:
        last = len(catalog.offset) - 1
        np.testing.assert_array_equal(mosaics.decode(6), images.decode(last))


def test_a_corrupt_image_makes_its_own_quarter_gray(catalog):
    row = int(catalog.first_image[4]) + 1
    with catalog.path.open("r+b") as file:
        file.seek(int(catalog.offset[row]))
        file.write(b"\0" * int(catalog.length[row]))
    with MosaicReader(catalog, SIZE, 1) as reader:
        mosaic = reader.decode(4)
        assert np.flatnonzero(reader.corrupt).tolist() == [row]
    expected = reference_mosaic(catalog, 4)
    assert (mosaic[:20, 16:32] == GRAY).all()
    np.testing.assert_array_equal(mosaic[:20, :16], expected[:20, :16])
    np.testing.assert_array_equal(mosaic[20:], expected[20:])
