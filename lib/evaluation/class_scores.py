"""Precision, recall and F1 of each class, beside its size, and the mean over the classes.

Accuracy speaks of the large classes. The Open Images article found its faulty classes where F1 was
low for the size of a class.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.catalog import Categories
from lib.evaluation.metrics import LEVEL, Estimate, draw_weights

RESAMPLES = 500  # each draw counts all products again
COLUMNS = (
    *("category", "level1", "level2", "level3", "labelled", "products", "predicted", "correct"),
    *("precision", "recall", "f1"),
)


@dataclass(frozen=True)
class ClassScores:
    """Counts of each class, int64 [C].

    products: whose class it is. predicted: for which it was predicted. correct: both.
    """

    products: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """Fraction of the predictions of each class that are right, float64 [C]; NaN for none."""
        return _ratio(self.correct, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        """Fraction of the products of each class that are found, float64 [C]; NaN for none."""
        return _ratio(self.correct, self.products)

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of both, float64 [C]; NaN for a class that no product has."""
        f1 = _ratio(2 * self.correct, self.products + self.predicted)
        return np.where(self.products > 0, f1, np.nan)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that products have."""
        return float(np.nanmean(self.f1))


def score_classes(
    label: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    weight: np.ndarray | None = None,
) -> ClassScores:
    """Count the products of each class.

    label: int [n] and predicted: int [n], below num_classes. weight: int [n], how often each
    product counts; None: once. Raises ValueError for unequal lengths.
    """
    if len(label) != len(predicted):
        raise ValueError(f"{len(label)} labels and {len(predicted)} predictions")
    right = label == predicted
    return ClassScores(
        _count(label, num_classes, weight),
        _count(predicted, num_classes, weight),
        _count(label[right], num_classes, None if weight is None else weight[right]),
    )


def macro_f1(
    label: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    seed: int = 0,
    group: np.ndarray | None = None,
) -> Estimate:
    """Mean F1 of the classes that products have, with a bootstrap interval.

    label: int [n]. predicted: int [n], or [seeds, n] of several networks, whose F1s are averaged.
    group: int [n], resampled as a whole; None: each product by itself.
    Raises ValueError for no products.
    """
    value, draws = _macro_f1_draws(label, np.atleast_2d(predicted), num_classes, seed, group)
    return _estimate(value, draws, len(label))


def macro_f1_gain(
    label: np.ndarray,
    predicted: np.ndarray,
    baseline: np.ndarray,
    num_classes: int,
    seed: int = 0,
    group: np.ndarray | None = None,
) -> Estimate:
    """Mean F1 less the baseline's, over the same products; the bootstrap draws pairs.

    baseline: int, of the shape of `predicted`; all else as for `macro_f1`.
    """
    value, draws = _macro_f1_draws(label, np.atleast_2d(predicted), num_classes, seed, group)
    before = _macro_f1_draws(label, np.atleast_2d(baseline), num_classes, seed, group)
    return _estimate(value - before[0], draws - before[1], len(label))


def _macro_f1_draws(
    label: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    seed: int,
    group: np.ndarray | None,
) -> tuple[float, np.ndarray]:
    """The mean F1, and that of each draw: float64 [RESAMPLES]; predicted: int [seeds, n]."""
    n = len(label)
    if n == 0:
        raise ValueError("macro F1 of no products")

    def mean(weight: np.ndarray | None) -> float:
        scores = [score_classes(label, of_seed, num_classes, weight) for of_seed in predicted]
        return float(np.mean([of_seed.macro_f1 for of_seed in scores]))

    draws = [mean(weight) for weight in draw_weights(n, RESAMPLES, seed, group)]
    return mean(None), np.array(draws)


def _estimate(value: float, draws: np.ndarray, n: int) -> Estimate:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), n)


def write_class_scores(
    path: Path, scores: ClassScores, categories: Categories, labelled: np.ndarray
) -> None:
    """Write one row for each class, in the order of the categories.

    labelled: int64 [C], all labelled products of each class.
    """
    rates = (scores.precision, scores.recall, scores.f1)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for class_id, names in enumerate(categories.names):
            counts = (labelled, scores.products, scores.predicted, scores.correct)
            rows.writerow(
                [
                    categories.key(class_id),
                    *names,
                    *(int(count[class_id]) for count in counts),
                    *("" if np.isnan(r[class_id]) else f"{r[class_id]:.4f}" for r in rates),
                ]
            )


def _count(classes: np.ndarray, num_classes: int, weight: np.ndarray | None) -> np.ndarray:
    return np.bincount(classes, weight, num_classes).astype(np.int64)


def _ratio(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.where(total > 0, count / np.maximum(total, 1), np.nan)
