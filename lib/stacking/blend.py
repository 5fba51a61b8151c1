"""Blend the scores of the stack's members, with fitted weights (`blend_weights`) or published ones

Rows are candidates sorted by (product, class), so a product's rows are neighbors. Every function
works on these groups of rows, never on a dense [products, classes].
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lib.errors import UserError
from lib.stacking.blend_weights import GREEDY_STEPS, fit_share_weights
from lib.utils.groups import group_argmax, group_index, group_normalize, group_runs

Member = tuple[str, str, str]  # source, layer, booster

# Weights of the Cdiscount 5th-place write-up, number for number. They do not sum to 1 and need not:
# only the order of a product's candidates counts. Its lgbm_1 is lgbm_deep, its
# lgbm_2 is lgbm_extra.
MEAN_FIRST = {"xgboost": 0.5, "lgbm_deep": 0.1, "lgbm_extra": 0.25}  # L3 on the mean of all CNNs
PER_MODEL = {
    "xgboost": 0.5,
    "lgbm_deep": 0.25,
    "lgbm_extra": 0.25,
}  # L3 of each CNN, averaged afterwards
MULTI: Member = ("multi", "l2", "xgboost")  # L2 on the columns of all CNNs side by side
PUBLISHED = {"mean": 0.6, "multi": 0.2, "per_model": 0.3}

MIN_SHARE = 1e-9  # share of a true class below which its log loss no longer grows


def published_members(models: Sequence[str]) -> set[Member]:
    """The members that `published` needs, given the names of the CNNs."""
    mean = {("mean", "l3", booster) for booster in MEAN_FIRST}
    per_model = {(model, "l3", booster) for model in models for booster in PER_MODEL}
    return mean | per_model | {MULTI}


def published(
    scores: Mapping[Member, np.ndarray], model_weights: Mapping[str, float]
) -> np.ndarray:
    """The published three-way blend, float32 [R].

    scores: float32 [R] of each of `published_members`; others are not read.
    model_weights: weight of each CNN, normalized here.

    Raises UserError for missing members and for weights without a positive sum.
    Source: Cdiscount 5th-place write-up (final ensemble).
    """
    missing = sorted(published_members(list(model_weights)) - set(scores))
    if missing:
        names = ", ".join("/".join(member) for member in missing)
        raise UserError(
            f"the published blend lacks {names}; put xgboost, lgbm_deep and lgbm_extra into"
            ' stack.l3 and xgboost into stack.multi_l2, or set blend.submit = "fitted"'
        )
    total = sum(model_weights.values())
    if not total > 0 or min(model_weights.values()) < 0:
        raise UserError(
            "the published blend needs models.NAME.blend_weight of at least 0 with a sum above 0;"
            f" they are {dict(model_weights)}"
        )
    weights: dict[Member, float] = {MULTI: PUBLISHED["multi"]}
    for booster, weight in MEAN_FIRST.items():
        weights["mean", "l3", booster] = PUBLISHED["mean"] * weight
    for model, model_weight in model_weights.items():
        for booster, weight in PER_MODEL.items():
            factor = PUBLISHED["per_model"] * weight * model_weight / total
            weights[model, "l3", booster] = factor
    blend = np.zeros(len(scores[MULTI]), np.float64)
    for member, factor in weights.items():
        blend += factor * scores[member]
    return blend.astype(np.float32)


def weighted_mean(
    members: Iterable[np.ndarray], weights: np.ndarray, product: np.ndarray
) -> np.ndarray:
    """Weighted sum of the members' shares, float32 [R].

    members: float32 [R] each, scores of at least 0, read one at a time.
    weights: float64 [M]; members of weight 0 are not used.
    product: int32 [R], ascending.
    """
    total = np.zeros(len(product))
    for score, weight in zip(members, weights, strict=True):
        if weight > 0:
            total += weight * group_normalize(score, product)
    return total.astype(np.float32)


def argmax_per_product(
    product: np.ndarray, class_id: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The products among the rows (ascending) and the class with the highest score of each.

    product: int32 [R] and class_id: int16 [R], sorted by (product, class), so that a tie goes to
        the lower class.
    score: float32 [R].

    Returns int32 [Q] and int16 [Q]. Raises ValueError for unsorted or unscored rows.
    """
    if np.isnan(score).any():
        raise ValueError(f"{int(np.isnan(score).sum())} rows are unscored")
    if ((np.diff(product) == 0) & (np.diff(class_id.astype(np.int64)) <= 0)).any():
        raise ValueError("rows are not sorted by (product, class), or contain a duplicate")
    rows = group_argmax(score, product)
    return product[rows], class_id[rows]


def positive_rows(product: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group and row of every true candidate, int64 [P] each.

    product: int32 [R], ascending.
    target: int8 [R], 1 for the product's own class.

    Returns the index of the product among the groups of rows, and the row, of the P products whose
    true class is a candidate. Raises ValueError where a product has two, and where P is 0.
    """
    _, sizes = group_runs(product)
    rows = np.flatnonzero(target == 1)
    groups = group_index(sizes)[rows]
    if len(rows) == 0:
        raise ValueError("no product has its true class among its candidates")
    if (np.diff(groups) == 0).any():
        raise ValueError("a product has two true classes")
    return groups, rows


def fit_weights(
    members: Sequence[np.ndarray],
    product: np.ndarray,
    target: np.ndarray,
    fold: np.ndarray,
    method: str,
    greedy_steps: int = GREEDY_STEPS,
) -> np.ndarray:
    """Weights of the members' shares, at least 0 with sum 1: float64 [M].

    members: float32 [R] each, out-of-fold scores of at least 0.
    product: int32 [R], ascending.
    target: int8 [R], 1 for the product's own class. Products without their true class among the
        candidates cannot be won, and are left out.
    fold: int8 [R], read by "selected" and "shrunk".
    method: one of METHODS, see `fit_share_weights`.

    Raises ValueError where a member has unscored or negative rows, or no product has its true
    class among its candidates.
    """
    _, rows = positive_rows(product, target)
    shares = _positive_shares(members, product, rows)
    return fit_share_weights(method, shares, fold[rows], greedy_steps)


def cross_fit(
    members: Sequence[np.ndarray],
    product: np.ndarray,
    target: np.ndarray,
    fold: np.ndarray,
    method: str,
    greedy_steps: int = GREEDY_STEPS,
) -> np.ndarray:
    """Blended shares whose weights are fitted without each product's fold: float32 [R].

    Arguments and errors are those of `fit_weights`. The members' scores are out-of-fold already;
    this makes the weights out-of-fold too, so that all rows measure what a method is worth.
    """
    _, rows = positive_rows(product, target)
    shares, positive_fold = _positive_shares(members, product, rows), fold[rows]
    blended = np.empty(len(product), np.float32)
    for k in np.unique(fold):
        others, own = positive_fold != k, np.flatnonzero(fold == k)
        weights = fit_share_weights(method, shares[:, others], positive_fold[others], greedy_steps)
        blended[own] = weighted_mean((score[own] for score in members), weights, product[own])
    return blended


def _positive_shares(
    members: Sequence[np.ndarray], product: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Each member's share of the true candidates in `rows`, float64 [M, P]."""
    shares = np.empty((len(members), len(rows)))
    for i, score in enumerate(members):  # one at a time: all rows of all members may not fit
        if not (score >= 0).all():
            raise ValueError(f"member {i} has rows that are unscored or below 0")
        shares[i] = np.maximum(group_normalize(score, product)[rows], MIN_SHARE)
    return shares
