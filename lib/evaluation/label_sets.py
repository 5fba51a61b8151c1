"""Scores of sets of classes: mean average precision, and F1 at thresholds chosen elsewhere.

Average precision needs no threshold: precision at each found class of a product, in the order of
the probabilities, weighted by the recall that it adds (scikit-learn's definition). Macro F1 is the
mean over the classes, micro F1 counts all pairs of a product and a class alike.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.catalog import Categories
from lib.evaluation.metrics import LEVEL, Estimate, draw_weights

RESAMPLES = 500  # each draw counts all products again
NEVER = 2.0  # threshold of a class that no product has: no probability reaches it
COLUMNS = ("category", "products", "predicted", "correct", "average_precision", "f1", "threshold")


@dataclass(frozen=True)
class LabelSetScores:
    """Scores of n products; average_precision, f1: float64 [C], NaN for a class of no product.

    products, predicted, correct: int64 [C], counts of products.
    mean_average_precision, macro_f1, micro_f1: with bootstrap intervals over products.
    """

    average_precision: np.ndarray
    f1: np.ndarray
    products: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    mean_average_precision: Estimate
    macro_f1: Estimate
    micro_f1: Estimate


def best_thresholds(present: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """The threshold of each class with the highest F1: float64 [C]; NEVER for a class of none.

    present: bool [n, C]. probs: float [n, C]. A class is predicted from its threshold on; it lies
    between two probabilities, and of equal F1 the higher one is taken.
    """
    thresholds = np.full(present.shape[1], NEVER)
    for column in np.flatnonzero(present.any(axis=0)):
        order = np.argsort(-probs[:, column], kind="stable")
        values = probs[order, column].astype(np.float64)
        found = np.cumsum(present[order, column])
        f1 = 2 * found / (np.arange(1, len(order) + 1) + found[-1])
        f1[:-1][values[:-1] == values[1:]] = -1  # equal probabilities are predicted together
        best = int(f1.argmax())
        below = values[best + 1] if best + 1 < len(values) else 0.0
        thresholds[column] = (values[best] + below) / 2
    return thresholds


def score_label_sets(
    present: np.ndarray,
    probs: np.ndarray,
    thresholds: np.ndarray,
    known: np.ndarray | None = None,
    seed: int = 0,
    group: np.ndarray | None = None,
) -> LabelSetScores:
    """Score the probabilities of n products.

    present: bool [n, C]. probs: float [n, C]. thresholds: float [C], chosen on other products.
    known: bool [n, C], pairs that count; None: all. group: int [n], resampled as a whole; None:
    each product by itself. Raises ValueError for no products.
    """
    n = len(present)
    if n == 0:
        raise ValueError("scores of no products")
    known = np.ones(present.shape, bool) if known is None else known
    present, predicted = present & known, (probs >= thresholds) & known
    precision = _AveragePrecision(present, probs, known)
    counts = (present, predicted, present & predicted)

    def measure(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        products, found, correct = (weight @ count for count in counts)
        f1 = _ratio(2 * correct, products + found)
        micro = 2 * correct.sum() / max((products + found).sum(), 1)
        return precision.of(weight), np.where(products > 0, f1, np.nan), float(micro)

    average_precision, f1, micro = measure(np.ones(n))
    weights = draw_weights(n, RESAMPLES, seed, group)
    draws = np.array([_means(*measure(weight.astype(np.float64))) for weight in weights])
    values = _means(average_precision, f1, micro)
    ends = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    estimates = [
        Estimate(value, float(low), float(high), n)
        for value, low, high in zip(values, *ends, strict=True)
    ]
    totals = [count.sum(axis=0) for count in counts]
    return LabelSetScores(average_precision, f1, *totals, *estimates)


class _AveragePrecision:
    """Average precision of each class for any weights of the products; sorts once."""

    def __init__(self, present: np.ndarray, probs: np.ndarray, known: np.ndarray) -> None:
        self.order = np.argsort(-probs, axis=0, kind="stable")
        values = np.take_along_axis(probs, self.order, axis=0)
        self.present = np.take_along_axis(present, self.order, axis=0)
        self.known = np.take_along_axis(known, self.order, axis=0)
        # The last row of equal probabilities: they are ranked together.
        rows = np.arange(len(probs))[:, None]
        is_last = np.vstack([values[1:] != values[:-1], np.ones_like(values[:1], bool)])
        ends = np.where(is_last, rows, len(probs))
        self.last = np.minimum.accumulate(ends[::-1], axis=0)[::-1]

    def of(self, weight: np.ndarray) -> np.ndarray:
        """Average precision of each class, float64 [C]; NaN for one of no product."""
        sorted_weight = weight[self.order]
        positive = sorted_weight * self.present
        found = np.take_along_axis(positive.cumsum(axis=0), self.last, axis=0)
        listed = np.take_along_axis((sorted_weight * self.known).cumsum(axis=0), self.last, axis=0)
        total = positive.sum(axis=0)
        return _ratio((positive * found / np.maximum(listed, 1e-12)).sum(axis=0), total)


def write_class_scores(
    path: Path, scores: LabelSetScores, categories: Categories, thresholds: np.ndarray
) -> None:
    """Write one row for each class, in the order of the categories."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for class_id in range(len(categories)):
            counts = (scores.products, scores.predicted, scores.correct)
            rates = (scores.average_precision[class_id], scores.f1[class_id])
            cells = ["" if np.isnan(rate) else f"{rate:.4f}" for rate in rates]
            threshold = thresholds[class_id]
            cells.append("" if threshold >= NEVER else f"{threshold:.6f}")
            totals = (int(count[class_id]) for count in counts)
            rows.writerow([categories.key(class_id), *totals, *cells])


def _means(average_precision: np.ndarray, f1: np.ndarray, micro: float) -> tuple[float, ...]:
    """Means over the classes that products have; NaN if none has a product."""
    means = [np.nan if np.isnan(a).all() else np.nanmean(a) for a in (average_precision, f1)]
    return float(means[0]), float(means[1]), micro


def _ratio(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.where(total > 0, count / np.maximum(total, 1e-12), np.nan)
