"""Priors against loops, and labels that they may not see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features import id_priors

untimed = settings(deadline=None)  # the machine may be busy

CLASSES = 4


def nearest_by_sort(ids: np.ndarray, query: int, window: int, own: int) -> list[int]:
    """Rows of the nearest products: by distance, then the smaller id."""
    rows = [row for row in range(len(ids)) if row != own]
    return sorted(rows, key=lambda row: (abs(int(ids[row]) - query), ids[row]))[:window]


class Case:
    """References with distinct ids, and queries that are references or other products."""

    def __init__(self, seed: int, references: int, spread: int) -> None:
        rng = np.random.default_rng(seed)
        self.ids = rng.choice(references * spread + 1, references, replace=False).astype(np.int64)
        self.labels = rng.integers(0, CLASSES, references).astype(np.int16)
        self.order = id_priors.build_id_index(self.ids, self.labels)
        own = rng.integers(0, references, 30) if references else np.empty(0, np.int64)
        unknown_ids = rng.integers(-5, references * spread + 5, 30)
        self.query_ids = np.repeat(np.concatenate([self.ids[own], unknown_ids]), 2)
        self.own = np.repeat(np.concatenate([own, np.full(30, -1)]), 2)
        self.classes = rng.integers(0, CLASSES, len(self.query_ids)).astype(np.int16)


cases = st.builds(Case, st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 3))


@untimed
@given(cases, st.integers(0, 45))
def test_nearest_counts_equal_a_sort(case: Case, window: int) -> None:
    result = case.order.nearest_counts(case.query_ids, case.classes, window, case.own)
    for row, query in enumerate(case.query_ids):
        near = nearest_by_sort(case.ids, int(query), window, case.own[row])
        assert result[row] == sum(case.labels[i] == case.classes[row] for i in near)


@untimed
@given(cases, st.integers(0, 8))
def test_nearest_classes_equal_a_sort(case: Case, count: int) -> None:
    result = case.order.nearest_classes(case.query_ids, count, case.own)
    for row, query in enumerate(case.query_ids):
        near = nearest_by_sort(case.ids, int(query), count, case.own[row])
        expected = [int(case.labels[i]) for i in near]
        assert result[row].tolist() == expected + [-1] * (count - len(expected))


@untimed
@given(cases)
def test_nearest_distance_equals_a_minimum(case: Case) -> None:
    result = case.order.nearest_distance(case.query_ids, case.classes, case.own)
    for row, query in enumerate(case.query_ids):
        gaps = [
            abs(int(case.ids[i]) - int(query))
            for i in range(len(case.ids))
            if i != case.own[row] and case.labels[i] == case.classes[row]
        ]
        if gaps:
            assert result[row] == pytest.approx(np.log1p(min(gaps)), rel=1e-6)
        else:
            assert np.isnan(result[row])


@untimed
@given(cases, st.integers(1, 10))
def test_without_reference_rows_nothing_is_left_out(case: Case, window: int) -> None:
    none = np.full(len(case.own), -1)
    given_none = case.order.nearest_counts(case.query_ids, case.classes, window)
    given_minus = case.order.nearest_counts(case.query_ids, case.classes, window, none)
    np.testing.assert_array_equal(given_none, given_minus)


@untimed
@given(st.integers(0, 2**32 - 1))
def test_equal_ids_still_leave_out_the_own_label(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids, labels = rng.integers(0, 6, 25), rng.integers(0, CLASSES, 25).astype(np.int16)
    own = np.arange(25)
    changed = labels.copy()
    changed[7] = (changed[7] + 1) % CLASSES
    for classes in range(CLASSES):
        arguments = np.full(25, classes)
        before, after = (
            id_priors.build_id_index(ids, labels),
            id_priors.build_id_index(ids, changed),
        )
        for window in (1, 5, 24):
            left = before.nearest_counts(ids, arguments, window, own)[7]
            assert left == after.nearest_counts(ids, arguments, window, own)[7]
        left = before.nearest_distance(ids, arguments, own)[7]
        assert np.array_equal(left, after.nearest_distance(ids, arguments, own)[7], equal_nan=True)


def test_an_own_product_with_another_id_is_refused() -> None:
    order = id_priors.build_id_index(np.array([3, 5]), np.array([0, 1], np.int16))
    with pytest.raises(AssertionError, match="another id"):
        order.nearest_counts(np.array([4]), np.array([0]), 1, np.array([1]))


@untimed
@given(cases, st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_change_the_result(case: Case, window: int, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(len(case.query_ids))
    arguments = case.query_ids, case.classes, case.own
    other = [column[shuffled] for column in arguments]
    count, distance = case.order.nearest_counts, case.order.nearest_distance
    np.testing.assert_array_equal(
        count(*arguments[:2], window, arguments[2])[shuffled], count(*other[:2], window, other[2])
    )
    np.testing.assert_array_equal(distance(*arguments)[shuffled], distance(*other))


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_global_prior_equals_a_loop(seed: int, products: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(-1, CLASSES, products).astype(np.int16)
    reference = (rng.random(products) < 0.8) & (label >= 0)
    fold = rng.integers(-1, 3, products).astype(np.int8)
    result = id_priors.global_prior(label, reference, fold, CLASSES)
    for left_out in [*range(fold.max() + 1), -1]:
        kept = reference & ((fold != left_out) | (left_out < 0))
        if kept.any():
            expected = [np.mean(label[kept] == class_id) for class_id in range(CLASSES)]
            np.testing.assert_allclose(result[left_out], expected, rtol=1e-6)
        else:
            assert np.isnan(result[left_out]).all()


def test_a_window_is_at_most_a_quarter_of_the_references() -> None:
    assert id_priors.limit_window(50_000, 1000) == 250
    assert id_priors.limit_window(50, 1000) == 50
