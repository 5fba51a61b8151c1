"""What a blend's scores are worth as probabilities, and which answers are sure enough (B1, B3).

A product's shares say which candidate is best, but a share of 0.9 need not be right nine times in
ten. One number, a temperature, makes the shares of all products sharper or flatter until it is.
Rows are candidates sorted by product, as in `blend`.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtrc

from lib.stacking import blend

HOTTEST = 50.0  # temperature, and 1 / HOTTEST the coldest: shares beyond these are not blends
FLAT = 1e-12  # slope of a loss that no temperature changes: all shares are equal, or 1
STEPS = 100  # thresholds that are tried, from the surest products downwards


@dataclass(frozen=True)
class Calibration:
    """temperature: 1 leaves shares as they are, above 1 flattens them, below 1 sharpens them.

    found: share of the products whose true class is one of their candidates, above 0, below 1.
    """

    temperature: float
    found: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> "Calibration":
        """From a dict with both names; others are left unread."""
        return cls(float(facts["temperature"]), float(facts["found"]))


def fit(score: np.ndarray, product: np.ndarray, target: np.ndarray) -> Calibration:
    """The temperature with the least log loss of the true candidates, and the share found.

    score float32 [R], at least 0; product int32 [R] ascending; target int8 [R], at most one 1 in
    a product. Scores should be out-of-fold: a blend is too sure of what it was fitted on. The loss
    is convex in 1 / temperature, so the root of its slope is the one minimum; products without
    their truth have no say in it, and lower `found`, which is smoothed by one product of either
    kind, so that it is never 0 or 1.
    Raises ValueError for unscored or negative rows, unsorted products, two true candidates of one
    product, and where no product has its truth.
    """
    first, size = blend.runs(product)
    run, row = blend.true_rows(product, target)
    wanted = np.zeros(len(first), bool)
    wanted[run] = True
    some = np.repeat(wanted, size)
    logs, size = _log_shares(score, product)[some], size[wanted]
    true = logs[np.cumsum(some)[row] - 1]
    first = np.cumsum(size) - size

    def slope(sharpness: float) -> float:
        """Of the mean log loss: the expected log share less that of the truth."""
        share = np.exp(sharpness * logs)
        total = np.add.reduceat(share, first)
        return float(np.mean(np.add.reduceat(share * logs, first) / total - true))

    low, high = 1 / HOTTEST, HOTTEST
    if abs(slope(1)) < FLAT:
        sharpness = 1.0
    elif slope(low) >= 0:
        sharpness = low
    elif slope(high) <= 0:
        sharpness = high
    else:
        sharpness = brentq(slope, low, high, xtol=1e-6)
    return Calibration(float(1 / sharpness), float((len(run) + 1) / (len(wanted) + 2)))


def apply(calibration: Calibration, score: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Probability of each row's class, float32 [R]; the sum over a product is `found`.

    score float32 [R], at least 0; product int32 [R] ascending. Only the ratios of a product's
    scores count, and its order of candidates stays; where all are 0, all are equal.
    Raises ValueError for unscored or negative rows and unsorted products.
    """
    share = _log_shares(score, product)
    if len(share) == 0:
        return share.astype(np.float32)
    np.exp(np.divide(share, calibration.temperature, out=share), out=share)
    first, size = blend.runs(product)
    share *= np.repeat(calibration.found / np.add.reduceat(share, first), size)
    return share.astype(np.float32)


