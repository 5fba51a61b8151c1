"""Accuracies with bootstrap intervals. Every reported figure is computed here."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A fraction of n products, and the ends of its 95 % bootstrap interval.

    Where products come in groups that are right or wrong together, whole groups are resampled.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} .. {self.high:.4f})"


def accuracy(correct: np.ndarray, seed: int = 0, group: np.ndarray | None = None) -> Estimate:
    """Fraction of correct predictions.

    correct: bool [n].
    group: int32 [n], resampled as a whole; None: each product by itself.

    A resample of n booleans is a binomial draw, so no index array is needed.
    Raises ValueError for no products.
    """
    n = len(correct)
    if n == 0:
        raise ValueError("accuracy of no products")
    value = float(np.mean(correct))
    if group is not None:
        right, size = _sums_by_group(group, seed, correct, np.ones(n))
        return Estimate(value, *_ends(right / size), n)
    draws = np.random.default_rng(seed).binomial(n, value, RESAMPLES) / n
    return Estimate(value, *_ends(draws), n)


def error_reduction(
    correct: np.ndarray, baseline: np.ndarray, seed: int = 0, group: np.ndarray | None = None
) -> Estimate:
    """Fraction of the baseline's errors that are avoided: 1 - errors / baseline's errors.

    correct: bool [n] and baseline: bool [n], over the same products. The bootstrap draws pairs,
        because errors on the same products go together.
    group: int32 [n], resampled as a whole; None: each product by itself.

    It is a gain only if `low` is above zero. Raises ValueError where the baseline makes no error.
    """
    _check_pairs(correct, baseline)
    wrong = int((~baseline).sum())
    if not wrong:
        raise ValueError("the baseline makes no error")
    errors, before, _ = _paired(correct, baseline, seed, group)
    value = 1 - int((~correct).sum()) / wrong
    return Estimate(value, *_ends(1 - errors / np.maximum(before, 1)), len(correct))


def gain(
    correct: np.ndarray, baseline: np.ndarray, seed: int = 0, group: np.ndarray | None = None
) -> Estimate:
    """Accuracy less the baseline's: 0.01 is one percentage point.

    correct, baseline, group: as for `error_reduction`.

    It is a gain only if `low` is above zero. Raises ValueError for no products.
    """
    _check_pairs(correct, baseline)
    if len(correct) == 0:
        raise ValueError("gain over no products")
    errors, before, size = _paired(correct, baseline, seed, group)
    value = (int(correct.sum()) - int(baseline.sum())) / len(correct)
    return Estimate(value, *_ends((before - errors) / size), len(correct))


def mcnemar(correct: np.ndarray, baseline: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test of two classifiers on the same products.

    correct: bool [n] and baseline: bool [n].

    Returns how many products only `correct` has right, how many only `baseline`, and the two-sided
    p-value: the chance of a split at least as uneven if both were equally good. It takes products
    as independent; where they come in groups, only the interval of `gain` knows of it.
    Source: McNemar 1947, in the exact form (a binomial of one half).
    """
    from scipy.stats import binomtest

    _check_pairs(correct, baseline)
    gained, lost = int((correct & ~baseline).sum()), int((~correct & baseline).sum())
    if gained + lost == 0:
        return 0, 0, 1.0
    return gained, lost, float(binomtest(gained, gained + lost).pvalue)


def _check_pairs(correct: np.ndarray, baseline: np.ndarray) -> None:
    if len(correct) != len(baseline):
        raise ValueError(f"{len(correct)} products against {len(baseline)}")


def _paired(
    correct: np.ndarray, baseline: np.ndarray, seed: int, group: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors, the baseline's errors and the products of RESAMPLES draws, each [RESAMPLES]."""
    n = len(correct)
    if group is not None:
        errors, before, size = _sums_by_group(group, seed, ~correct, ~baseline, np.ones(n))
        return errors, before, size
    gained, lost = int((correct & ~baseline).sum()), int((~correct & baseline).sum())
    both = int((~correct & ~baseline).sum())
    # Products of one kind are interchangeable, so a draw is one multinomial over the four kinds.
    draws = np.random.default_rng(seed).multinomial(
        n, np.array([gained, lost, both, n - gained - lost - both]) / n, RESAMPLES
    )
    return draws[:, 1] + draws[:, 2], draws[:, 0] + draws[:, 2], np.full(RESAMPLES, n)


def _sums_by_group(group: np.ndarray, seed: int, *values: np.ndarray) -> np.ndarray:
    """Sums of each of V arrays [n] over RESAMPLES draws of whole groups: [V, RESAMPLES].

    Groups with the same sums are interchangeable, so a draw is one multinomial over their kinds.
    """
    _, member = np.unique(group, return_inverse=True)
    sums = np.column_stack([np.bincount(member, value) for value in values])
    kinds, counts = np.unique(sums, axis=0, return_counts=True)
    share = counts / counts.sum()
    draws = np.random.default_rng(seed).multinomial(int(counts.sum()), share, RESAMPLES)
    return (draws @ kinds).T


def draw_weights(
    n: int, resamples: int, seed: int, group: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """How often each of n products counts, int64 [n], in each of some bootstrap draws.

    For figures that are no mean over products. group: int [n], resampled as a whole; None: each
    product by itself.
    """
    rng = np.random.default_rng(seed)
    member = np.arange(n) if group is None else np.unique(group, return_inverse=True)[1]
    num_groups = int(member.max()) + 1
    for _ in range(resamples):
        drawn = rng.integers(0, num_groups, num_groups)
        yield np.bincount(drawn, minlength=num_groups)[member]


def _ends(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
