"""Compiled sweeps over products in the order of their ids.

The nearest products of a query are one contiguous range of positions. A table of counts that slides
along the ids answers all queries, and so does a table of the last position of each class. Two
`np.searchsorted` on sorted (class, position) keys give the same numbers, a hundred times slower.
"""

import numpy as np

from lib.utils.compiled import njit

NUM_STEPS = 16  # positions after the last query's that are tried before a binary search


@njit(cache=True, nogil=True)
def run_starts(ids: np.ndarray, reference_row: np.ndarray) -> np.ndarray:
    """First rows of the runs of equal (id, reference row): int64.

    ids: int [R]; reference_row: int [R].
    """
    starts = np.empty(len(ids), np.int64)
    num_runs = 0
    for row in range(len(ids)):
        if row == 0 or ids[row] != ids[row - 1] or reference_row[row] != reference_row[row - 1]:
            starts[num_runs] = row
            num_runs += 1
    return starts[:num_runs].copy()


@njit(cache=True, nogil=True)
def nearest_ranges(
    ids: np.ndarray, query_ids: np.ndarray, own: np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [low, high) of the `window` products nearest to each query: int64 [q] each.

    ids: int64 [N], ascending; query_ids: int64 [q].
    own: int64 [q], position of the query's own product, which does not count; N for none. A range
    around it has one position more. Of two equally near ids the smaller one is taken.
    """
    lows, highs = np.empty(len(query_ids), np.int64), np.empty(len(query_ids), np.int64)
    low = 0
    for i in range(len(query_ids)):
        num_others = len(ids) - (1 if own[i] < len(ids) else 0)
        size = min(window, num_others)
        low = _find_low(ids, query_ids[i], own[i], size, num_others - size, low)
        last = low + size - 1
        lows[i] = low + 1 if low >= own[i] else low
        highs[i] = lows[i] if size == 0 else (last + 2 if last >= own[i] else last + 1)
    return lows, highs


@njit(cache=True, nogil=True)
def _is_farther(ids: np.ndarray, query_id: int, own: int, size: int, low: int) -> bool:
    """Whether position `low` is farther from the query than `low + size`, in ids without `own`."""
    right = low + size
    left_gap = query_id - ids[low + 1 if low >= own else low]
    return left_gap > ids[right + 1 if right >= own else right] - query_id


@njit(cache=True, nogil=True)
def _find_low(ids: np.ndarray, query_id: int, own: int, size: int, max_low: int, start: int) -> int:
    """The first position in [0, max_low) where `_is_farther` is false; `max_low` if nowhere.

    It stays false from there on. Queries mostly come in the order of ids, a few positions apart,
    so positions near `start` are tried first.
    """
    at = min(start, max_low)
    if at == 0 or _is_farther(ids, query_id, own, size, at - 1):
        for _ in range(NUM_STEPS):
            if at == max_low or not _is_farther(ids, query_id, own, size, at):
                return at
            at += 1
    low, high = 0, max_low
    while low < high:
        at = (low + high) // 2
        if _is_farther(ids, query_id, own, size, at):
            low = at + 1
        else:
            high = at
    return low


@njit(cache=True, nogil=True)
def count_in_ranges(
    labels: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    own: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    class_id: np.ndarray,
    order: np.ndarray,
    num_classes: int,
) -> np.ndarray:
    """How often the class of each row is in the range of its run: int32 [R].

    labels: int16 [N], class at each position.
    low, high: int64 [q], range of positions of each run.
    own: int64 [q], position that does not count for a run.
    starts, ends: int64 [q], rows of each run.
    class_id: int16 [R], of each row.
    order: int64 [q], runs in the order of their ranges, so that each is a step from the one before.
    num_classes: more than any label and class.
    """
    result = np.empty(len(class_id), np.int32)
    counts = np.zeros(num_classes, np.int32)  # of the labels in [left, right)
    left = right = 0
    for i in order:
        while right < high[i]:
            counts[labels[right]] += 1
            right += 1
        while left < low[i]:
            counts[labels[left]] -= 1
            left += 1
        while right > high[i]:
            right -= 1
            counts[labels[right]] -= 1
        while left > low[i]:
            left -= 1
            counts[labels[left]] += 1
        own_in_range = low[i] <= own[i] < high[i]
        if own_in_range:
            counts[labels[own[i]]] -= 1
        for row in range(starts[i], ends[i]):
            result[row] = counts[class_id[row]]
        if own_in_range:
            counts[labels[own[i]]] += 1
    return result


@njit(cache=True, nogil=True)
def distances_to_class(
    ids: np.ndarray,
    labels: np.ndarray,
    query_ids: np.ndarray,
    own: np.ndarray,
    after: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    class_id: np.ndarray,
    order: np.ndarray,
    num_classes: int,
) -> np.ndarray:
    """|id difference| to the nearest product of each row's class: float64 [R], inf for none.

    ids: int64 [N], ascending; labels: int16 [N], class at each position.
    query_ids: int64 [q], id of each run.
    own: int64 [q], position that does not count for a run; N for none.
    after: int64 [q], first position with an id of at least the run's.
    starts, ends: int64 [q], rows of each run.
    class_id: int16 [R], of each row.
    order: int64 [q], runs in the order of their ids.
    num_classes: more than any label and class.

    A sweep up the ids has the last product of each class, a sweep down the next one and the one
    that follows it: the own product is the next of its class, unless it is behind another with the
    same id.
    """
    gap = np.full(len(class_id), np.inf)
    nearest = np.full(num_classes, -1, np.int64)  # the last position of each class
    position = 0
    for i in order:
        while position < after[i]:
            nearest[labels[position]] = position
            position += 1
        for row in range(starts[i], ends[i]):
            if nearest[class_id[row]] >= 0:
                gap[row] = query_ids[i] - ids[nearest[class_id[row]]]
    nearest[:] = -1
    following = np.full(len(ids) if (own < len(ids)).any() else 0, -1, np.int64)
    position = len(ids)
    for i in order[::-1]:
        while position > after[i]:
            position -= 1
            if len(following):
                following[position] = nearest[labels[position]]
            nearest[labels[position]] = position
        for row in range(starts[i], ends[i]):
            candidate = nearest[class_id[row]]
            if candidate == own[i]:
                candidate = following[candidate]
            if candidate >= 0:
                gap[row] = min(gap[row], ids[candidate] - query_ids[i])
    return gap
