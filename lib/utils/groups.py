"""Groups of neighboring rows with equal keys: where they start, their sizes, ranks and maxima.

A group is a run of equal values in a key array [n], such as the candidate rows of one product.
Nothing here builds a dense [groups, rows] table.
"""

import numpy as np

from lib.utils.compiled import njit


def group_starts(group: np.ndarray) -> np.ndarray:
    """First row of each run of equal keys: int64 [G].

    group: any dtype [n]; need not be sorted, so a key that comes back starts another run.
    """
    is_start = np.ones(len(group), bool)
    np.not_equal(group[1:], group[:-1], out=is_start[1:])
    return np.flatnonzero(is_start)


def group_sizes(starts: np.ndarray, num_rows: int) -> np.ndarray:
    """Number of rows of each group: int64 [G].

    starts: int64 [G], as `group_starts` returns them for `num_rows` rows.
    """
    return np.diff(starts, append=num_rows)


def group_runs(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row and number of rows of each group of sorted keys: int64 [G] each.

    group: int [n], ascending.
    Raises ValueError if it is not.
    """
    if (group[1:] < group[:-1]).any():
        raise ValueError("rows are not sorted by group")
    starts = group_starts(group)
    return starts, group_sizes(starts, len(group))


def group_index(sizes: np.ndarray) -> np.ndarray:
    """Index of each row's group: int64 [n].

    sizes: int [G] with sum n.
    """
    return np.repeat(np.arange(len(sizes)), sizes)


def position_in_group(group: np.ndarray) -> np.ndarray:
    """How many rows of the same run come before each row: int64 [n].

    group: any dtype [n]; need not be sorted.
    """
    starts = group_starts(group)
    return np.arange(len(group)) - np.repeat(starts, group_sizes(starts, len(group)))


def group_rank(score: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Rank of each row in its group, 0 for the highest score: float32 [n].

    score: float [n]; a NaN has rank NaN and does not count for the others.
    group: int [n], ascending. Of equal scores the row that comes first ranks first.
    Compares all pairs of a group, which is fast for groups of some dozens of rows.
    Raises ValueError if `group` is not sorted.
    """
    starts, _ = group_runs(group)
    rank = np.full(len(score), np.nan, np.float32)
    _rank(np.append(starts, len(score)), score, rank)
    return rank


def group_argmax(score: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Row of the highest score of each group, the first of equal ones: int64 [G].

    score: float [n] without NaN; group: int [n], ascending.
    Raises ValueError if `group` is not sorted.
    """
    starts, sizes = group_runs(group)
    if len(starts) == 0:
        return starts
    highest = np.repeat(np.maximum.reduceat(score, starts), sizes)
    rows = np.where(score == highest, np.arange(len(score)), len(score))
    return np.minimum.reduceat(rows, starts)


def group_max(values: np.ndarray, index: np.ndarray, num_groups: int) -> np.ndarray:
    """Highest value of each group: float64 [num_groups], NaN for a group without rows.

    values: float [n]; index: int [n], ascending, the group of each row, below `num_groups`.
    """
    highest = np.full(num_groups, np.nan)
    if len(index):
        starts = group_starts(index)
        highest[index[starts]] = np.maximum.reduceat(values, starts)
    return highest


def group_normalize(score: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Share of each row in the sum of its group: float32 [n].

    score: float [n], at least 0; where all scores of a group are 0 its rows get equal shares, and
    a NaN makes all shares of its group NaN. group: int [n], ascending.
    Raises ValueError if `group` is not sorted.
    """
    starts, sizes = group_runs(group)
    if len(starts) == 0:
        return np.empty(0, np.float32)
    total = np.repeat(np.add.reduceat(score.astype(np.float64), starts), sizes)
    equal = np.repeat(1 / sizes, sizes)
    share = np.divide(score, total, out=equal, where=total != 0)
    return share.astype(np.float32)


def sample_one_per_group(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One row of each run of equal keys, drawn evenly: int64 [G].

    group: any dtype [n]; need not be sorted.
    """
    starts = group_starts(group)
    sizes = group_sizes(starts, len(group))
    return starts + (rng.random(len(starts)) * sizes).astype(np.int64)


@njit(cache=True, nogil=True)
def _rank(bounds: np.ndarray, score: np.ndarray, rank: np.ndarray) -> None:
    """Fill `rank` float32 [n] for the groups of rows [bounds[g], bounds[g + 1])."""
    for group in range(len(bounds) - 1):
        first, last = bounds[group], bounds[group + 1]
        for row in range(first, last):
            if np.isnan(score[row]):
                continue
            before = 0
            for other in range(first, last):
                before += score[other] > score[row] or (score[other] == score[row] and other < row)
            rank[row] = before
