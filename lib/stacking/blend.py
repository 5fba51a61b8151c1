"""Blends of the stack's members (C14), and what a product makes of its rows' scores.

Rows are candidates sorted by (product, class), so a product's rows are neighbours; every function
here works on those runs, never on a dense [products, classes].
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lib.errors import UserError
from lib.stacking.weights import fit

Member = tuple[str, str, str]  # source, layer, booster

# The published blend, number for number. They do not sum to 1, and need not: only the order of a
# product's candidates counts. "lgbm" of the document's second line is its first LightGBM.
BEFORE = {"xgboost": 0.5, "lgbm_1": 0.1, "lgbm_2": 0.25}  # CNNs averaged before L2 and L3
AFTER = {"xgboost": 0.5, "lgbm_1": 0.25, "lgbm_2": 0.25}  # L2 and L3 for each CNN, merged after
ALL = {"before": 0.6, "multi": 0.2, "after": 0.3}
MULTI: Member = ("multi", "l2", "xgboost")

LEAST = 1e-9  # share of a true class below which its log loss no longer grows
STEPS = 50  # of a greedy selection


def published_members(models: Sequence[str]) -> set[Member]:
    """Whose scores `published` needs, given the names of the CNNs."""
    before = {("mean", "l3", booster) for booster in BEFORE}
    after = {(model, "l3", booster) for model in models for booster in AFTER}
    return before | after | {MULTI}


def published(
    scores: Mapping[Member, np.ndarray], model_weights: Mapping[str, float]
) -> np.ndarray:
    """The published three-way blend, float32 [R].

    scores: float32 [R] of each of `published_members`; others are left unread. model_weights: of
    each CNN, normalised here. Raises UserError for missing members and for weights without a sum.
    """
    missing = sorted(published_members(list(model_weights)) - set(scores))
    if missing:
        listed = ", ".join("/".join(member) for member in missing)
        raise UserError(
            f"the published blend lacks {listed}; put xgboost, lgbm_1 and lgbm_2 into"
            ' stack.l3 and xgboost into stack.multi_l2, or set blend.submit = "fitted"'
        )
    total = sum(model_weights.values())
    if not total > 0 or min(model_weights.values()) < 0:
        raise UserError(
            "the published blend needs models.NAME.blend_weight of at least 0 with a sum above 0;"
            f" they are {dict(model_weights)}"
        )
    weights: dict[Member, float] = {MULTI: ALL["multi"]}
    for booster, weight in BEFORE.items():
        weights["mean", "l3", booster] = ALL["before"] * weight
    for model, of_model in model_weights.items():
        for booster, weight in AFTER.items():
            weights[model, "l3", booster] = ALL["after"] * weight * of_model / total
    blend = np.zeros(len(scores[MULTI]), np.float64)
    for member, factor in weights.items():
        blend += factor * scores[member]
    return blend.astype(np.float32)


def fitted(
    members: Sequence[np.ndarray],
    product: np.ndarray,
    target: np.ndarray,
    fold: np.ndarray,
    how: str,
    steps: int = STEPS,
) -> np.ndarray:
    """Weights float64 [M] for the members' shares, at least 0 with sum 1, by `weights.fit`.

    members: float32 [R] each, scores of at least 0; product int32 [R] ascending; target and fold
    int8 [R]; how: one of `weights.METHODS`; steps: of "greedy". Products without their truth among
    the candidates cannot be won and are left out.
    Raises ValueError where a member has unscored or negative rows, or no product has its truth.
    """
    _, row = true_rows(product, target)
    return fit(how, _true_shares(members, product, row), fold[row], steps)


def cross_fitted(
    members: Sequence[np.ndarray],
    product: np.ndarray,
    target: np.ndarray,
    fold: np.ndarray,
    how: str,
    steps: int = STEPS,
) -> np.ndarray:
    """Blended shares float32 [R], every product's by weights fitted without its fold (B1).

    Arguments and errors are those of `fitted`. The members' scores are out-of-fold already; this
    makes their weights so too, and the whole part tells what a way of choosing weights is worth.
    Raises ValueError where the true candidates of a fold's others are none.
    """
    _, row = true_rows(product, target)
    true, own_fold = _true_shares(members, product, row), fold[row]
    blended = np.empty(len(product), np.float32)
    for k in np.unique(fold):
        others, rows = own_fold != k, np.flatnonzero(fold == k)
        weights = fit(how, true[:, others], own_fold[others], steps)
        blended[rows] = mixed((score[rows] for score in members), weights, product[rows])
    return blended


def mixed(members: Iterable[np.ndarray], weights: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Weighted sum of the members' shares, float32 [R].

    members: float32 [R] each, read one at a time; weights float64 [M]; product int32 [R] ascending.
    """
    total = np.zeros(len(product))
    for score, weight in zip(members, weights, strict=True):
        if weight > 0:
            total += weight * normalise(score, product)
    return total.astype(np.float32)


