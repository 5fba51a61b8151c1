"""How many labelled products of a value, such as a brand, are of each class, without each fold"""

from dataclasses import dataclass

import numpy as np

from lib.features.id_priors import global_prior
from lib.utils.groups import group_index, group_sizes, group_starts

# Products that a share is drawn to the prior by: a value of one product tells less than it seems.
SMOOTHING = 2.0


@dataclass(frozen=True)
class ClassCounts:
    """Counts of labelled products. Index f of the last axis leaves fold f out, and -1 nothing.

    pair: int64 [n], ascending: value * num_classes + class of each pair that has a product.
    of_pair: int32 [n, folds + 1]. of_value: int32 [values, folds + 1].
    prior: float32 [folds + 1, classes], the share of each class among all.
    """

    pair: np.ndarray
    of_pair: np.ndarray
    of_value: np.ndarray
    prior: np.ndarray

    def shares(self, value: np.ndarray, class_id: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """Smoothed share of the class among the products of the value: float32 [R].

        value: int [R], -1 if missing; class_id: int [R]; fold: int [R], -1 for none.
        (count of both + SMOOTHING * prior) / (count of the value + SMOOTHING): the prior for a
        value that no product has. NaN if the value is missing.
        """
        wanted = value.astype(np.int64) * self.prior.shape[1] + class_id
        row = np.searchsorted(self.pair, wanted)
        row[row == len(self.pair)] = 0
        both = np.zeros(len(wanted), np.float64)
        if len(self.pair):
            is_known = self.pair[row] == wanted
            both[is_known] = self.of_pair[row[is_known], fold[is_known]]
        share = both + SMOOTHING * self.prior[fold, class_id]
        share /= self._of_value(value, fold) + SMOOTHING
        share[value < 0] = np.nan
        return share.astype(np.float32)

    def log_counts(self, value: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """log1p of the number of products of the value: float32 [R], NaN if it is missing."""
        count = np.log1p(self._of_value(value, fold).astype(np.float32))
        return np.where(value < 0, np.float32(np.nan), count)

    def top_classes(self, fold: int, k: int) -> np.ndarray:
        """The most frequent classes of each value, without a fold: int16 [values + 1, k].

        -1 for none; of equal counts the smaller class comes first. The last row, which index -1
        reaches, is that of a missing value.
        """
        value, class_id = np.divmod(self.pair, self.prior.shape[1])
        count = self.of_pair[:, fold]
        order = np.lexsort((-count, value))
        order = order[count[order] > 0]
        starts = group_starts(value[order])
        sizes = group_sizes(starts, len(order))
        rank = np.arange(len(order)) - starts[group_index(sizes)]
        best = np.full((len(self.of_value) + 1, k), -1, np.int16)
        order, rank = order[rank < k], rank[rank < k]
        best[value[order], rank] = class_id[order]
        return best

    def proposals(self, value: np.ndarray, fold: np.ndarray, k: int) -> np.ndarray:
        """The k most frequent classes of each product's value: int16 [Q, k], -1 for none.

        value, fold: int [Q], -1 for none.
        """
        classes = np.empty((len(value), k), np.int16)
        for left_out in np.unique(fold):
            rows = fold == left_out
            classes[rows] = self.top_classes(int(left_out), k)[value[rows]]
        return classes

    def _of_value(self, value: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """Number of products of each value: int32 [R], of any product if it is missing."""
        return self.of_value[value, fold] if len(self.of_value) else np.zeros(len(value), np.int32)


def count_classes(
    value: np.ndarray,
    label: np.ndarray,
    mask: np.ndarray,
    fold: np.ndarray,
    num_values: int,
    num_classes: int,
) -> ClassCounts:
    """Count the labelled products of each value and class.

    value: int32 [P], -1 if missing; label: int16 [P]; mask: bool [P], the products that count;
    fold: int8 [P], -1 for products that are never left out.
    """
    prior = global_prior(label, mask, fold, num_classes)
    counted = np.flatnonzero(mask & (value >= 0))
    pairs = value[counted].astype(np.int64) * num_classes + label[counted]
    pair, row = np.unique(pairs, return_inverse=True)
    of_pair = _counts(row, fold[counted], len(pair), len(prior))
    of_value = _counts(value[counted], fold[counted], num_values, len(prior))
    return ClassCounts(pair, of_pair, of_value, prior)


def _counts(row: np.ndarray, fold: np.ndarray, num_rows: int, columns: int) -> np.ndarray:
    """Products of each row without each fold, and in all: int32 [num_rows, columns]."""
    total = np.bincount(row, minlength=num_rows)
    counts = np.empty((num_rows, columns), np.int32)
    for left_out in range(columns - 1):
        counts[:, left_out] = total - np.bincount(row[fold == left_out], minlength=num_rows)
    counts[:, -1] = total
    return counts
