"""How frequent a class is: in the whole catalog, and among the products with the nearest ids.

Ids carry information: sellers list their products in runs of few classes. The compiled sweeps are
in `id_prior_kernels.py`.
"""

from dataclasses import dataclass

import numpy as np

from lib.features.id_prior_kernels import (
    count_in_ranges,
    distances_to_class,
    nearest_ranges,
    run_starts,
)


def global_prior(
    label: np.ndarray, mask: np.ndarray, fold: np.ndarray, num_classes: int
) -> np.ndarray:
    """Share of each class among reference products outside a fold: float32 [folds + 1, classes].

    label: int16 [P]; mask: bool [P], the reference products; fold: int8 [P], -1 for products that
    are never left out.
    Row f leaves fold f out; the last row, which index -1 reaches, leaves out nothing. NaN if no
    product is left.
    """
    folds = 1 + int(fold.max(initial=-1))
    counts = np.zeros((folds + 1, num_classes))
    total = np.bincount(label[mask], minlength=num_classes)
    for left_out in range(folds):
        label_of_fold = label[mask & (fold == left_out)]
        counts[left_out] = total - np.bincount(label_of_fold, minlength=num_classes)
    counts[-1] = total
    with np.errstate(invalid="ignore"):
        return (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


def limit_window(window: int, num_references: int) -> int:
    """`window`, but at most a quarter of the reference products.

    The count in a window over the whole catalog is the global count without the row's own label:
    constant within a class except for that label, which a tree can then recover.
    """
    return min(window, num_references // 4)


@dataclass(frozen=True)
class IdIndex:
    """Reference products in the order of their ids; a position is an index in that order.

    ids: int64 [N], ascending. labels: int16 [N], class of each.
    position: int64 [N], of each reference product in the order given to `build_id_index`.
    """

    ids: np.ndarray
    labels: np.ndarray
    position: np.ndarray

    def nearest_counts(
        self,
        query_ids: np.ndarray,
        class_id: np.ndarray,
        window: int,
        reference_row: np.ndarray | None = None,
    ) -> np.ndarray:
        """How many of the `window` nearest reference products have the row's class: int32 [R].

        query_ids: int64 [R]; class_id: int [R].
        reference_row: int64 [R], index of the row's own product among the products given to
        `build_id_index`, which is left out; -1 for none.
        Exact by |id difference|; of two equally near ids the smaller one is taken. Rows of one
        product should be neighbors: its range is then found once.
        """
        starts, ends, own = self._runs(query_ids, reference_row)
        low, high = self._nearest_ranges(query_ids[starts], own, window)
        classes = class_id.astype(np.int16, copy=False)
        order = np.argsort(low, kind="stable")
        num_classes = self._num_classes(classes)
        return count_in_ranges(
            self.labels, low, high, own, starts, ends, classes, order, num_classes
        )

    def nearest_distance(
        self,
        query_ids: np.ndarray,
        class_id: np.ndarray,
        reference_row: np.ndarray | None = None,
    ) -> np.ndarray:
        """log1p of |id difference| to the nearest reference product of the row's class.

        Arguments as in `nearest_counts`. Returns float32 [R], NaN if the class has no product other
        than the own one.
        """
        starts, ends, own = self._runs(query_ids, reference_row)
        ids = query_ids[starts].astype(np.int64, copy=False)
        after = np.searchsorted(self.ids, ids)
        classes = class_id.astype(np.int16, copy=False)
        gap = distances_to_class(
            self.ids,
            self.labels,
            ids,
            own,
            after,
            starts,
            ends,
            classes,
            np.argsort(after, kind="stable"),
            self._num_classes(classes),
        )
        return np.where(np.isfinite(gap), np.log1p(gap), np.nan).astype(np.float32)

    def nearest_classes(
        self, query_ids: np.ndarray, k: int, reference_row: np.ndarray | None = None
    ) -> np.ndarray:
        """Classes of the k nearest reference products, nearest first: int16 [R, k].

        Arguments as in `nearest_counts`. -1 if there are fewer products; of two equally near ids
        the smaller one comes first.
        """
        own = self._own_position(query_ids, reference_row)
        low, high = self._nearest_ranges(query_ids, own, k)
        position = low[:, None] + np.arange(k)
        position += (own[:, None] >= low[:, None]) & (position >= own[:, None])
        exists = position < high[:, None]
        position[~exists] = 0
        gap = np.full(position.shape, np.iinfo(np.int64).max)
        classes = np.full(position.shape, -1, np.int16)
        if len(self.ids):
            gap[exists] = np.abs(self.ids[position] - query_ids[:, None])[exists]
            classes[exists] = self.labels[position[exists]]
        return np.take_along_axis(classes, np.argsort(gap, axis=1, kind="stable"), axis=1)

    def nearest_range(self, query_ids: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions [low, high) of the `window` products nearest to each id: int64 [R] each."""
        return self._nearest_ranges(query_ids, self._own_position(query_ids, None), window)

    def _runs(
        self, query_ids: np.ndarray, reference_row: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows [start, end) of each run of one product, and its own position: int64 [q] each."""
        starts = run_starts(query_ids, query_ids if reference_row is None else reference_row)
        own_row = None if reference_row is None else reference_row[starts]
        own = self._own_position(query_ids[starts], own_row)
        return starts, np.append(starts[1:], len(query_ids)), own

    def _num_classes(self, class_id: np.ndarray) -> int:
        """A number above every label and class."""
        return 1 + max(int(self.labels.max(initial=-1)), int(class_id.max(initial=-1)))

    def _own_position(self, query_ids: np.ndarray, reference_row: np.ndarray | None) -> np.ndarray:
        """Position of each row's own product, N if it has none: int64 [R]."""
        own = np.full(len(query_ids), len(self.ids), np.int64)
        if reference_row is not None:
            has_own = reference_row >= 0
            own[has_own] = self.position[reference_row[has_own]]
            same_id = self.ids[own[has_own]] == query_ids[has_own]
            assert same_id.all(), "own product with another id"
        return own

    def _nearest_ranges(
        self, query_ids: np.ndarray, own: np.ndarray, window: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions [low, high) of the nearest `window` products, not counting `own` in between."""
        return nearest_ranges(self.ids, query_ids.astype(np.int64, copy=False), own, window)


def build_id_index(ids: np.ndarray, labels: np.ndarray) -> IdIndex:
    """Sort reference products by id, then by row.

    ids: int64 [N]; labels: int16 [N].
    """
    order = np.argsort(ids, kind="stable")
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    return IdIndex(ids[order].astype(np.int64), labels[order], position)
