"""Figures of groups against loops and sorts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.utils.groups import (
    group_argmax,
    group_index,
    group_max,
    group_normalize,
    group_rank,
    group_runs,
    group_sizes,
    group_starts,
    position_in_group,
    sample_one_per_group,
)

untimed = settings(deadline=None)  # the machine may be busy

keys = st.lists(st.integers(-1, 3), max_size=40).map(lambda some: np.array(some, np.int32))
sorted_keys = keys.map(np.sort)


def rows_of(group: np.ndarray) -> list[list[int]]:
    """Rows of each run of equal keys."""
    runs: list[list[int]] = []
    for row in range(len(group)):
        if row and group[row] == group[row - 1]:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs


def drawn_scores(group: np.ndarray, seed: int, missing: bool = False) -> np.ndarray:
    values = [0.0, 0.25, 0.5] + ([np.nan] if missing else [])
    return np.random.default_rng(seed).choice(values, len(group))


@untimed
@given(keys)
def test_starts_sizes_and_positions_equal_a_loop(group: np.ndarray) -> None:
    runs, starts = rows_of(group), group_starts(group)
    sizes = group_sizes(starts, len(group))
    assert starts.tolist() == [run[0] for run in runs]
    assert sizes.tolist() == [len(run) for run in runs]
    assert position_in_group(group).tolist() == [at for run in runs for at in range(len(run))]
    assert group_index(sizes).tolist() == [at for at, run in enumerate(runs) for _ in run]
    assert starts.dtype == sizes.dtype == np.int64


def test_keys_of_any_kind_have_starts() -> None:
    assert group_starts(np.array(["b", "b", "a"])).tolist() == [0, 2]
    assert group_starts(np.array([False, True, True])).tolist() == [0, 1]
    assert group_starts(np.array([-(2**63), 2**63 - 1])).tolist() == [0, 1]


@untimed
@given(sorted_keys)
def test_runs_of_sorted_keys_are_starts_and_sizes(group: np.ndarray) -> None:
    starts, sizes = group_runs(group)
    assert starts.tolist() == group_starts(group).tolist()
    assert sizes.tolist() == group_sizes(starts, len(group)).tolist()


@pytest.mark.parametrize("function", [group_rank, group_argmax, group_normalize])
def test_unsorted_groups_are_refused(function) -> None:
    with pytest.raises(ValueError, match="not sorted by group"):
        group_runs(np.array([2, 1]))
    with pytest.raises(ValueError, match="not sorted by group"):
        function(np.ones(2), np.array([2, 1]))


@untimed
@given(sorted_keys, st.integers(0, 2**32 - 1))
def test_rank_equals_a_sort_and_leaves_out_nan(group: np.ndarray, seed: int) -> None:
    score = drawn_scores(group, seed, missing=True)
    rank = group_rank(score, group)
    assert rank.dtype == np.float32
    for run in rows_of(group):
        scored = [row for row in run if not np.isnan(score[row])]
        order = sorted(scored, key=lambda row: (-score[row], row))
        assert rank[order].tolist() == list(range(len(order)))
    np.testing.assert_array_equal(np.isnan(rank), np.isnan(score))


@untimed
@given(sorted_keys, st.integers(0, 2**32 - 1))
def test_argmax_is_the_first_of_the_highest(group: np.ndarray, seed: int) -> None:
    score = drawn_scores(group, seed)
    best = [max(run, key=lambda row: (score[row], -row)) for run in rows_of(group)]
    assert group_argmax(score, group).tolist() == best
    assert (group_rank(score, group)[best] == 0).all()


@untimed
@given(sorted_keys, st.integers(0, 2**32 - 1))
def test_max_of_each_group_is_nan_without_rows(group: np.ndarray, seed: int) -> None:
    values = drawn_scores(group, seed)
    index = group + 1
    expected = [max(values[index == at].tolist(), default=np.nan) for at in range(6)]
    np.testing.assert_array_equal(group_max(values, index, 6), expected)


@untimed
@given(sorted_keys, st.integers(0, 2**32 - 1))
def test_shares_sum_to_one_in_each_group(group: np.ndarray, seed: int) -> None:
    score = drawn_scores(group, seed)
    share = group_normalize(score, group)
    assert share.dtype == np.float32
    for run in rows_of(group):
        total = score[run].sum()
        expected = score[run] / total if total else np.full(len(run), 1 / len(run))
        np.testing.assert_allclose(share[run], expected, rtol=1e-6)


def test_a_missing_score_makes_the_shares_of_its_group_nan() -> None:
    share = group_normalize(np.array([np.nan, 0.5, 0.5]), np.array([1, 1, 2]))
    assert np.isnan(share).tolist() == [True, True, False]


@untimed
@given(keys, st.integers(0, 2**32 - 1))
def test_one_row_of_each_group_is_drawn(group: np.ndarray, seed: int) -> None:
    drawn = sample_one_per_group(group, np.random.default_rng(seed))
    runs = rows_of(group)
    assert len(drawn) == len(runs)
    assert all(row in run for row, run in zip(drawn.tolist(), runs, strict=True))


def test_each_row_of_a_group_is_drawn_as_often() -> None:
    group = np.repeat(np.arange(3000), 3)
    drawn = sample_one_per_group(group, np.random.default_rng(0)) % 3
    assert np.bincount(drawn) == pytest.approx(1000, abs=100)
