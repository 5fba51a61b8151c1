"""Weights over the members of the stack (C14), and what a product makes of its rows' scores.

Rows are candidates sorted by (product, class), so a product's rows are neighbours; every function
here works on those runs, never on a dense [products, classes].
"""

from collections.abc import Mapping, Sequence

import numpy as np

from lib.errors import UserError

Member = tuple[str, str, str]  # source, layer, booster

# The published blend, number for number. They do not sum to 1, and need not: only the order of a
# product's candidates counts. "lgbm" of the document's second line is its first LightGBM.
BEFORE = {"xgboost": 0.5, "lgbm_1": 0.1, "lgbm_2": 0.25}  # CNNs averaged before L2 and L3
AFTER = {"xgboost": 0.5, "lgbm_1": 0.25, "lgbm_2": 0.25}  # L2 and L3 for each CNN, merged after
ALL = {"before": 0.6, "multi": 0.2, "after": 0.3}
MULTI: Member = ("multi", "l2", "xgboost")

LEAST = 1e-9  # score of a true class below which its log loss no longer grows
TIE = 1e-12  # losses closer than this are the same


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
            ' stack.layer3 and xgboost into stack.multi, or set blend.final = "fitted"'
        )
    total = sum(model_weights.values())
    if not total > 0 or min(model_weights.values()) < 0:
        raise UserError(
            "the published blend needs models.NAME.weight of at least 0 with a sum above 0;"
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


def greedy(members: np.ndarray, product: np.ndarray, target: np.ndarray, steps: int) -> np.ndarray:
    """Weights float64 [M] of a greedy selection with replacement (Caruana et al. 2004), sum 1.

    members float32 [M, R]: scores of at least 0; product int32 [R] ascending; target int8 [R].
    The loss is the mean log loss of the true class's share of its product's blended scores. It
    needs of each member only the true row's score and the product's sum, so a step costs
    products x members. Products without their truth among the candidates cannot be won and are
    left out. Each step adds the member that lowers the loss most; on a tie one that is in already,
    then the first. The weights are those of the earliest step with the least loss.
    Raises ValueError where a member has unscored or negative rows, or no product has its truth.
    """
    if len(members) == 0 or steps < 1:
        raise ValueError(f"{len(members)} members and {steps} steps: at least one of each")
    true, total = _true_and_total(members, product, target)
    counts = np.zeros(len(members), np.int64)
    best, best_loss = counts, np.inf
    sum_true, sum_total = np.zeros(true.shape[1]), np.zeros(true.shape[1])
    for _ in range(steps):
        losses = np.array(
            [
                _log_loss(sum_true + own_true, sum_total + own_total)
                for own_true, own_total in zip(true, total, strict=True)
            ]
        )
        tied = np.flatnonzero(losses <= losses.min() + TIE)
        chosen = tied[np.argmax(counts[tied] > 0)]  # the first in use, else the first
        counts = counts + (np.arange(len(counts)) == chosen)
        sum_true, sum_total = sum_true + true[chosen], sum_total + total[chosen]
        if losses[chosen] < best_loss - TIE:
            best, best_loss = counts, losses[chosen]
    return best / best.sum()


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


def _first_best(score: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Row of the highest score of each run, the first of equals."""
    highest = np.repeat(np.maximum.reduceat(score, first), size)
    rows = np.where(score == highest, np.arange(len(score)), len(score))
    return np.minimum.reduceat(rows, first)


def _true_and_total(
    members: np.ndarray, product: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Score of the true row and sum over the rows, float64 [M, products with their truth]."""
    first, size = runs(product)
    row = np.flatnonzero(target == 1)
    run = np.repeat(np.arange(len(first)), size)[row]
    if len(row) == 0:
        raise ValueError("no product has its true class among its candidates")
    if (np.diff(run) == 0).any():
        raise ValueError("a product has two true classes")
    true = np.empty((len(members), len(row)))
    total = np.empty_like(true)
    for place, score in enumerate(members):  # one at a time: a float64 copy of all may not fit
        if not (score >= 0).all():
            raise ValueError(f"member {place} has rows that are unscored or below 0")
        true[place] = score[row]
        total[place] = np.add.reduceat(score.astype(np.float64), first)[run]
    return true, total


def _log_loss(true: np.ndarray, total: np.ndarray) -> float:
    share = np.divide(true, total, out=np.zeros_like(true), where=total > 0)
    return float(-np.log(np.maximum(share, LEAST)).mean())
