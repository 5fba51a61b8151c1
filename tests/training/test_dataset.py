from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.inputs.mosaic import Mosaic
from lib.config.model import Model, Sampling
from lib.errors import UserError
from lib.training.dataset import (
    num_rows_of_epoch,
    product_of_row,
    row_of_image,
    sample_rows,
    training_rows,
)
from tests.features.toy_catalog import random_catalog
from tests.training.training_runs import TRAIN, training_set

IMAGE, MOSAIC = Model(), Model(input="mosaic")
PRODUCT = np.repeat(np.arange(600), np.arange(600) % 4 + 1)  # of each row
LABEL = np.repeat([0, 1, 2], [len(PRODUCT) - 200, 150, 50]).astype(np.int16)
ROWS = np.flatnonzero(np.arange(len(PRODUCT)) % 5 > 0)


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


def sampled(sampling, epoch=0, seed=1, hardness=None):
    return sample_rows(sampling, ROWS, LABEL, PRODUCT, seed, epoch, hardness)


def test_by_default_every_row_is_shown_once():
    assert sampled(Sampling()) is ROWS


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_class_balance_shows_classes_in_proportion_to_a_power_of_their_size(balance):
    rows = np.mean([np.bincount(LABEL[sampled(Sampling(balance), e)]) for e in range(40)], axis=0)
    sizes = np.bincount(LABEL[ROWS])
    expected = sizes ** (1 - balance)
    np.testing.assert_allclose(rows / rows.sum(), expected / expected.sum(), atol=0.01)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 9), st.booleans())
def test_every_epoch_has_the_same_number_of_rows_ascending(seed, balance, hard, one):
    sampling = Sampling(balance, one, hard)
    hardness = np.random.default_rng(seed).random(len(ROWS))
    rows = sampled(sampling, 3, seed, hardness)
    assert len(rows) == num_rows_of_epoch(sampling, ROWS, LABEL, PRODUCT)
    assert (np.diff(rows) >= 0).all()
    assert np.isin(rows, ROWS).all()


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.booleans())
def test_oversampling_repeats_small_classes_and_leaves_no_row_out(seed, fraction, one):
    sampling = Sampling(one_image_per_product=one, oversample=fraction)
    rows = sampled(sampling, 3, seed)
    assert len(rows) == num_rows_of_epoch(sampling, ROWS, LABEL, PRODUCT)
    once = sampled(Sampling(one_image_per_product=one), 3, seed)
    assert np.unique(rows).tolist() == once.tolist()
    sizes = np.bincount(LABEL[once])
    for class_id, shown in enumerate(np.bincount(LABEL[rows]).tolist()):
        least = round(fraction * sizes.max()) if sizes[class_id] else 0
        assert shown == max(sizes[class_id], least)
        times = np.unique(rows[LABEL[rows] == class_id], return_counts=True)[1]
        assert len(times) == 0 or times.max() - times.min() <= 1


def test_oversampling_repeats_other_rows_in_each_epoch():
    epochs = [sampled(Sampling(oversample=1.0), epoch) for epoch in range(2)]
    assert len(set(np.bincount(LABEL[epochs[0]]).tolist()) - {0}) == 1
    assert not np.array_equal(*epochs)


def test_one_image_of_each_product_is_shown_and_another_in_each_epoch():
    epochs = [sampled(Sampling(one_image_per_product=True), epoch) for epoch in range(60)]
    for rows in epochs:
        np.testing.assert_array_equal(PRODUCT[rows], np.unique(PRODUCT[ROWS]))
    np.testing.assert_array_equal(np.unique(np.concatenate(epochs)), ROWS)


def test_hard_examples_are_shown_more_often():
    hardness = (np.arange(len(ROWS)) % 2).astype(float)
    rows = np.concatenate(
        [sampled(Sampling(hard_example_weight=3.0), e, hardness=hardness) for e in range(20)]
    )
    times = np.bincount(np.searchsorted(ROWS, rows), minlength=len(ROWS))
    assert times[1::2].sum() / times[::2].sum() == pytest.approx(4, rel=0.05)


def test_epochs_differ_and_can_be_drawn_again():
    sampling = Sampling(class_balance=1.0)
    np.testing.assert_array_equal(sampled(sampling, 1), sampled(sampling, 1))
    assert not np.array_equal(sampled(sampling, 1), sampled(sampling, 2))
    assert not np.array_equal(sampled(sampling, 1), sampled(sampling, 1, seed=2))
