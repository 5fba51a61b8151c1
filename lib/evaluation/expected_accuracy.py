"""The accuracy to expect on products without labels, from what is known of each prediction.

Among labelled products that a model was not trained on, the more evidence a prediction has, the
more often it is right. Evidence is known without a label: the probability that the model gives its
class, and how alike the nearest labelled images are, and those of this class. So a logistic
regression of right and wrong on the evidence of labelled products, applied to others, gives the
accuracy to expect there. It is right as long as equal evidence means an equal chance. Which
evidence does is not known, so the interval is that of regressions on random parts of it. Sources:
Guillory et al. 2021, Predicting with Confidence on Unseen Distributions; Garg et al. 2022,
Leveraging Unlabeled Data to Predict Out-of-Distribution Performance.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from lib.evaluation.metrics import LEVEL, Estimate
from lib.similarity.support import sample_groups

RESAMPLES = 200
MAX_SAMPLE = 20_000  # labelled products that are fitted on: whole groups
MAX_NEW = 200_000  # products that stand for all others: whole groups
PENALTY = 0.5  # of the squared slopes of columns with deviation 1


# Products of a matrix of few columns: threads of BLAS would wait for each other for far longer.
@threadpool_limits.wrap(limits=1, user_api="blas")
def expected_accuracy(
    correct: np.ndarray,
    evidence: np.ndarray,
    new_evidence: np.ndarray,
    group: np.ndarray,
    new_group: np.ndarray,
    seed: int = 0,
) -> Estimate:
    """The accuracy to expect on m products without labels, and its 95 % interval.

    correct: bool [n], of labelled products out-of-fold. evidence: float32 [n, d] and new_evidence:
    float32 [m, d], finite; more of any column never makes a prediction less probable to be right.
    The first column counts always, each other in half of the regressions of the interval.
    group: int [n] and new_group: int [m]: products of a group are right or wrong together.

    The interval holds the chance that labelled groups were drawn as they were (bootstrap), that
    groups without labels turn out right or wrong, and that part of the evidence misleads.
    Raises ValueError for no products.
    """
    if not len(correct) or not len(new_evidence):
        raise ValueError(f"{len(correct)} labelled products and {len(new_evidence)} others")
    rng, num_new = np.random.default_rng(seed), len(new_evidence)
    rows, new_rows = sample_groups(group, MAX_SAMPLE, rng), sample_groups(new_group, MAX_NEW, rng)
    correct, new_group = correct[rows].astype(np.float64), new_group[new_rows]
    columns, new_columns = _standardised(evidence[rows], new_evidence[new_rows])

    index = np.unique(group[rows], return_inverse=True)[1]
    num_groups = int(index.max()) + 1
    found = _fit(columns, correct, np.ones(len(correct)), np.zeros(columns.shape[1]))
    chance = expit(new_columns @ found)
    deviation = _deviation(chance, new_group)
    draws = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        count = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups))
        others = 2 + np.flatnonzero(rng.random(columns.shape[1] - 2) < 0.5)
        used = np.append([0, 1], others)  # the intercept and the first column of evidence always
        weight = count[index].astype(np.float64)
        slopes = _fit(columns[:, used], correct, weight, start=found[used])
        draws[i] = expit(new_columns[:, used] @ slopes).mean() + deviation * rng.standard_normal()
    low, high = np.clip(np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]), 0, 1)
    value = float(chance.mean())
    return Estimate(value, min(float(low), value), max(float(high), value), num_new)


def _standardised(evidence: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with a column of ones first and the others standardised by the labelled products."""
    mean = evidence.mean(axis=0, dtype=np.float64)
    deviation = evidence.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 1e-9, deviation, 1.0)
    return (
        np.column_stack([np.ones(len(evidence)), (evidence - mean) / scale]),
        np.column_stack([np.ones(len(new)), (new - mean) / scale]),
    )


def _fit(
    columns: np.ndarray, correct: np.ndarray, weight: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Intercept and slopes, none below 0, of the weighted logistic regression: float64 [1 + d].

    Half a product that is right and half a one that is wrong, of average evidence, are added, so
    that the intercept is finite where all are right. The loss is convex: from any `start`, float64
    [1 + d], the result is the same but for rounding.
    """

    counted = weight > 0  # a resample draws some groups often and a third of them not at all
    columns, correct, weight = columns[counted], correct[counted], weight[counted]

    def loss(slopes: np.ndarray) -> tuple[float, np.ndarray]:
        logits = columns @ slopes
        # One exponential of each row gives its loss and its chance.
        small = np.exp(-np.abs(logits))
        chance = np.where(logits > 0, 1, small) / (1 + small)
        losses = np.maximum(logits, 0) + np.log1p(small)
        total = np.sum(weight * (losses - correct * logits))
        total += np.logaddexp(0, slopes[0]) - slopes[0] / 2 + PENALTY * np.sum(slopes[1:] ** 2)
        gradient = columns.T @ (weight * (chance - correct))
        gradient[0] += expit(slopes[0]) - 0.5
        gradient[1:] += 2 * PENALTY * slopes[1:]
        return float(total), gradient

    bounds = [(None, None)] + [(0, None)] * (columns.shape[1] - 1)
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x


def _deviation(chance: np.ndarray, group: np.ndarray) -> float:
    """Standard deviation of the accuracy if each group is right or wrong as a whole."""
    _, index, size = np.unique(group, return_inverse=True, return_counts=True)
    mean = np.bincount(index, chance) / size
    return float(np.sqrt(np.sum(size**2 * mean * (1 - mean))) / len(chance))
