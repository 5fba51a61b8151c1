import numpy as np
import pytest

from lib.data.image_reader import ImageReader
from lib.data.products.reader import ProductImages, ProductReader, num_shown, shown_images
from tests.conftest import jpeg

IMAGE_COUNTS = [1, 2, 0, 3, 4, 6, 1]
ROWS = np.array([6, 0, 5, 4, 2, 3, 1, 0])
SIZE = (20, 16)


@pytest.fixture
def catalog(index_products):
    images = iter([jpeg(i) for i in range(sum(IMAGE_COUNTS))])
    return index_products([[next(images) for _ in range(count)] for count in IMAGE_COUNTS])


def test_a_batch_has_the_first_four_images_of_each_product(catalog):
    with ProductReader(catalog, SIZE, 2) as products, ImageReader(catalog, SIZE, 1) as images:
        batches = list(products.batches(ROWS, 3))
        for rows, inputs in batches:
            assert inputs.count.tolist() == [min(IMAGE_COUNTS[row], 4) for row in rows]
            first = np.cumsum([0, *IMAGE_COUNTS])[rows]
            own = [f + i for f, n in zip(first, inputs.count, strict=True) for i in range(n)]
            expected = np.stack([images.decode(image) for image in own])
            np.testing.assert_array_equal(inputs.images.transpose(0, 2, 3, 1), expected)
    assert np.concatenate([rows for rows, _ in batches]).tolist() == ROWS.tolist()


def test_products_are_cut_out_with_their_images(catalog):
    count, images = num_shown(catalog, ROWS), shown_images(catalog, ROWS)
    inputs = ProductImages(images, count)
    for products in (slice(0, 3), slice(3, 8), slice(4, 5), slice(0, 8)):
        part = inputs.of(products)
        assert part.count.tolist() == count[products].tolist()
        assert part.images.tolist() == shown_images(catalog, ROWS[products]).tolist()
