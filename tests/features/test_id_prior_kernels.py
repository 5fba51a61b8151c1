"""The compiled sweeps against plain numpy: sorted keys of (class, position), two searchsorted."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features.id_prior_kernels import (
    count_in_ranges,
    distances_to_class,
    nearest_ranges,
    run_starts,
)

untimed = settings(deadline=None)  # the machine may be busy

CLASSES = 4


class Case:
    """References with ids in order, and queries, each with rows of some classes."""

    def __init__(self, seed: int, num_references: int, max_id: int) -> None:
        rng = np.random.default_rng(seed)
        self.ids = np.sort(rng.integers(0, max_id, num_references))
        self.labels = rng.integers(0, CLASSES, num_references).astype(np.int16)
        own = rng.integers(0, max(num_references, 1), 12) if num_references else np.empty(0, int)
        self.own = np.concatenate([own, np.full(12, num_references)])
        self.query_ids = np.concatenate([self.ids[own], rng.integers(-3, max_id + 3, 12)])
        sizes = rng.integers(1, 4, len(self.own))
        self.ends = np.cumsum(sizes)
        self.starts = self.ends - sizes
        self.run = np.repeat(np.arange(len(sizes)), sizes)
        self.class_id = rng.integers(0, CLASSES, sizes.sum()).astype(np.int16)

    def keys(self, class_id: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Keys that sort by class, then by position."""
        return class_id.astype(np.int64) * (len(self.ids) + 1) + position

    def sorted_keys(self) -> np.ndarray:
        return np.sort(self.keys(self.labels, np.arange(len(self.ids))))


cases = st.builds(Case, st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 90))


def counts_by_searchsorted(case: Case, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    keys, class_id, run = case.sorted_keys(), case.class_id, case.run
    first = np.searchsorted(keys, case.keys(class_id, low[run]))
    last = np.searchsorted(keys, case.keys(class_id, high[run]))
    own = case.own[run]
    own_label = np.append(case.labels, -1)[own]
    own_counts = (own >= low[run]) & (own < high[run]) & (own_label == class_id)
    return last - first - own_counts


def distances_by_searchsorted(case: Case) -> np.ndarray:
    """The nearest of the two products of the class on either side of each row's id."""
    distance = np.full(len(case.class_id), np.inf)
    for row, class_id in enumerate(case.class_id):
        run = case.run[row]
        is_other = (case.labels == class_id) & (np.arange(len(case.ids)) != case.own[run])
        ids = case.ids[is_other].astype(float)
        right = np.searchsorted(ids, case.query_ids[run])
        near = ids[max(right - 1, 0) : right + 1]
        distance[row] = np.abs(near - case.query_ids[run]).min(initial=np.inf)
    return distance


@untimed
@given(cases, st.integers(0, 45))
def test_counts_in_the_nearest_ranges_equal_two_searchsorted(case: Case, window: int) -> None:
    low, high = nearest_ranges(case.ids, case.query_ids, case.own, window)
    order = np.argsort(low, kind="stable")
    counts = count_in_ranges(
        case.labels,
        low,
        high,
        case.own,
        case.starts,
        case.ends,
        case.class_id,
        order,
        CLASSES,
    )
    np.testing.assert_array_equal(counts, counts_by_searchsorted(case, low, high))


@untimed
@given(cases, st.integers(0, 45))
def test_no_product_outside_the_range_is_nearer_than_one_inside(case: Case, window: int) -> None:
    low, high = nearest_ranges(case.ids, case.query_ids, case.own, window)
    for i, own in enumerate(case.own):
        positions = np.flatnonzero(np.arange(len(case.ids)) != own)
        inside = (positions >= low[i]) & (positions < high[i])
        assert inside.sum() == min(window, len(positions))
        gap = np.abs(case.ids[positions] - case.query_ids[i]).astype(float)
        assert gap[inside].max(initial=0) <= gap[~inside].min(initial=np.inf)


@untimed
@given(cases)
def test_distances_to_a_class_equal_searchsorted(case: Case) -> None:
    after = np.searchsorted(case.ids, case.query_ids)
    distances = distances_to_class(
        case.ids,
        case.labels,
        case.query_ids,
        case.own,
        after,
        case.starts,
        case.ends,
        case.class_id,
        np.argsort(after, kind="stable"),
        CLASSES,
    )
    np.testing.assert_array_equal(distances, distances_by_searchsorted(case))


@untimed
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 1))))
def test_runs_start_where_the_id_or_the_own_product_changes(rows: list[tuple[int, int]]) -> None:
    pairs = np.array(rows, np.int64).reshape(-1, 2)
    changes = [i for i in range(len(rows)) if i == 0 or rows[i] != rows[i - 1]]
    assert run_starts(pairs[:, 0], pairs[:, 1]).tolist() == changes