def normalise(score: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Each row's share of its product's scores, float32 [R]; equal shares where all are 0.

    score float [R], at least 0; product int32 [R] ascending. An unscored row makes its product's
    shares NaN.
    """
    first, size = runs(product)
    if len(first) == 0:
        return np.empty(0, np.float32)
    total = np.repeat(np.add.reduceat(score.astype(np.float64), first), size)
    equal = np.repeat(1 / size, size)
    share = np.divide(score, total, out=equal, where=total != 0)
    return share.astype(np.float32)


def rank(score: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Place of each row in its product, float32 [R]: 0 for the highest score, ties by row."""
    first, size = runs(product)
    order = np.lexsort((-score, product))  # stable, so equal scores keep the order of rows
    place = np.empty(len(score), np.float32)
    place[order] = np.arange(len(score)) - np.repeat(first, size)
    return place


def best(product: np.ndarray, cls: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The products among the rows (ascending) and the class with the highest score of each.

    product int32 [R], cls int16 [R]: sorted by (product, class), so that a tie goes to the lower
    class. Raises ValueError for unsorted or unscored rows.
    """
    first, size = runs(product)
    if len(first) == 0:
        return product[:0], cls[:0]
    if np.isnan(score).any():
        raise ValueError(f"{int(np.isnan(score).sum())} rows are unscored")
    if ((np.diff(product) == 0) & (np.diff(cls.astype(np.int64)) <= 0)).any():
        raise ValueError("rows are not sorted by (product, class), or one is there twice")
    return product[first], cls[_first_best(score, first, size)]


def runs(product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row and number of rows of each product, int64 [products].

    Raises ValueError where `product` does not ascend.
    """
    if (np.diff(product) < 0).any():
        raise ValueError("rows are not sorted by product")
    first = np.flatnonzero(np.diff(product, prepend=product[:1] - 1))
    return first, np.diff(first, append=len(product))


def true_rows(product: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run and row of every true candidate, int64 [products that have theirs].

    product int32 [R] ascending; target int8 [R]. Raises ValueError where a product has two, and
    where none has one.
    """
    first, size = runs(product)
    row = np.flatnonzero(target == 1)
    run = np.repeat(np.arange(len(first)), size)[row]
    if len(row) == 0:
        raise ValueError("no product has its true class among its candidates")
    if (np.diff(run) == 0).any():
        raise ValueError("a product has two true classes")
    return run, row


def _first_best(score: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Row of the highest score of each run, the first of equals."""
    highest = np.repeat(np.maximum.reduceat(score, first), size)
    rows = np.where(score == highest, np.arange(len(score)), len(score))
    return np.minimum.reduceat(rows, first)


def _true_shares(members: Sequence[np.ndarray], product: np.ndarray, row: np.ndarray) -> np.ndarray:
    """What `weights` reads: each member's share of the true candidates in `row`, [M, P]."""
    shares = np.empty((len(members), len(row)))
    for place, score in enumerate(members):  # one at a time: all rows of all may not fit
        if not (score >= 0).all():
            raise ValueError(f"member {place} has rows that are unscored or below 0")
        shares[place] = np.maximum(normalise(score, product)[row], LEAST)
    return shares
