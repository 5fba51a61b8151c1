"""Blend the scores of the stack's members, and fit the weights of a blend.

Rows are candidates sorted by (product, class), so a product's rows are neighbors. Every function
works on these groups of rows, never on a dense [products, classes].

Weights are fitted on `shares` float64 [M, P]: the share, above 0 and at most 1, that each of M
members gives the true candidate of each of P products. A blend of shares by weights that sum to 1
is again a share, so its mean log loss needs nothing else of the rows, and is convex in the weights.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from lib.errors import UserError
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

METHODS = ("simple", "best", "greedy", "convex", "selected")
MIN_SHARE = 1e-9  # share of a true class below which its log loss no longer grows
MIN_WEIGHT = 1e-6  # smaller weights are 0: their members need not be scored
GREEDY_STEPS = 50
TIE = 1e-12  # losses closer than this are equal


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
    fold: int8 [R], read by "selected".
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


def fit_share_weights(
    method: str, shares: np.ndarray, fold: np.ndarray, greedy_steps: int = GREEDY_STEPS
) -> np.ndarray:
    """Weights float64 [M], at least 0 with sum 1.

    method: "simple" (all equal), "best" (the member with the least loss), "greedy" (`fit_greedy`),
        "convex" (`fit_simplex`) or "selected" (`select_members`).
    shares: float64 [M, P].
    fold: int [P], read by "selected".

    Raises ValueError for no members, no products, and an unknown method.
    """
    if shares.size == 0:
        raise ValueError(f"{shares.shape[0]} members and {shares.shape[1]} products")
    if method == "simple":
        return np.full(len(shares), 1 / len(shares))
    if method == "best":
        return np.eye(len(shares))[np.argmin([share_log_loss(share) for share in shares])]
    if method == "greedy":
        return fit_greedy(shares, greedy_steps)
    if method == "convex":
        return fit_simplex(shares)
    if method == "selected":
        return select_members(shares, fold)
    raise ValueError(f"unknown method {method}; choose from {', '.join(METHODS)}")


def share_log_loss(share: np.ndarray) -> float:
    """Mean log loss of the true candidates, given their shares float64 [P]."""
    return float(-np.log(share).mean())


def fit_greedy(shares: np.ndarray, num_steps: int) -> np.ndarray:
    """Weights of a greedy selection with replacement, float64 [M].

    shares: float64 [M, P].
    num_steps: each step adds the member that lowers the loss most; on a tie one that is in
        already, then the first. The weights are those of the earliest step with the least loss.

    Source: Caruana et al. 2004, Ensemble Selection from Libraries of Models.
    """
    if num_steps < 1:
        raise ValueError(f"{num_steps} steps: at least one")
    counts = np.zeros(len(shares), np.int64)
    best_counts, best_loss = counts, np.inf
    total = np.zeros(shares.shape[1])
    for step in range(1, num_steps + 1):
        losses = np.array([share_log_loss((total + share) / step) for share in shares])
        tied = np.flatnonzero(losses <= losses.min() + TIE)
        chosen = tied[np.argmax(counts[tied] > 0)]  # the first in use, else the first
        counts = counts + (np.arange(len(counts)) == chosen)
        total += shares[chosen]
        if losses[chosen] < best_loss - TIE:
            best_counts, best_loss = counts, losses[chosen]
    return best_counts / best_counts.sum()


def fit_simplex(shares: np.ndarray) -> np.ndarray:
    """The weights of least loss among all that are at least 0 with sum 1: float64 [M].

    shares: float64 [M, P].
    """
    num_members, num_products = shares.shape

    def loss_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = weights @ shares
        return share_log_loss(mixed), -(shares @ (1 / mixed)) / num_products

    # Thousands of small products of matrices: several BLAS threads only wait for each other.
    with threadpool_limits(1, user_api="blas"):
        result = minimize(
            loss_and_gradient,
            np.full(num_members, 1 / num_members),
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * num_members,
            constraints={
                "type": "eq",
                "fun": lambda weights: weights.sum() - 1,
                "jac": np.ones_like,
            },
            options={"ftol": 1e-14, "maxiter": 1000},
        )
    weights = np.where(result.x < MIN_WEIGHT, 0, result.x)
    return weights / weights.sum()


def select_members(shares: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Weights of `fit_simplex` over the members that the folds show to be useful: float64 [M].

    shares: float64 [M, P].
    fold: int [P]. The loss of a set of members is that of each fold under weights that were fitted
        on the other folds.

    Members without weight on any fold are dropped first, which changes nothing. Then, as long as
    the loss does not grow, the member whose absence makes it least is dropped. The remaining ones
    are fitted on all products. With fewer than two folds, all members are.
    """
    if len(np.unique(fold)) < 2:
        return fit_simplex(shares)
    kept = np.flatnonzero(_weights_without_folds(shares, fold).any(axis=0))
    loss = _loss_on_folds(shares[kept], fold)
    while len(kept) > 1:
        losses = [_loss_on_folds(shares[kept[kept != member]], fold) for member in kept]
        candidate = int(np.argmin(losses))
        if losses[candidate] > loss + TIE:
            break
        kept, loss = np.delete(kept, candidate), losses[candidate]
    weights = np.zeros(len(shares))
    weights[kept] = fit_simplex(shares[kept])
    return weights


def _weights_without_folds(shares: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Weights of `fit_simplex` fitted without each fold, float64 [folds, M]."""
    return np.stack([fit_simplex(shares[:, fold != k]) for k in np.unique(fold)])


def _loss_on_folds(shares: np.ndarray, fold: np.ndarray) -> float:
    """Mean log loss of all products, each under weights that were fitted without its fold."""
    blended = np.empty(shares.shape[1])
    for k, weights in zip(np.unique(fold), _weights_without_folds(shares, fold), strict=True):
        blended[fold == k] = weights @ shares[:, fold == k]
    return share_log_loss(blended)


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
