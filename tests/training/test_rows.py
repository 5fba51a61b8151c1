from dataclasses import replace

import numpy as np
import pytest

from lib.config.model import Model, Mosaic
from lib.training import rows
from tests.features.toy_catalog import random_catalog

NETWORK, MOSAIC = Model(), Model(input="mosaic")


@pytest.fixture(scope="module")
def known():
    """Products of 0 to 6 pictures, several of each."""
    made = random_catalog(np.random.default_rng(1), 40, 30)
    counts = (np.arange(40) % 7).astype(np.int16)
    owner = np.repeat(np.arange(40), counts).astype(np.int32)
    first = np.cumsum(counts) - counts
    return replace(made, image_count=counts, first_image=first, image_product=owner)


def test_pictures_are_rows_of_their_own(known):
    some = np.array([0, 2, 7, 9])
    np.testing.assert_array_equal(rows.products(NETWORK, known), known.image_product)
    taught = rows.taught(NETWORK, known, some)
    assert known.image_product[taught].tolist() == [2, 2, 9, 9]
    assert rows.speaking(NETWORK, known) is None


def test_a_product_speaks_for_its_pictures(known):
    np.testing.assert_array_equal(rows.products(MOSAIC, known), np.arange(40))
    np.testing.assert_array_equal(rows.speaking(MOSAIC, known), known.image_product)


@pytest.mark.parametrize(
    ("least", "most", "counts"),
    [(1, 0, {1, 2, 3, 4, 5, 6}), (1, 1, {1}), (2, 4, {2, 3, 4}), (5, 0, {5, 6}), (7, 0, set())],
)
def test_mosaics_are_taught_by_products_of_so_many_pictures(known, least, most, counts):
    model = replace(MOSAIC, mosaic=Mosaic(least, most))
    some = np.flatnonzero(np.arange(40) % 3 > 0)
    expected = [p for p in some.tolist() if known.image_count[p] in counts]
    assert rows.taught(model, known, some).tolist() == expected
