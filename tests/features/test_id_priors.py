"""Priors against loops, and the label that they may not see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features import id_priors

untimed = settings(deadline=None)  # the machine may be busy

CLASSES = 4


def nearest_by_hand(ids: np.ndarray, query: int, window: int, own: int) -> list[int]:
    """Rows of the nearest products: by distance, then the smaller id."""
    rows = [row for row in range(len(ids)) if row != own]
    return sorted(rows, key=lambda row: (abs(int(ids[row]) - query), ids[row]))[:window]


class RandomCase:
    """References with ids of their own, and queries that are references or strangers."""

    def __init__(self, seed: int, references: int, spread: int) -> None:
        rng = np.random.default_rng(seed)
        self.ids = rng.choice(references * spread + 1, references, replace=False).astype(np.int64)
        self.labels = rng.integers(0, CLASSES, references).astype(np.int16)
        self.order = id_priors.build_id_index(self.ids, self.labels)
        own = rng.integers(0, references, 30) if references else np.empty(0, np.int64)
        strange = rng.integers(-5, references * spread + 5, 30)
        self.query_ids = np.repeat(np.concatenate([self.ids[own], strange]), 2)
        self.own = np.repeat(np.concatenate([own, np.full(30, -1)]), 2)
        self.classes = rng.integers(0, CLASSES, len(self.query_ids)).astype(np.int16)


random_case = st.builds(
    RandomCase, st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 3)
)


@untimed
@given(random_case, st.integers(0, 45))
def test_nearest_counts_equal_a_sort(data: RandomCase, window: int) -> None:
    found = data.order.nearest_counts(data.query_ids, data.classes, window, data.own)
    for row, query in enumerate(data.query_ids):
        near = nearest_by_hand(data.ids, int(query), window, data.own[row])
        assert found[row] == sum(data.labels[i] == data.classes[row] for i in near)


@untimed
@given(random_case, st.integers(0, 8))
def test_nearest_classes_equal_a_sort(data: RandomCase, count: int) -> None:
    found = data.order.nearest_classes(data.query_ids, count, data.own)
    for row, query in enumerate(data.query_ids):
        near = nearest_by_hand(data.ids, int(query), count, data.own[row])
        expected = [int(data.labels[i]) for i in near]
        assert found[row].tolist() == expected + [-1] * (count - len(expected))


@untimed
@given(random_case)
def test_nearest_distance_equals_a_minimum(data: RandomCase) -> None:
    found = data.order.nearest_distance(data.query_ids, data.classes, data.own)
    for row, query in enumerate(data.query_ids):
        gaps = [
            abs(int(data.ids[i]) - int(query))
            for i in range(len(data.ids))
            if i != data.own[row] and data.labels[i] == data.classes[row]
        ]
        if gaps:
            assert found[row] == pytest.approx(np.log1p(min(gaps)), rel=1e-6)
        else:
            assert np.isnan(found[row])


@untimed
@given(random_case, st.integers(1, 10))
def test_without_own_rows_nothing_is_left_out(data: RandomCase, window: int) -> None:
    none = np.full(len(data.own), -1)
    given_none = data.order.nearest_counts(data.query_ids, data.classes, window)
    given_minus = data.order.nearest_counts(data.query_ids, data.classes, window, none)
    np.testing.assert_array_equal(given_none, given_minus)


@untimed
@given(st.integers(0, 2**32 - 1))
def test_a_damaged_catalogue_with_equal_ids_still_leaves_out_the_own_label(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids, labels = rng.integers(0, 6, 25), rng.integers(0, CLASSES, 25).astype(np.int16)
    own = np.arange(25)
    changed = labels.copy()
    changed[7] = (changed[7] + 1) % CLASSES
    for classes in range(CLASSES):
        asked = np.full(25, classes)
        before, after = (
            id_priors.build_id_index(ids, labels),
            id_priors.build_id_index(ids, changed),
        )
        for window in (1, 5, 24):
            left = before.nearest_counts(ids, asked, window, own)[7]
            assert left == after.nearest_counts(ids, asked, window, own)[7]
        left = before.nearest_distance(ids, asked, own)[7]
        assert np.array_equal(left, after.nearest_distance(ids, asked, own)[7], equal_nan=True)


def test_an_own_product_with_another_id_is_refused() -> None:
    order = id_priors.build_id_index(np.array([3, 5]), np.array([0, 1], np.int16))
    with pytest.raises(AssertionError, match="another id"):
        order.nearest_counts(np.array([4]), np.array([0]), 1, np.array([1]))


@untimed
@given(random_case, st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_the_order_of_the_rows_changes_nothing(data: RandomCase, window: int, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(len(data.query_ids))
    asked = data.query_ids, data.classes, data.own
    other = [column[shuffled] for column in asked]
    count, distance = data.order.nearest_counts, data.order.nearest_distance
    np.testing.assert_array_equal(
        count(*asked[:2], window, asked[2])[shuffled], count(*other[:2], window, other[2])
    )
    np.testing.assert_array_equal(distance(*asked)[shuffled], distance(*other))


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_global_prior_equals_a_loop(seed: int, products: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(-1, CLASSES, products).astype(np.int16)
    reference = (rng.random(products) < 0.8) & (label >= 0)
    fold = rng.integers(-1, 3, products).astype(np.int8)
    found = id_priors.global_prior(label, reference, fold, CLASSES)
    for left_out in [*range(fold.max() + 1), -1]:
        kept = reference & ((fold != left_out) | (left_out < 0))
        if kept.any():
            expected = [np.mean(label[kept] == class_id) for class_id in range(CLASSES)]
            np.testing.assert_allclose(found[left_out], expected, rtol=1e-6)
        else:
            assert np.isnan(found[left_out]).all()


def test_a_window_never_spans_the_catalogue() -> None:
    assert id_priors.limit_window(50_000, 1000) == 250
    assert id_priors.limit_window(50, 1000) == 50
