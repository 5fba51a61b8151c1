"""The numbers of the labelled products of each class, such as their prices, without each fold"""

from dataclasses import dataclass

import numpy as np

SMOOTHING = 3.0  # products of the whole catalog that the spread of a class is drawn by
IQR_OF_NORMAL = 1.349  # between the quartiles of a normal distribution, in standard deviations
MIN_SPREAD = 1e-6  # of a column that is nearly constant
MAX_DISTANCE = 100.0
MAX_BINS = 64
MIN_REPEATS = 5  # products of a number, on average, so that each number is a bin
MIN_IN_BIN = 20  # products of a bin of other numbers


@dataclass(frozen=True)
class ClassValues:
    """Sorted numbers of the labelled products of each class.

    unique: float64 [U], ascending, the numbers that a labelled product has.
    key: for each fold, and last for none, int64 [n]: class * (U + 1) + index in `unique` of the
    products outside the fold, ascending. starts: of each of them int64 [classes + 1].
    median, spread: of each of them float64 [classes], as in `distances`, NaN for no product.
    """

    unique: np.ndarray
    key: list[np.ndarray]
    starts: list[np.ndarray]
    median: list[np.ndarray]
    spread: list[np.ndarray]

    def below(self, value: np.ndarray, class_id: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """Share of the class's products with a smaller number: float32 [R].

        value: float64 [R], NaN if missing; class_id: int [R]; fold: int [R], -1 for none.
        Equal ones count half. Drawn to a half as if one more product had the same number. NaN if
        the number is missing, or no product of the class has one.
        """
        low = np.searchsorted(self.unique, value, "left")
        high = np.searchsorted(self.unique, value, "right")
        share = np.full(len(value), np.nan, np.float32)
        for rows, left_out in _rows_of_folds(fold):
            key, starts, classes = self.key[left_out], self.starts[left_out], class_id[rows]
            base = classes.astype(np.int64) * (len(self.unique) + 1)
            smaller = np.searchsorted(key, base + low[rows]) - starts[classes]
            up_to = np.searchsorted(key, base + high[rows]) - starts[classes]
            count = starts[classes + 1] - starts[classes]
            found = (smaller + up_to + 1) / (2 * count + 2)
            share[rows] = np.where((count == 0) | np.isnan(value[rows]), np.nan, found)
        return share

    def distances(self, value: np.ndarray, class_id: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """Distance to the class's median in spreads of the class, in log scale: float32 [R].

        Arguments as in `below`. The scale is sign(v) * log1p(|v|). The spread is that between the
        quartiles; its square is a mean with that of all classes, which counts as SMOOTHING
        products. At most MAX_DISTANCE. NaN as in `below`.
        """
        distance = np.full(len(value), np.nan, np.float32)
        for rows, left_out in _rows_of_folds(fold):
            away = signed_log(value[rows]) - self.median[left_out][class_id[rows]]
            away /= self.spread[left_out][class_id[rows]]
            distance[rows] = np.clip(away, -MAX_DISTANCE, MAX_DISTANCE)
        return distance


def sort_by_class(
    value: np.ndarray, label: np.ndarray, mask: np.ndarray, fold: np.ndarray, num_classes: int
) -> ClassValues:
    """Sort the numbers of the labelled products of each class.

    value: float64 [P], NaN if missing; the other arguments as in `count_classes`.
    """
    counted = np.flatnonzero(mask & ~np.isnan(value))
    unique, index = np.unique(value[counted], return_inverse=True)
    every = label[counted].astype(np.int64) * (len(unique) + 1) + index
    order = np.argsort(every, kind="stable")
    every, fold_of = every[order], fold[counted][order]
    keys = [every[fold_of != left_out] for left_out in range(1 + int(fold.max(initial=-1)))]
    keys.append(every)
    bounds = np.arange(num_classes + 1) * (len(unique) + 1)
    starts = [np.searchsorted(key, bounds) for key in keys]
    logs = signed_log(unique)
    centers = [_centers(logs, *one) for one in zip(keys, starts, strict=True)]
    median, spread = map(list, zip(*centers, strict=True))
    return ClassValues(unique, keys, starts, median, spread)


def bin_edges(value: np.ndarray) -> np.ndarray:
    """Lower edges of all bins but the first: float64 [bins - 1].

    value: float64 [n], NaN where missing. Of few different numbers that repeat, such as years, each
    is a bin; else the bins hold about equally many.
    """
    present = np.sort(value[~np.isnan(value)])
    unique = np.unique(present)
    if len(unique) <= min(MAX_BINS, len(present) // MIN_REPEATS):
        return unique[1:]
    bins = min(max(len(present) // MIN_IN_BIN, 1), MAX_BINS)
    return np.unique(present[np.arange(1, bins) * len(present) // bins])


def to_bins(value: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each number: int32 [n], -1 if it is missing."""
    bins = np.searchsorted(edges, value, "right").astype(np.int32)
    bins[np.isnan(value)] = -1
    return bins


def signed_log(value: np.ndarray) -> np.ndarray:
    """sign(v) * log1p(|v|): float64 [n]."""
    return np.sign(value) * np.log1p(np.abs(value))


def _centers(
    logs: np.ndarray, key: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Median and spread of each class: float64 [classes].

    logs: float64 [U], the different numbers in log scale; key, starts: as in `ClassValues`.
    """
    count = np.diff(starts)
    index = key - np.repeat(np.arange(len(count)), count) * (len(logs) + 1)
    low, median, high = (_lower_quantile(logs[index], starts, q) for q in (0.25, 0.5, 0.75))
    every, ends = logs[np.sort(index)], np.array([0, len(index)])
    first, last = (_lower_quantile(every, ends, q) for q in (0.25, 0.75))
    squares = count * ((high - low) / IQR_OF_NORMAL) ** 2
    squares += SMOOTHING * ((last - first) / IQR_OF_NORMAL) ** 2
    return median, np.maximum(np.sqrt(squares / (count + SMOOTHING)), MIN_SPREAD)


def _rows_of_folds(fold: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """(rows, fold) of each fold that occurs."""
    return [(np.flatnonzero(fold == left_out), int(left_out)) for left_out in np.unique(fold)]


def _lower_quantile(values: np.ndarray, starts: np.ndarray, q: float) -> np.ndarray:
    """A quantile of each run of sorted values, a value of it: float64 [runs], NaN if it is empty.

    values: float64 [n]; starts: int64 [runs + 1]. As `np.quantile` with method="lower".
    """
    count = np.diff(starts)
    quantile = np.full(len(count), np.nan)
    has_any = count > 0
    row = starts[:-1][has_any] + np.floor(q * (count[has_any] - 1)).astype(np.int64)
    quantile[has_any] = values[row]
    return quantile
