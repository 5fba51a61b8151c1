"""Whether new products differ from labelled ones: test, density ratios, where nothing is known.

A classifier that tells new from labelled products can do so only where the two samples differ, so
its AUC on products that it was not fitted on is a two-sample test (Lopez-Paz and Oquab 2017,
Revisiting Classifier Two-Sample Tests). Its odds are the ratio of the two densities (Bickel et al.
2009, Discriminative Learning Under Covariate Shift; Sugiyama et al. 2012, Density Ratio
Estimation). Weighted by that ratio, labelled products stand for the new ones, as long as the class
of a product depends on its columns as before (Tibshirani et al. 2019, Conformal Prediction Under
Covariate Shift).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit, logit, stdtrit
from threadpoolctl import threadpool_limits

from lib.evaluation.metrics import LEVEL, Estimate
from lib.similarity.support import MAX_SAMPLE, MAX_UNSUPPORTED, is_far, sample_groups, standardised
from lib.utils.chunks import chunks

if TYPE_CHECKING:  # a single new product has no test, and should not wait for its imports
    from sklearn.linear_model import LogisticRegression

NUM_FOLDS = 5
MAX_RATIO = 50.0  # density ratios are clipped to this and its inverse
MAX_SPREAD = 5.0  # standard deviations at which a column is clipped for the classifier
INVERSE_PENALTY = 0.01  # of the logistic regression: strong, for some 70 columns of few products
ROWS = 65_536  # products that are scored at a time


@dataclass(frozen=True)
class Shift:
    """How new products differ from labelled ones.

    auc: of a classifier that tells them apart, 0.5 for none, with a 95 % interval.
    weights: float64 [n], density ratio new / labelled of each labelled product, with mean 1; all 1
        where the samples do not differ.
    supported: bool [m], whether a new product lies where labelled ones do. Nothing is known of
        the others.
    effective: number of equally weighted labelled groups that are worth as much as these.
    """

    auc: Estimate
    weights: np.ndarray
    supported: np.ndarray
    effective: float

    @property
    def differs(self) -> bool:
        """Whether the samples differ by more than chance."""
        return self.auc.low > 0.5


class _Test(NamedTuple):
    """Labelled and then new products: columns float32 [n + m, d], sampled bool [n + m], log odds
    of being new float64 [n + m], and how well these tell the two apart."""

    columns: np.ndarray
    sampled: np.ndarray
    score: np.ndarray
    auc: Estimate


# Products of a matrix of few columns: threads of BLAS would wait for each other for far longer.
@threadpool_limits.wrap(limits=1, user_api="blas")
def measure_shift(
    labelled: np.ndarray,
    new: np.ndarray,
    labelled_group: np.ndarray,
    new_group: np.ndarray,
    seed: int = 0,
) -> Shift:
    """Compare labelled products with new ones by columns that are computed alike for both.

    labelled: float32 [n, d], new: float32 [m, d]; NaN where a product has no value.
    labelled_group: int [n], new_group: int [m]. Products of a group stay in one fold and count
        together. A number that stands in both samples may mean one group, or nothing.

    The classifier is a logistic regression on the columns and their squares. It is fitted on at
    most MAX_SAMPLE products of either side, and applied to all products of the fold that it
    leaves out. The AUC compares products of one fold only, because the folds' classifiers have
    different zero points.

    A new product has no support in two cases. Its nearest labelled product is further away than
    is usual among labelled ones outside of the own group. Or the samples differ, and its density
    ratio is above MAX_RATIO and above that of all but MAX_UNSUPPORTED of the labelled.

    With less than two groups on either side there is no test: the AUC is 0.5, from 0 to 1.
    Raises ValueError for unequal lengths.
    """
    n, test = len(labelled), _two_sample_test(labelled, new, labelled_group, new_group, seed)
    columns, sampled, auc = test.columns, test.sampled, test.auc
    supported = ~is_far(columns[:n], columns[n:], labelled_group, seed)
    weights = np.ones(n)
    if auc.low > 0.5:
        log_ratio = _log_ratios(test.score, np.arange(len(columns)) >= n, sampled)
        ends = np.log([1 / MAX_RATIO, MAX_RATIO])
        weights = np.exp(np.clip(log_ratio[:n], *ends))
        weights /= weights.mean()
        usual = max(ends[1], np.quantile(log_ratio[:n], 1 - MAX_UNSUPPORTED))
        supported &= log_ratio[n:] <= usual
    return Shift(auc, weights, supported, _effective(weights, labelled_group))


@threadpool_limits.wrap(limits=1, user_api="blas")
def measure_auc(
    labelled: np.ndarray,
    new: np.ndarray,
    labelled_group: np.ndarray,
    new_group: np.ndarray,
    seed: int = 0,
) -> Estimate:
    """The AUC of `measure_shift`, of the same arguments, without what follows from it."""
    return _two_sample_test(labelled, new, labelled_group, new_group, seed).auc


def _two_sample_test(
    labelled: np.ndarray,
    new: np.ndarray,
    labelled_group: np.ndarray,
    new_group: np.ndarray,
    seed: int,
) -> _Test:
    if len(labelled) != len(labelled_group) or len(new) != len(new_group):
        raise ValueError(f"{len(labelled)} and {len(new)} products have other numbers of groups")
    has_test = min(len(np.unique(labelled_group)), len(np.unique(new_group))) >= 2
    rng = np.random.default_rng(seed)
    columns = standardised(np.concatenate([labelled, new]))
    is_new = np.arange(len(columns)) >= len(labelled)
    fold = _folds(labelled_group, new_group, rng)
    sampled = np.concatenate(
        [sample_groups(group, MAX_SAMPLE, rng) for group in (labelled_group, new_group)]
    )
    if not has_test:
        return _Test(
            columns, sampled, np.zeros(len(columns)), Estimate(0.5, 0.0, 1.0, len(columns))
        )
    score = _out_of_fold_scores(columns, is_new, fold, sampled)
    return _Test(columns, sampled, score, _auc(score, is_new, fold, labelled_group, new_group))


def _folds(
    labelled_group: np.ndarray, new_group: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Fold of each labelled and then each new product, int64 [n + m]: equal groups, equal folds."""
    groups, index = np.unique(np.concatenate([labelled_group, new_group]), return_inverse=True)
    has_labelled = np.isin(groups, labelled_group)
    fold = np.empty(len(groups), np.int64)
    for members in (np.flatnonzero(has_labelled), np.flatnonzero(~has_labelled)):
        fold[rng.permutation(members)] = np.arange(len(members)) % NUM_FOLDS
    return fold[index]


