from dataclasses import replace

import numpy as np
import pytest

from lib.config.model import Model, Mosaic
from lib.errors import UserError
from lib.training.dataset import product_of_row, row_of_image, training_rows
from tests.features.toy_catalog import random_catalog
from tests.training.training_runs import TRAIN, training_set

IMAGE, MOSAIC = Model(), Model(input="mosaic")


@pytest.fixture(scope="module")
def products_catalog():
    """Products with 0 to 6 images, several of each."""
    catalog = random_catalog(np.random.default_rng(1), 40, 30)
    counts = (np.arange(40) % 7).astype(np.int16)
    owner = np.repeat(np.arange(40), counts).astype(np.int32)
    first = np.cumsum(counts) - counts
    return replace(catalog, image_count=counts, first_image=first, image_product=owner)


def test_a_row_is_an_image(products_catalog):
    products = np.array([0, 2, 7, 9])
    np.testing.assert_array_equal(
        product_of_row(IMAGE, products_catalog), products_catalog.image_product
    )
    rows = training_rows(IMAGE, products_catalog, products)
    assert products_catalog.image_product[rows].tolist() == [2, 2, 9, 9]
    assert row_of_image(IMAGE, products_catalog) is None


def test_the_mosaic_of_a_product_predicts_all_of_its_images(products_catalog):
    np.testing.assert_array_equal(product_of_row(MOSAIC, products_catalog), np.arange(40))
    np.testing.assert_array_equal(
        row_of_image(MOSAIC, products_catalog), products_catalog.image_product
    )


@pytest.mark.parametrize(
    ("min_images", "max_images", "counts"),
    [(1, 0, {1, 2, 3, 4, 5, 6}), (1, 1, {1}), (2, 4, {2, 3, 4}), (5, 0, {5, 6}), (7, 0, set())],
)
def test_mosaics_train_on_products_with_an_allowed_number_of_images(
    catalog, min_images, max_images, counts
):
    model = replace(MOSAIC, mosaic=Mosaic(min_images, max_images))
    products = np.flatnonzero(np.arange(40) % 3 > 0)
    expected = [p for p in products.tolist() if catalog.image_count[p] in counts]
    assert training_rows(model, catalog, products).tolist() == expected


def test_rows_without_a_class_are_refused(reader, model, labels):
    labels = labels.copy()
    labels[5] = -1
    with pytest.raises(ValueError, match="image row 5 has no class below 3"):
        training_set(reader, model, labels).check()


def test_fewer_than_two_images_to_train_on_are_refused(reader, model, labels):
    with pytest.raises(UserError, match="1 images are left to train on"):
        training_set(reader, model, labels, TRAIN[:1]).check()
