"""How frequent a class is: everywhere, and among the products with the closest ids (C11).

Ids are informative: sellers list their products in runs. In the order of ids the nearest
`window` products of a row are one contiguous range, so that a count needs two binary searches
and no loop over rows.
"""

from dataclasses import dataclass

import numpy as np

CHUNK = 2_000_000  # rows counted at a time


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
class IdOrder:
    """Reference products in the order of their ids.

    ids int64 [N] ascending, labels int16 [N] and rank int64 [N]: the place of each product, as it
    was given to `in_order`, in that order. keys int64 [N]: class * N + place, ascending.
    """

    ids: np.ndarray
    labels: np.ndarray
    rank: np.ndarray
    keys: np.ndarray

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
        Rows of one product should follow each other: its range is then found once.
        """
        own = self._own(query_ids, self_rows)
        counts = np.zeros(len(query_ids), np.int32)
        for first in range(0, len(query_ids), CHUNK):
            part = slice(first, first + CHUNK)
            ids, places, classes = query_ids[part], own[part], query_classes[part]
            heads, run = _runs(ids, places)
            low, high = (bound[run] for bound in self._range(ids[heads], places[heads], window))
            found = self._before(classes, high) - self._before(classes, low)
            inside = (places >= low) & (places < high)
            mine = np.zeros(len(ids), bool)
            mine[inside] = self.labels[places[inside]] == classes[inside]
            counts[part] = found - mine
        return counts

    def nearest_distance(
        self,
        query_ids: np.ndarray,
        query_classes: np.ndarray,
        self_rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """log1p of |id difference| to the nearest reference product of a class: float32 [rows].

        The own product is left out; NaN where the class has no other.
        """
        own = self._own(query_ids, self_rows)
        n = len(self.ids)
        distance = np.full(len(query_ids), np.nan, np.float32)
        if n == 0:
            return distance
        for first in range(0, len(query_ids), CHUNK):
            part = slice(first, first + CHUNK)
            ids, classes = query_ids[part], query_classes[part].astype(np.int64)
            after = np.searchsorted(self.keys, classes * n + np.searchsorted(self.ids, ids))
            # The own product is the first of its class at or after its id, or one of equals.
            after_key = self.keys[np.minimum(after, n - 1)]
            skip = (after < n) & (after_key == classes * n + own[part])
            gap = np.full(len(ids), np.inf)
            for at in (after - 1, after + skip):
                there = (at >= 0) & (at < n)
                there[there] = self.keys[at[there]] // n == classes[there]
                place = self.keys[at[there]] % n
                gap[there] = np.minimum(gap[there], np.abs(self.ids[place] - ids[there]))
            distance[part] = np.where(np.isfinite(gap), np.log1p(gap), np.nan)
        return distance

    def nearest_classes(
        self, query_ids: np.ndarray, count: int, self_rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Classes of the `count` nearest reference products, in the order of ids.

        int16 [rows, count]; -1 where there are fewer products.
        """
        own = self._own(query_ids, self_rows)
        low, high = self._range(query_ids, own, count)
        place = low[:, None] + np.arange(count)
        place += (own[:, None] >= low[:, None]) & (place >= own[:, None])
        classes = np.full(place.shape, -1, np.int16)
        there = place < high[:, None]
        classes[there] = self.labels[place[there]]
        return classes

    def _own(self, query_ids: np.ndarray, self_rows: np.ndarray | None) -> np.ndarray:
        """Place of each row's own product, N where it has none: int64 [rows]."""
        own = np.full(len(query_ids), len(self.ids), np.int64)
        if self_rows is not None:
            has = self_rows >= 0
            own[has] = self.rank[self_rows[has]]
            assert (self.ids[own[has]] == query_ids[has]).all(), "own product with another id"
        return own

    def _before(self, classes: np.ndarray, place: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.keys, classes.astype(np.int64) * len(self.ids) + place)

    def _range(
        self, query_ids: np.ndarray, own: np.ndarray, window: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places [low, high) of the nearest `window` products; `own` in between does not count.

        Bisects for the first range whose left end is no further away than the product just right
        of it, in the order without the own product.
        """
        others = len(self.ids) - (own < len(self.ids))
        size = np.minimum(window, others)
        low, high = np.zeros(len(query_ids), np.int64), others - size
        while (open_ := np.flatnonzero(low < high)).size:
            middle = (low[open_] + high[open_]) // 2
            beyond = middle + size[open_]
            left = self.ids[middle + (middle >= own[open_])]
            right = self.ids[beyond + (beyond >= own[open_])]
            further = query_ids[open_] - left > right - query_ids[open_]
            low[open_[further]] = middle[further] + 1
            high[open_[~further]] = middle[~further]
        last = low + size - 1
        low = low + (low >= own)
        return low, np.where(size > 0, last + (last >= own) + 1, low)


def in_order(reference_ids: np.ndarray, reference_labels: np.ndarray) -> IdOrder:
    """Sort reference products (ids int64 [N], labels int16 [N]) by id, then by row."""
    order = np.argsort(reference_ids, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    labels = reference_labels[order]
    keys = np.sort(labels.astype(np.int64) * len(order) + np.arange(len(order)))
    return IdOrder(reference_ids[order].astype(np.int64), labels, rank, keys)


def _runs(ids: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First rows of the runs of equal (id, own place), and the run of each row."""
    new = np.ones(len(ids), bool)
    new[1:] = (ids[1:] != ids[:-1]) | (own[1:] != own[:-1])
    return np.flatnonzero(new), np.cumsum(new) - 1
