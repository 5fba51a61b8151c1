import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features.attributes import class_values as module

CLASSES, FOLDS = 4, 3
seeds = st.integers(0, 2**32 - 1)


def random_products(seed: int, products: int = 40) -> tuple[np.ndarray, ...]:
    """value, label, mask and fold; few different numbers, so that there are ties."""
    rng = np.random.default_rng(seed)
    value = rng.choice([np.nan, -5.0, 0.0, 1.5, 1.5, 100.0, 2e6, rng.random()], products)
    label = rng.integers(0, CLASSES - 1, products).astype(np.int16)  # a class without products
    fold = rng.integers(-1, FOLDS, products).astype(np.int8)
    fold[:FOLDS] = range(FOLDS)
    return value, label, rng.random(products) < 0.8, fold


def spread(values: np.ndarray) -> float:
    low, high = np.quantile(values, [0.25, 0.75], method="lower")
    return (high - low) / module.IQR_OF_NORMAL


@settings(max_examples=40)
@given(seeds)
def test_shares_below_and_distances_are_those_of_a_loop_over_products(seed):
    value, label, mask, fold = random_products(seed)
    of_class = module.sort_by_class(value, label, mask, fold, CLASSES)
    query = np.array([np.nan, -6.0, -5.0, 0.5, 1.5, 1e9])
    for left_out in range(-1, FOLDS):
        counted = mask & ~np.isnan(value) & ((fold != left_out) | (left_out < 0))
        for class_id in range(CLASSES):
            args = (query, np.full(len(query), class_id), np.full(len(query), left_out))
            below, distance = of_class.below(*args), of_class.distances(*args)
            own = value[counted & (label == class_id)]
            if len(own) == 0:
                assert np.isnan(below).all()
                assert np.isnan(distance).all()
                continue
            smaller = [(own < q).sum() + (own == q).sum() / 2 for q in query[1:]]
            expected = (np.array(smaller) + 0.5) / (len(own) + 1)
            np.testing.assert_allclose(below, [np.nan, *expected], rtol=1e-5)
            logs, every = module.signed_log(own), module.signed_log(value[counted])
            square = len(own) * spread(logs) ** 2 + module.SMOOTHING * spread(every) ** 2
            scale = max(np.sqrt(square / (len(own) + module.SMOOTHING)), module.MIN_SPREAD)
            away = (module.signed_log(query) - np.quantile(logs, 0.5, method="lower")) / scale
            limit = module.MAX_DISTANCE
            np.testing.assert_allclose(distance, np.clip(away, -limit, limit), rtol=1e-4, atol=1e-5)


def test_a_constant_column_has_finite_distances():
    value, label = np.full(10, 7.0), np.repeat([0, 1], 5).astype(np.int16)
    fold = (np.arange(10) % 2).astype(np.int8)
    of_class = module.sort_by_class(value, label, np.ones(10, bool), fold, 2)
    rows = (np.array([7.0, 8.0]), np.array([0, 1]), np.array([0, -1]))
    np.testing.assert_array_equal(of_class.distances(*rows), [0, module.MAX_DISTANCE])
    np.testing.assert_allclose(of_class.below(*rows), [0.5, 11 / 12])
    assert len(module.bin_edges(value)) == 0


def test_a_column_without_any_number_is_missing():
    value, label = np.full(4, np.nan), np.zeros(4, np.int16)
    of_class = module.sort_by_class(value, label, np.ones(4, bool), np.zeros(4, np.int8), 2)
    rows = (np.array([np.nan, 1.0]), np.array([0, 1]), np.array([0, -1]))
    assert np.isnan(of_class.below(*rows)).all()
    assert np.isnan(of_class.distances(*rows)).all()
    assert module.to_bins(value, module.bin_edges(value)).tolist() == [-1] * 4


@given(st.lists(st.floats(-1e9, 1e9), max_size=300), st.integers(1, 10))
def test_numbers_that_repeat_have_a_bin_each_and_others_share_one(values, repeats):
    numbers = np.repeat([*values, np.nan], repeats)
    bins = module.to_bins(numbers, module.bin_edges(numbers))
    assert (bins[-repeats:] == -1).all()
    numbers, bins = numbers[:-repeats], bins[:-repeats]
    unique = np.unique(numbers)
    order = np.argsort(numbers, kind="stable")
    assert (np.diff(bins[order]) >= 0).all()
    if len(unique) <= module.MAX_BINS and len(numbers) >= module.MIN_REPEATS * len(unique):
        np.testing.assert_array_equal(bins, np.searchsorted(unique, numbers))
    else:
        assert bins.max() < max(len(numbers) / module.MIN_IN_BIN, 1)
