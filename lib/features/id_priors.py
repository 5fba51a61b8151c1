"""How frequent a class is: everywhere, and among the products with the closest ids (C11).

Ids are informative: sellers list their products in runs. In the order of ids the nearest
`window` products of a row are one contiguous range, and a table of counts that slides along the
ids answers every row; so does one of the last product of each class for the nearest of a class.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

NEAR = 16  # places after the last query's that are looked at before bisecting


def global_prior(
    label: np.ndarray, reference: np.ndarray, fold: np.ndarray, class_count: int
) -> np.ndarray:
    """Share of each class among reference products outside a fold: float32 [folds + 1, classes].

    label int16 [P], reference bool [P], fold int8 [P] (-1: in none, so never left out).
    Row f leaves fold f out; the last one, which index -1 reaches, leaves out nothing. NaN where
    no product is left.
    """
    folds = 1 + int(fold.max(initial=-1))
    counts = np.zeros((folds + 1, class_count))
    everything = np.bincount(label[reference], minlength=class_count)
    for left_out in range(folds):
        own = label[reference & (fold == left_out)]
        counts[left_out] = everything - np.bincount(own, minlength=class_count)
    counts[-1] = everything
    with np.errstate(invalid="ignore"):
        return (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


def capped(window: int, references: int) -> int:
    """`window`, at most a quarter of the reference products.

    The count in a window that spans the catalogue is the global count less the row's own label:
    constant within a class but for that label, which a tree then reads.
    """
    return min(window, references // 4)


@dataclass(frozen=True)
class IdIndex:
    """Reference products in the order of their ids.

    ids int64 [N] ascending, labels int16 [N] and rank int64 [N]: the place of each product, as it
    was given to `in_order`, in that order.
    """

    ids: np.ndarray
    labels: np.ndarray
    rank: np.ndarray

    def nearest_counts(
        self,
        query_ids: np.ndarray,
        query_classes: np.ndarray,
        window: int,
        self_rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Of the `window` nearest reference products, those of a class: int32 [rows].

        Exact by |id difference|; of two as near the smaller id is taken. self_rows int64 [rows]:
        the row's own place among the products given to `in_order`, which is left out; -1: none.
        Rows of one product should follow each other: its place is then found once.
        """
        heads = _heads(query_ids, query_ids if self_rows is None else self_rows)
        own = self._own(query_ids[heads], None if self_rows is None else self_rows[heads])
        low, high = self._range(query_ids[heads], own, window)
        ends = np.append(heads[1:], len(query_ids))
        classes = query_classes.astype(np.int16, copy=False)
        in_order = np.argsort(low, kind="stable")  # each range is then a step from the one before
        most = self._most(classes)
        return _count(self.labels, low, high, own, heads, ends, classes, in_order, most)

    def nearest_distance(
        self,
        query_ids: np.ndarray,
        query_classes: np.ndarray,
        self_rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """log1p of |id difference| to the nearest reference product of a class: float32 [rows].

        The own product is left out; NaN where the class has no other.
        """
        heads = _heads(query_ids, query_ids if self_rows is None else self_rows)
        own = self._own(query_ids[heads], None if self_rows is None else self_rows[heads])
        ids = query_ids[heads].astype(np.int64, copy=False)
        after = np.searchsorted(self.ids, ids)
        ends = np.append(heads[1:], len(query_ids))
        classes = query_classes.astype(np.int16, copy=False)
        in_order = np.argsort(after, kind="stable")
        runs = (ids, own, after, heads, ends)
        gap = _gaps(self.ids, self.labels, runs, classes, in_order, self._most(classes))
        return np.where(np.isfinite(gap), np.log1p(gap), np.nan).astype(np.float32)

    def nearest_classes(
        self, query_ids: np.ndarray, count: int, self_rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Classes of the `count` nearest reference products, the nearest first.

        int16 [rows, count]; -1 where there are fewer products. Of two as near the smaller id.
        """
        own = self._own(query_ids, self_rows)
        low, high = self._range(query_ids, own, count)
        place = low[:, None] + np.arange(count)
        place += (own[:, None] >= low[:, None]) & (place >= own[:, None])
        there = place < high[:, None]
        place[~there] = 0
        gap = np.full(place.shape, np.iinfo(np.int64).max)
        classes = np.full(place.shape, -1, np.int16)
        if len(self.ids):
            gap[there] = np.abs(self.ids[place] - query_ids[:, None])[there]
            classes[there] = self.labels[place[there]]
        return np.take_along_axis(classes, np.argsort(gap, axis=1, kind="stable"), axis=1)

    def nearest_range(self, query_ids: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Places [low, high) of the `window` products nearest to each id: int64 [rows] each."""
        return self._range(query_ids, self._own(query_ids, None), window)

    def _most(self, classes: np.ndarray) -> int:
        """More than any class there is."""
        return 1 + max(int(self.labels.max(initial=-1)), int(classes.max(initial=-1)))

    def _own(self, query_ids: np.ndarray, self_rows: np.ndarray | None) -> np.ndarray:
        """Place of each row's own product, N where it has none: int64 [rows]."""
        own = np.full(len(query_ids), len(self.ids), np.int64)
        if self_rows is not None:
            has = self_rows >= 0
            own[has] = self.rank[self_rows[has]]
            assert (self.ids[own[has]] == query_ids[has]).all(), "own product with another id"
        return own

    def _range(
        self, query_ids: np.ndarray, own: np.ndarray, window: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places [low, high) of the nearest `window` products; `own` in between does not count."""
        return _ranges(self.ids, query_ids.astype(np.int64, copy=False), own, window)


def in_order(reference_ids: np.ndarray, reference_labels: np.ndarray) -> IdIndex:
    """Sort reference products (ids int64 [N], labels int16 [N]) by id, then by row."""
    order = np.argsort(reference_ids, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return IdIndex(reference_ids[order].astype(np.int64), reference_labels[order], rank)


@njit(cache=True, nogil=True)
def _heads(ids: np.ndarray, self_rows: np.ndarray) -> np.ndarray:
    """First rows of the runs of equal (id, own row)."""
    heads = np.empty(len(ids), np.int64)
    count = 0
    for row in range(len(ids)):
        if row == 0 or ids[row] != ids[row - 1] or self_rows[row] != self_rows[row - 1]:
            heads[count] = row
            count += 1
    return heads[:count].copy()


@njit(cache=True, nogil=True)
def _ranges(
    ids: np.ndarray, queries: np.ndarray, own: np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """Places [low, high) in `ids` of the `window` nearest to each query, its own place aside."""
    lows, highs = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
    low = 0
    for i in range(len(queries)):
        mine = own[i]
        others = len(ids) - (1 if mine < len(ids) else 0)
        size = min(window, others)
        low = _first_range(ids, queries[i], mine, size, others - size, low)
        last = low + size - 1
        lows[i] = low + 1 if low >= mine else low
        highs[i] = lows[i] if size == 0 else (last + 2 if last >= mine else last + 1)
    return lows, highs


@njit(cache=True, nogil=True)
def _further(ids: np.ndarray, query: int, own: int, size: int, at: int) -> bool:
    """Is the left end of the range [at, at + size) further from the query than the product just
    right of it? In the order without `own`."""
    right = at + size
    left_gap = query - ids[at + 1 if at >= own else at]
    return left_gap > ids[right + 1 if right >= own else right] - query


@njit(cache=True, nogil=True)
def _first_range(ids: np.ndarray, query: int, own: int, size: int, most: int, start: int) -> int:
    """The first place in [0, most) where `_further` is false, which it stays; `most` if nowhere.

    Queries mostly come in the order of ids, a few places apart: looks near `start` first.
    """
    at = min(start, most)
    if at == 0 or _further(ids, query, own, size, at - 1):
        for _ in range(NEAR):
            if at == most or not _further(ids, query, own, size, at):
                return at
            at += 1
    low, high = 0, most
    while low < high:
        at = (low + high) // 2
        if _further(ids, query, own, size, at):
            low = at + 1
        else:
            high = at
    return low


@njit(cache=True, nogil=True)
def _count(
    labels: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    own: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    classes: np.ndarray,
    in_order: np.ndarray,
    most: int,
) -> np.ndarray:
    """How often the class of each row is in its run's range: int32 [rows].

    Run i is rows [starts[i], ends[i]) and looks at labels [low[i], high[i]) but for own[i]. One
    table of counts slides over the ranges, so a row costs one look into it.
    """
    found = np.empty(len(classes), np.int32)
    table = np.zeros(most, np.int32)
    left = right = 0
    for i in in_order:
        while right < high[i]:
            table[labels[right]] += 1
            right += 1
        while left < low[i]:
            table[labels[left]] -= 1
            left += 1
        while right > high[i]:
            right -= 1
            table[labels[right]] -= 1
        while left > low[i]:
            left -= 1
            table[labels[left]] += 1
        inside = low[i] <= own[i] < high[i]
        if inside:
            table[labels[own[i]]] -= 1
        for row in range(starts[i], ends[i]):
            found[row] = table[classes[row]]
        if inside:
            table[labels[own[i]]] += 1
    return found


@njit(cache=True, nogil=True)
def _gaps(
    ids: np.ndarray,
    labels: np.ndarray,
    runs: tuple,
    classes: np.ndarray,
    in_order: np.ndarray,
    most: int,
) -> np.ndarray:
    """|id difference| to the nearest product of the row's class but the own: float64 [rows], inf.

    Run i is rows [starts[i], ends[i]) of one id, whose place among `ids` is after[i]. One walk up
    the ids knows the last product of each class, one walk down the next, and which follows that:
    the own product is the next of its class, if not behind another of the same id.
    """
    queries, own, after, starts, ends = runs
    gap = np.full(len(classes), np.inf)
    latest = np.full(most, -1, np.int64)
    place = 0
    for i in in_order:
        while place < after[i]:
            latest[labels[place]] = place
            place += 1
        for row in range(starts[i], ends[i]):
            if latest[classes[row]] >= 0:
                gap[row] = queries[i] - ids[latest[classes[row]]]
    latest[:] = -1
    follow = np.full(len(ids) if (own < len(ids)).any() else 0, -1, np.int64)
    place = len(ids)
    for i in in_order[::-1]:
        while place > after[i]:
            place -= 1
            if len(follow):
                follow[place] = latest[labels[place]]
            latest[labels[place]] = place
        for row in range(starts[i], ends[i]):
            nearest = latest[classes[row]]
            if nearest == own[i]:
                nearest = follow[nearest]
            if nearest >= 0:
                gap[row] = min(gap[row], ids[nearest] - queries[i])
    return gap
