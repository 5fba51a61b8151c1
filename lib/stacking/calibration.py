"""Calibrated probabilities (temperature), and the threshold that reaches a precision.

The scores of a product's candidates say which one is best, but a share of 0.9 need not be right
nine times in ten. One number, the temperature, flattens or sharpens the shares of all products
until it is. It changes no product's order of candidates. Rows are candidates sorted by product.

Source: Guo et al. 2017, On Calibration of Modern Neural Networks (temperature scaling).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtrc, betainc

from lib.stacking.blend import MIN_SHARE, positive_rows
from lib.utils.compiled import njit
from lib.utils.groups import group_normalize, group_runs

MAX_SCALE = 100.0  # a product's scores are stretched to this mean spread, or shrunk to its inverse
MAX_TEMPERATURE = 50.0  # of shares, and 1 / MAX_TEMPERATURE the lowest
NUM_THRESHOLDS = 100  # thresholds that are tested, from the most confident products downwards


@dataclass(frozen=True)
class Calibration:
    """How the shares of a blend become probabilities.

    temperature: 1 leaves shares as they are, above 1 flattens them, below 1 sharpens them.
    recall: fraction of the products whose true class is one of their candidates, above 0, below 1.
    """

    temperature: float
    recall: float

    def apply(self, score: np.ndarray, product: np.ndarray) -> np.ndarray:
        """Probability of each row's class, float32 [R]; a product's sum is `recall`.

        score: float32 [R], at least 0; only ratios within a product count, and where all are 0,
            all are equal.
        product: int32 [R], ascending.

        Raises ValueError for unscored or negative rows and unsorted products.
        """
        share = _log_shares(score, product)
        if len(share) == 0:
            return share.astype(np.float32)
        np.exp(np.divide(share, self.temperature, out=share), out=share)
        starts, sizes = group_runs(product)
        share *= np.repeat(self.recall / np.add.reduceat(share, starts), sizes)
        return share.astype(np.float32)

    def to_dict(self) -> dict[str, float]:
        """Both numbers, for JSON."""
        return {"temperature": self.temperature, "found": self.recall}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Calibration":
        """From a dict that holds the keys of `to_dict`; others are ignored."""
        return cls(float(data["temperature"]), float(data["found"]))


def fit_calibration(score: np.ndarray, product: np.ndarray, target: np.ndarray) -> Calibration:
    """The temperature of least log loss of the true candidates, and the recall.

    score: float32 [R], at least 0; out-of-fold, for a blend is overconfident on rows that it was
        fitted on.
    product: int32 [R], ascending.
    target: int8 [R], at most one 1 in a product. Products without it lower `recall`, which is
        smoothed by one product of either kind, so that it is never 0 or 1.

    Raises ValueError for unscored or negative rows, unsorted products, two true candidates of one
    product, and where no product has its true class.
    """
    num_products, num_positive = len(group_runs(product)[0]), len(positive_rows(product, target)[1])
    bounds = 1 / MAX_TEMPERATURE, MAX_TEMPERATURE
    temperature = fit_temperature(_log_shares(score, product), product, target, bounds)
    return Calibration(temperature, (num_positive + 1) / (num_products + 2))


def softmax(logits: np.ndarray, product: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probability of each row among its product's, float32 [R]; a product's sum is 1.

    logits: float [R], any finite scores.
    product: int32 [R], ascending.
    temperature: above 0.

    Raises ValueError for unscored or infinite rows, unsorted products and a wrong temperature.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature}: must be above 0")
    starts = _checked_starts(logits, product)
    probs = np.empty(len(logits), np.float32)
    _softmax(logits, np.append(starts, len(logits)), 1 / temperature, probs)
    return probs


def fit_temperature(
    logits: np.ndarray,
    product: np.ndarray,
    target: np.ndarray,
    bounds: tuple[float, float] | None = None,
) -> float:
    """The temperature of least log loss of the true candidates after `softmax`.

    logits: float [R], any finite scores; out-of-fold, for a model is overconfident on rows that it
        was fitted on.
    product: int32 [R], ascending.
    target: int8 [R], at most one 1 in a product. Products without it are left out.
    bounds: lowest and highest temperature; None: MAX_SCALE either way, relative to the mean spread
        of a product's scores.

    The loss is convex in 1 / temperature, so the root of its slope is the one minimum. Where there
    is no root, because the scores are always or never right, the nearer bound is returned; where no
    product has two different scores, 1.
    Raises ValueError as `softmax` does, for two true candidates of one product, and where no
    product has its true class.
    """
    starts = _checked_starts(logits, product)
    groups, positive = positive_rows(product, target)
    start, end = starts[groups], np.append(starts, len(logits))[groups + 1]
    spread = _mean_spread(logits, start, end)
    if spread == 0:
        return 1.0

    def slope(sharpness: float) -> float:
        return float(_loss_slope(logits, start, end, positive, sharpness))

    if bounds is None:
        low, high = 1 / (MAX_SCALE * spread), MAX_SCALE / spread
    else:
        low, high = 1 / bounds[1], 1 / bounds[0]
    if slope(low) >= 0:
        return 1 / low
    if slope(high) <= 0:
        return 1 / high
    return 1 / float(brentq(slope, low, high, xtol=1e-9 * low, rtol=1e-6))


def multiclass_log_loss(probs: np.ndarray, product: np.ndarray, target: np.ndarray) -> float:
    """Mean log loss of the true candidates; products without theirs are left out.

    probs: float32 [R], of `softmax`; 0 counts as MIN_SHARE.
    product: int32 [R], ascending.
    target: int8 [R], at most one 1 in a product.

    Raises ValueError where no product has its true class, or one has two.
    """
    _, rows = positive_rows(product, target)
    return float(-np.log(np.maximum(probs[rows].astype(np.float64), MIN_SHARE)).mean())


def fit_threshold(
    confidence: np.ndarray,
    correct: np.ndarray,
    min_precision: float,
    level: float = 0.95,
    weight: np.ndarray | None = None,
) -> float | None:
    """The lowest confidence from which predictions are right with `min_precision`.

    confidence: float32 [Q], probability of each product's best class, out-of-fold.
    correct: bool [Q], whether that class is right.
    min_precision: above 0 and below 1.
    level: above 0 and below 1. With this probability over the draw of these products, the accepted
        ones (confidence at least the threshold) have an expected precision of `min_precision`.
    weight: float64 [Q], at least 0: how much more frequent such a product is where the threshold
        will be used than among these. None: equally frequent.

    Returns None where that cannot be shown for any threshold. Raises ValueError for unequal
    lengths, unscored products, weights below 0 or all 0, or a precision or level out of range.

    One threshold is tested by the exact binomial tail (the Clopper-Pearson bound). Taking the
    best of many such tests would find a lucky one too often, so they are made in an order that is
    fixed beforehand, from the most confident products downwards by 1 % of the products, and the
    error probability, 1 - level, is spent once: a test that passes hands it on to the next one
    (fixed-sequence testing), one that fails loses it. Lest a single mistake among the most
    confident products ends it all, the error probability is split equally over several starts,
    each at twice as many products as the one before (the fallback procedure of Wiens and
    Dmitrienko 2005). A start at fewer products than could ever show the precision would waste its
    part. Order and starts depend only on the number of products, so the sum of all parts is
    1 - level whatever the labels are. Products of equal confidence are accepted together. Each
    product counts as one draw: where products come in groups that are right or wrong together,
    pass one product of each group.

    With weights, the order goes down by 1 % of the weight, and a test counts the effective number
    of accepted products, (sum w)^2 / sum w^2 (Kish 1965), of which the weighted precision is
    right; the binomial tail is continued between whole numbers by the incomplete beta function.
    That is approximate: it holds for weights that do not go with the mistakes they weigh.
    """
    if len(confidence) != len(correct) or np.isnan(confidence).any():
        raise ValueError(f"{len(confidence)} confidences, {len(correct)} labels, or unscored")
    if not (0 < min_precision < 1 and 0 < level < 1):
        raise ValueError(f"precision {min_precision}, level {level}: must be above 0 and below 1")
    weight = np.ones(len(confidence)) if weight is None else _checked_weight(weight, confidence)
    order = np.argsort(-confidence, kind="stable")
    descending, weight = -confidence[order], weight[order]
    total, squares = np.cumsum(weight), np.cumsum(weight**2)
    right = np.cumsum(weight * correct[order])
    effective = total[-1] * (total[-1] / squares[-1]) if len(order) else 0.0
    spending = _alpha_spending(effective, min_precision, 1 - level)
    threshold, alpha = None, 0.0
    for step in range(1, NUM_THRESHOLDS + 1) if spending else ():
        alpha += spending.get(step, 0.0)
        reached = np.searchsorted(NUM_THRESHOLDS * total, step * total[-1])
        last = descending[min(int(reached), len(order) - 1)]
        accepted = int(np.searchsorted(descending, last, side="right")) - 1
        scale = total[accepted] / squares[accepted] if squares[accepted] > 0 else 0.0
        tail = _binomial_tail(scale * right[accepted], scale * total[accepted], min_precision)
        if alpha > 0 and tail <= alpha:
            threshold = float(-last)
        else:
            alpha = 0.0
    return threshold


def reliability(
    confidence: np.ndarray, correct: np.ndarray, num_bins: int = 10
) -> tuple[list[dict[str, float | int]], float]:
    """How often predictions of a confidence are right, and the expected calibration error.

    confidence: float32 [Q], from 0 to 1.
    correct: bool [Q].

    Returns a row for each of the equally wide bins that hold products (`low` and `high`, its ends;
    `n`; `confidence` and `accuracy`, means over its products), and the error: the mean over
    products of the distance of these two means, 0 for perfect probabilities.
    Raises ValueError for no products, or a confidence outside of 0 to 1.
    """
    if len(confidence) == 0:
        raise ValueError("reliability of no products")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidences are not between 0 and 1")
    index = np.minimum((confidence.astype(np.float64) * num_bins).astype(np.int64), num_bins - 1)
    count = np.bincount(index, minlength=num_bins)
    sum_confidence = np.bincount(index, confidence, num_bins)
    num_correct = np.bincount(index, correct, num_bins)
    rows: list[dict[str, float | int]] = [
        {
            "low": i / num_bins,
            "high": (i + 1) / num_bins,
            "n": int(count[i]),
            "confidence": float(sum_confidence[i] / count[i]),
            "accuracy": float(num_correct[i] / count[i]),
        }
        for i in np.flatnonzero(count).tolist()
    ]
    return rows, float(np.abs(sum_confidence - num_correct).sum() / len(confidence))


def _log_shares(score: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Logarithm of each row's share of its product, float64 [R]; 0 counts as MIN_SHARE."""
    if not (score >= 0).all():
        raise ValueError("scores are unscored or below 0")
    share = group_normalize(score, product).astype(np.float64)
    return np.log(np.maximum(share, MIN_SHARE, out=share), out=share)


