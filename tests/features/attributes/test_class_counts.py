import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features.attributes.class_counts import SMOOTHING, ClassCounts, count_classes

CLASSES, VALUES, FOLDS = 4, 5, 3
seeds = st.integers(0, 2**32 - 1)


def random_products(seed: int, products: int = 40) -> tuple[np.ndarray, ...]:
    """value, label, mask and fold of labelled products, and their counts' source."""
    rng = np.random.default_rng(seed)
    value = rng.integers(-1, VALUES, products).astype(np.int32)
    label = rng.integers(0, CLASSES, products).astype(np.int16)
    mask = rng.random(products) < 0.8
    fold = rng.integers(-1, FOLDS, products).astype(np.int8)
    fold[:FOLDS] = range(FOLDS)
    return value, label, mask, fold


def counts_of(seed: int) -> tuple[ClassCounts, tuple[np.ndarray, ...]]:
    products = random_products(seed)
    return count_classes(*products, VALUES + 1, CLASSES), products


@settings(max_examples=40)
@given(seeds)
def test_shares_and_counts_are_those_of_a_loop_over_products(seed):
    counts, (value, label, mask, fold) = counts_of(seed)
    for of_value in range(-1, VALUES + 1):
        for left_out in range(-1, FOLDS):
            counted = mask & ((fold != left_out) | (left_out < 0))
            same = counted & (value == of_value)
            args = (np.full(CLASSES, of_value), np.arange(CLASSES), np.full(CLASSES, left_out))
            share, count = counts.shares(*args), counts.log_counts(args[0], args[2])
            if of_value < 0:
                assert np.isnan(share).all()
                assert np.isnan(count).all()
                continue
            np.testing.assert_allclose(count, np.log1p(same.sum()), rtol=1e-6)
            for class_id in range(CLASSES):
                both = (same & (label == class_id)).sum()
                prior = (counted & (label == class_id)).sum() / max(counted.sum(), 1)
                expected = (both + SMOOTHING * prior) / (same.sum() + SMOOTHING)
                assert share[class_id] == pytest.approx(expected, rel=1e-5)


@given(seeds, st.integers(1, 5))
def test_proposals_are_the_most_frequent_classes_outside_the_fold(seed, k):
    counts, (value, label, mask, fold) = counts_of(seed)
    rng = np.random.default_rng(seed)
    of_query = rng.integers(-1, VALUES + 1, 20)
    left_out = rng.integers(-1, FOLDS, 20)
    found = counts.proposals(of_query, left_out, k)
    for row in range(20):
        counted = mask & (value == of_query[row]) & (value >= 0)
        if left_out[row] >= 0:
            counted &= fold != left_out[row]
        count = np.bincount(label[counted], minlength=CLASSES)
        best = [c for c in np.argsort(-count, kind="stable") if count[c]][:k]
        assert found[row].tolist() == best + [-1] * (k - len(best))


def test_a_value_of_no_product_has_the_prior_and_one_of_one_product_is_drawn_to_it():
    value = np.array([0, 1, 1, 1], np.int32)
    label = np.array([0, 1, 1, 0], np.int16)
    every, none = np.ones(4, bool), np.full(4, -1, np.int8)
    counts = count_classes(value, label, every, none, 3, 2)
    two = np.arange(2)
    np.testing.assert_allclose(counts.shares(np.full(2, 2), two, np.full(2, -1)), [0.5, 0.5])
    one = counts.shares(np.zeros(2, int), two, np.full(2, -1))
    np.testing.assert_allclose(one, [2 / 3, 1 / 3])


def test_a_column_without_any_value_has_no_shares():
    missing = np.full(6, -1, np.int32)
    label, every = np.zeros(6, np.int16), np.ones(6, bool)
    counts = count_classes(missing, label, every, np.arange(6).astype(np.int8) % 2, 0, 2)
    classes, fold = np.array([0, 1]), np.array([0, -1])
    assert np.isnan(counts.shares(missing[:2], classes, fold)).all()
    assert np.isnan(counts.log_counts(missing[:2], fold)).all()
    assert (counts.proposals(missing[:2], fold, 2) == -1).all()