def threshold(
    confidence: np.ndarray, correct: np.ndarray, precision: float, level: float = 0.95
) -> float | None:
    """Least confidence above which answers are right with `precision`, at a confidence `level`.

    confidence float32 [Q] and correct bool [Q]: of each product's best class, out-of-fold. With
    probability `level` over the draw of these products, the accepted ones (confidence at least
    the threshold) have an expected share of right answers of at least `precision`. None where
    that cannot be shown for any threshold.

    One threshold is tested by the exact binomial tail (the Clopper-Pearson bound). Taking the
    best of many such tests would find a lucky one too often, so they are made in an order that is
    fixed beforehand, from the surest products downwards by 1 % of the products, and the chance of
    a mistake, 1 - level, is spent once: a test that passes hands its chance on to the next one
    (fixed-sequence testing), one that fails loses it. Lest a single mistake among the surest few
    ends it all, the chance is dealt out in equal parts over several starts, each at twice as many
    products as the one before (the fallback procedure of Wiens and Dmitrienko 2005); a start at
    fewer products than could ever show the precision would waste its part. Order and starts depend
    only on the number of products, so the sum of all chances is 1 - level whatever the labels are.
    Products with the same confidence are accepted together. Each product counts as one draw: where
    products come in groups that are right or wrong together, the promise is weaker.
    Raises ValueError for unequal lengths, unscored products, or a precision or level that is not
    above 0 and below 1.
    """
    if len(confidence) != len(correct) or np.isnan(confidence).any():
        raise ValueError(f"{len(confidence)} confidences, {len(correct)} answers, or unscored")
    if not (0 < precision < 1 and 0 < level < 1):
        raise ValueError(f"precision {precision} and level {level}: above 0 and below 1")
    order = np.argsort(-confidence, kind="stable")
    doubt, right = -confidence[order], np.cumsum(correct[order])
    chances = _chances(len(order), precision, 1 - level)
    found, chance = None, 0.0
    for step in range(1, STEPS + 1) if chances else ():
        chance += chances.get(step, 0.0)
        most = doubt[_products(step, len(order)) - 1]
        accepted = int(np.searchsorted(doubt, most, side="right"))
        if chance > 0 and bdtrc(right[accepted - 1] - 1, accepted, precision) <= chance:
            found = float(-most)
        else:
            chance = 0.0
    return found


def reliability(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 10
) -> tuple[list[dict[str, float | int]], float]:
    """How often answers of a confidence are right, and the expected calibration error.

    confidence float32 [Q] from 0 to 1, correct bool [Q]. Rows are the equally wide bins that hold
    products: low, high (its ends), n, confidence and accuracy (means over them). The error is the
    mean over products of the distance of the two in their bin: 0 for perfect probabilities.
    Raises ValueError for no products, or a confidence outside of 0 to 1.
    """
    if len(confidence) == 0:
        raise ValueError("reliability of no products")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidences are not between 0 and 1")
    own = np.minimum((confidence.astype(np.float64) * bins).astype(np.int64), bins - 1)
    count = np.bincount(own, minlength=bins)
    sure, right = np.bincount(own, confidence, bins), np.bincount(own, correct, bins)
    rows: list[dict[str, float | int]] = [
        {
            "low": place / bins,
            "high": (place + 1) / bins,
            "n": int(count[place]),
            "confidence": float(sure[place] / count[place]),
            "accuracy": float(right[place] / count[place]),
        }
        for place in np.flatnonzero(count).tolist()
    ]
    return rows, float(np.abs(sure - right).sum() / len(confidence))


def _log_shares(score: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Logarithm of each row's share of its product, float64 [R]; a share of 0 counts as LEAST."""
    if not (score >= 0).all():
        raise ValueError("scores are unscored or below 0")
    share = blend.normalise(score, product).astype(np.float64)
    return np.log(np.maximum(share, blend.LEAST, out=share), out=share)


def _products(step: int, products: int) -> int:
    """How many products, at least, the threshold of a step accepts."""
    return -(-step * products // STEPS)


def _chances(products: int, precision: float, chance: float) -> dict[int, float]:
    """The part of `chance` that each starting step brings."""
    least = math.log(chance) / math.log(precision)  # products, all right, that show the precision
    starts: list[float] = []
    while 2 * least * 2 ** len(starts) <= products:
        starts.append(2 * least * 2 ** len(starts))
    if not starts and least <= products:
        starts = [least]
    chances: dict[int, float] = {}
    for start in starts:
        step = next(s for s in range(1, STEPS + 1) if _products(s, products) >= start)
        chances[step] = chances.get(step, 0.0) + chance / len(starts)
    return chances
