"""Accuracies with intervals (B1). Every reported figure passes through here."""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A share of n products with the ends of its 95 % bootstrap interval over them.

    Over their groups, where products come in groups: those of one are right or wrong together.
    """

    value: float
    low: float
    high: float
    n: int


def accuracy(correct: np.ndarray, seed: int = 0, group: np.ndarray | None = None) -> Estimate:
    """Share of true entries of bool [n], resampled by product, or by `group` int32 [n].

    A resample of n yes-or-no values is a binomial draw, so no index array is needed.
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


def fewer_errors(
    correct: np.ndarray, baseline: np.ndarray, seed: int = 0, group: np.ndarray | None = None
) -> Estimate:
    """Share of the baseline's errors that are gone: 1 - errors / baseline's errors.

    Both bool [n] over the same products; the bootstrap draws pairs, since errors on the same
    products go together; or groups of them, `group` int32 [n]. A value with `low` above zero is
    a gain, anything else is none.
    Raises ValueError where the baseline makes no error.
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
    """Accuracy less the baseline's, as a share of the products: 0.01 is one point in a hundred.

    Both bool [n] over the same products, drawn in pairs or by `group` int32 [n] as for
    `fewer_errors`. It is a gain if `low` is above zero, and none else.
    Raises ValueError for no products.
    """
    _check_pairs(correct, baseline)
    if len(correct) == 0:
        raise ValueError("gain over no products")
    errors, before, size = _paired(correct, baseline, seed, group)
    value = (int(correct.sum()) - int(baseline.sum())) / len(correct)
    return Estimate(value, *_ends((before - errors) / size), len(correct))


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
    mended, broken = int((correct & ~baseline).sum()), int((~correct & baseline).sum())
    both = int((~correct & ~baseline).sum())
    # Products of one kind are interchangeable, so a draw is one multinomial over the four kinds.
    draws = np.random.default_rng(seed).multinomial(
        n, np.array([mended, broken, both, n - mended - broken - both]) / n, RESAMPLES
    )
    return draws[:, 1] + draws[:, 2], draws[:, 0] + draws[:, 2], np.full(RESAMPLES, n)


def _sums_by_group(group: np.ndarray, seed: int, *values: np.ndarray) -> np.ndarray:
    """Sums of each of `values` [n] over RESAMPLES draws of whole groups: [values, RESAMPLES].

    Groups with the same sums are interchangeable, so a draw is one multinomial over their kinds.
    """
    _, member = np.unique(group, return_inverse=True)
    sums = np.column_stack([np.bincount(member, value) for value in values])
    kinds, counts = np.unique(sums, axis=0, return_counts=True)
    share = counts / counts.sum()
    draws = np.random.default_rng(seed).multinomial(int(counts.sum()), share, RESAMPLES)
    return (draws @ kinds).T


def _ends(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
