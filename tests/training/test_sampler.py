import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.model import Sampling
from lib.training.sampler import num_rows_of_epoch, sample_rows

PRODUCT = np.repeat(np.arange(600), np.arange(600) % 4 + 1)  # of each row
LABEL = np.repeat([0, 1, 2], [len(PRODUCT) - 200, 150, 50]).astype(np.int16)
ROWS = np.flatnonzero(np.arange(len(PRODUCT)) % 5 > 0)


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
    assert len(rows) == num_rows_of_epoch(sampling, ROWS, PRODUCT)
    assert (np.diff(rows) >= 0).all()
    assert np.isin(rows, ROWS).all()


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
