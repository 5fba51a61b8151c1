"""Scores of a product's candidates as probabilities that sum to 1 (C10, B1).

One number, the temperature, sets how sure the shares are: above 1 they are flatter than the
scores say, below 1 sharper. It changes no product's order of candidates.
"""

import numpy as np
from numba import njit
from scipy.optimize import brentq

from lib.stacking import blend

WIDEST = 100.0  # by how much the spread of a product's scores is stretched or shrunk, at most


def softmax(margin: np.ndarray, product: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probability of each row among its product's, float32 [R]; the sum over a product is 1.

    margin: any real scores [R]; product int32 [R] ascending. Raises ValueError for unscored or
    infinite rows, unsorted products, and a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature}: above 0")
    first = _checked(margin, product)
    share = np.empty(len(margin), np.float32)
    _shares(margin, np.append(first, len(margin)), 1 / temperature, share)
    return share


def fit_temperature(margin: np.ndarray, product: np.ndarray, target: np.ndarray) -> float:
    """The temperature with the least log loss of the true candidates.

    margin: any real scores [R], out-of-fold: a model is too sure of what it was fitted on; product
    int32 [R] ascending; target int8 [R], at most one 1 in a product. Products without their truth
    are left out. The loss is convex in 1 / temperature, so the root of its slope is the one
    minimum; where there is none, because the scores are always or never right, the answer is the
    bound that lies nearest. 1 where no product has two different scores.
    Raises ValueError as `softmax` does, for two true candidates of one product, and where no
    product has its truth.
    """
    first = _checked(margin, product)
    run, true = blend.true_rows(product, target)
    start, end = first[run], np.append(first, len(margin))[run + 1]
    spread = _spread(margin, start, end)
    if spread == 0:
        return 1.0

    def slope(sharpness: float) -> float:
        return float(_slope(margin, start, end, true, sharpness))

    low, high = 1 / (WIDEST * spread), WIDEST / spread
    if slope(low) >= 0:
        return 1 / low
    if slope(high) <= 0:
        return 1 / high
    return 1 / float(brentq(slope, low, high, xtol=1e-9 * low, rtol=1e-6))


def log_loss(share: np.ndarray, product: np.ndarray, target: np.ndarray) -> float:
    """Mean of -log(share) of the true candidates; products without theirs are left out.

    share: of `softmax` [R]; product int32 [R] ascending; target int8 [R]. A share of 0 counts as
    `blend.LEAST`. Raises ValueError where no product has its truth, or one has two.
    """
    _, true = blend.true_rows(product, target)
    return float(-np.log(np.maximum(share[true].astype(np.float64), blend.LEAST)).mean())


def _checked(margin: np.ndarray, product: np.ndarray) -> np.ndarray:
    """First row of each product."""
    if len(margin) != len(product):
        raise ValueError(f"{len(margin)} scores of {len(product)} rows")
    if not np.isfinite(margin).all():
        raise ValueError(f"{int((~np.isfinite(margin)).sum())} rows are unscored or infinite")
    return blend.runs(product)[0]


@njit(cache=True, nogil=True)
def _shares(margin: np.ndarray, bounds: np.ndarray, sharpness: float, share: np.ndarray) -> None:
    for run in range(len(bounds) - 1):
        rows = slice(bounds[run], bounds[run + 1])
        # Against the highest, so that no exponential overflows.
        highest = float(np.max(margin[rows]))
        total = 0.0
        for row in range(bounds[run], bounds[run + 1]):
            total += np.exp(sharpness * (margin[row] - highest))
        for row in range(bounds[run], bounds[run + 1]):
            share[row] = np.exp(sharpness * (margin[row] - highest)) / total


@njit(cache=True, nogil=True)
def _slope(
    margin: np.ndarray, start: np.ndarray, end: np.ndarray, true: np.ndarray, sharpness: float
) -> float:
    """Of the mean log loss by sharpness: the expected score of a product less the truth's."""
    slope = 0.0
    for run in range(len(start)):
        highest = float(np.max(margin[start[run] : end[run]]))
        total = expected = 0.0
        for row in range(start[run], end[run]):
            score = margin[row] - highest
            weight = np.exp(sharpness * score)
            total += weight
            expected += weight * score
        slope += expected / total - (margin[true[run]] - highest)
    return slope / len(start)


@njit(cache=True, nogil=True)
def _spread(margin: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Mean distance of a product's highest and lowest score, the unit that bounds are set in."""
    total = 0.0
    for run in range(len(start)):
        rows = margin[start[run] : end[run]]
        total += np.max(rows) - np.min(rows)
    return total / len(start)