def _out_of_fold_scores(
    columns: np.ndarray, is_new: np.ndarray, fold: np.ndarray, sampled: np.ndarray
) -> np.ndarray:
    """Log odds of being new, of the classifier that left out a product's fold: float64 [n + m]."""
    from sklearn.linear_model import LogisticRegression

    score = np.zeros(len(columns))
    for k in range(NUM_FOLDS):
        rows, queries = sampled & (fold != k), np.flatnonzero(fold == k)
        if len(queries) and len(np.unique(is_new[rows])) == 2:
            model = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=1000)
            _fit(model, _with_squares(columns[rows]), is_new[rows])
            for part in chunks(len(queries), ROWS):
                some = queries[part]
                score[some] = model.decision_function(_with_squares(columns[some]))
    return score


def _fit(model: "LogisticRegression", columns: np.ndarray, is_new: np.ndarray) -> None:
    """Fit a model without warnings of invalid values: of few rows, the kernel of a matrix product
    also computes with what lies behind them in memory, and drops the result. Raises
    FloatingPointError if a coefficient is not finite after all."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        model.fit(columns, is_new)
    if not np.isfinite(model.coef_).all():
        raise FloatingPointError("the comparison with new products has no finite coefficients")


def _with_squares(columns: np.ndarray) -> np.ndarray:
    """Clipped columns, their squares, and the mean of the squares: float32 [n, 2 d + 1]."""
    columns = np.clip(columns, -MAX_SPREAD, MAX_SPREAD)
    return np.column_stack([columns, columns**2, (columns**2).mean(axis=1)])


def _log_ratios(score: np.ndarray, is_new: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    """Logarithm of the density ratio new / labelled: float64 [n + m].

    The penalty flattens the odds; a slope that is fitted on out-of-fold scores undoes this.
    "balanced" takes the sizes of the samples out of the odds, which leaves the ratio of densities.
    """
    from sklearn.linear_model import LogisticRegression

    scale = LogisticRegression(C=1.0, class_weight="balanced")
    _fit(scale, score[sampled, None], is_new[sampled])
    return np.asarray(scale.decision_function(score[:, None]))


def _auc(
    score: np.ndarray,
    is_new: np.ndarray,
    fold: np.ndarray,
    labelled_group: np.ndarray,
    new_group: np.ndarray,
) -> Estimate:
    """Chance that a new product scores above a labelled one of its fold, with its interval.

    The interval is that of DeLong et al. 1988, with whole groups as the independent draws
    (Obuchowski 1997), on the scale of log odds, and of Student's t for few groups. The variance
    counts twice: each two folds meet twice, one fitted and the other scored and then the other
    way round, and without a shift both have nearly the same result.
    """
    from scipy.stats import rankdata

    above = np.zeros(len(score))  # of a product: how often it is on the right side of its pairs
    pairs = 0.0
    for k in range(NUM_FOLDS):
        old, fresh = np.flatnonzero((fold == k) & ~is_new), np.flatnonzero((fold == k) & is_new)
        together = rankdata(score[np.concatenate([old, fresh])])
        above[old] = len(fresh) - (together[: len(old)] - rankdata(score[old]))
        above[fresh] = together[len(old) :] - rankdata(score[fresh])
        pairs += len(old) * len(fresh)
    if pairs == 0:
        return Estimate(0.5, 0.0, 1.0, len(score))
    value = above[is_new].sum() / pairs
    # What a product adds to the AUC, less what it would add at the mean.
    others = np.zeros(len(score))
    for k in range(NUM_FOLDS):
        rows = fold == k
        others[rows & is_new] = (rows & ~is_new).sum()
        others[rows & ~is_new] = (rows & is_new).sum()
    excess = (above - value * others) / pairs
    variance, smallest = 0.0, len(score)
    for group, part in ((labelled_group, excess[~is_new]), (new_group, excess[is_new])):
        sums = np.bincount(np.unique(group, return_inverse=True)[1], part)
        variance += 2 * len(sums) / (len(sums) - 1) * float((sums**2).sum())
        smallest = min(smallest, len(sums))
    safe = min(max(value, 0.5 / pairs), 1 - 0.5 / pairs)
    width = stdtrit(smallest - 1, (1 + LEVEL) / 2) * np.sqrt(variance) / (safe * (1 - safe))
    low, high = expit(logit(safe) - width), expit(logit(safe) + width)
    return Estimate(float(value), float(low), float(high), len(score))


def _effective(weights: np.ndarray, group: np.ndarray) -> float:
    """Effective number of groups, (sum w)^2 / sum w^2 (Kish 1965), w the mean weight of a group."""
    _, index, size = np.unique(group, return_inverse=True, return_counts=True)
    mean = np.bincount(index, weights) / size
    return float(mean.sum() ** 2 / (mean**2).sum())