def _checked_weight(weight: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """The weights of `fit_threshold`, as they are."""
    if len(weight) != len(confidence) or not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"{len(weight)} weights of {len(confidence)} products, or below 0")
    if len(weight) and not weight.any():
        raise ValueError("all weights are 0")
    return weight.astype(np.float64)


def _binomial_tail(right: float, total: float, chance: float) -> float:
    """Chance of at least `right` successes in `total` draws, continued between whole numbers."""
    if right <= 0:
        return 1.0
    if float(right).is_integer() and float(total).is_integer():
        return float(bdtrc(int(right) - 1, int(total), chance))
    # Rounding may leave a little more right than there are.
    return float(betainc(right, max(total - right, 0.0) + 1, chance))


def _num_accepted(step: int, num_products: float) -> float:
    """How many products, at least, the threshold of a step accepts."""
    return -(-step * num_products // NUM_THRESHOLDS)


def _alpha_spending(num_products: float, min_precision: float, alpha: float) -> dict[int, float]:
    """The part of the error probability `alpha` that each starting step adds."""
    # So many products, all of them right, are the fewest that show the precision.
    fewest = math.log(alpha) / math.log(min_precision)
    starts: list[float] = []
    while 2 * fewest * 2 ** len(starts) <= num_products:
        starts.append(2 * fewest * 2 ** len(starts))
    if not starts and fewest <= num_products:
        starts = [fewest]
    spending: dict[int, float] = {}
    for start in starts:
        steps = range(1, NUM_THRESHOLDS + 1)
        step = next(s for s in steps if _num_accepted(s, num_products) >= start)
        spending[step] = spending.get(step, 0.0) + alpha / len(starts)
    return spending


def _checked_starts(logits: np.ndarray, product: np.ndarray) -> np.ndarray:
    """First row of each product."""
    if len(logits) != len(product):
        raise ValueError(f"{len(logits)} scores of {len(product)} rows")
    if not np.isfinite(logits).all():
        raise ValueError(f"{int((~np.isfinite(logits)).sum())} rows are unscored or infinite")
    return group_runs(product)[0]


@njit(cache=True, nogil=True)
def _softmax(logits: np.ndarray, bounds: np.ndarray, sharpness: float, probs: np.ndarray) -> None:
    for group in range(len(bounds) - 1):
        rows = slice(bounds[group], bounds[group + 1])
        # Relative to the highest, so that no exponential overflows.
        highest = float(np.max(logits[rows]))
        total = 0.0
        for row in range(bounds[group], bounds[group + 1]):
            total += np.exp(sharpness * (logits[row] - highest))
        for row in range(bounds[group], bounds[group + 1]):
            probs[row] = np.exp(sharpness * (logits[row] - highest)) / total


@njit(cache=True, nogil=True)
def _loss_slope(
    logits: np.ndarray, start: np.ndarray, end: np.ndarray, positive: np.ndarray, sharpness: float
) -> float:
    """Slope of the mean log loss by sharpness: a product's expected score less the true one's."""
    slope = 0.0
    for group in range(len(start)):
        highest = float(np.max(logits[start[group] : end[group]]))
        total = expected = 0.0
        for row in range(start[group], end[group]):
            score = logits[row] - highest
            weight = np.exp(sharpness * score)
            total += weight
            expected += weight * score
        slope += expected / total - (logits[positive[group]] - highest)
    return slope / len(start)


@njit(cache=True, nogil=True)
def _mean_spread(logits: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Mean distance of a product's highest and lowest score, the unit of MAX_SCALE."""
    total = 0.0
    for group in range(len(start)):
        rows = logits[start[group] : end[group]]
        total += np.max(rows) - np.min(rows)
    return total / len(start)
