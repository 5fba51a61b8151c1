"""Weights of a blend: greedy, of least loss, of members that help, or drawn towards the mean

They are fitted on `shares` float64 [M, P]: the share, above 0 and at most 1, that each of M members
gives the true candidate of each of P products. A blend of shares by weights that sum to 1 is again
a share, so its mean log loss needs nothing else of the rows, and is convex in the weights.
"""

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

METHODS = ("simple", "best", "greedy", "convex", "selected", "shrunk")
MIN_WEIGHT = 1e-6  # smaller weights are 0: their members need not be scored
GREEDY_STEPS = 50
TIE = 1e-12  # losses closer than this are equal
FRACTIONS = (0.5, 0.25, 0.0)  # of the way to the plain mean, the largest first


def fit_share_weights(
    method: str, shares: np.ndarray, fold: np.ndarray, greedy_steps: int = GREEDY_STEPS
) -> np.ndarray:
    """Weights float64 [M], at least 0 with sum 1.

    method: "simple" (all equal), "best" (the member with the least loss), "greedy" (`fit_greedy`),
        "convex" (`fit_simplex`), "selected" (`select_members`) or "shrunk" (`shrink_to_mean`).
    shares: float64 [M, P].
    fold: int [P], read by "selected" and "shrunk".

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
    if method == "shrunk":
        return shrink_to_mean(select_members(shares, fold), shares, fold)
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


def shrink_to_mean(weights: np.ndarray, shares: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Weights drawn towards the plain mean as far as the folds do not speak against it: [M].

    weights: float64 [M], fitted on all products. shares: float64 [M, P]. fold: int [P].

    A fraction of FRACTIONS of the way is gone, half of it at most. Its loss on a fold is that of
    the weights of the same members without this fold, drawn as far. The largest fraction is taken
    whose mean loss is within one standard error of the least, that of the paired difference. With
    fewer than two folds nothing tells, and half the way is gone.

    Source: the one-standard-error rule of Breiman et al. 1984, Classification and Regression Trees.
    """
    mean, used = np.full(len(weights), 1 / len(weights)), weights > 0
    losses = np.empty((len(FRACTIONS), shares.shape[1]))
    folds = np.unique(fold)
    for k in folds if len(folds) > 1 else ():
        own, refitted = fold == k, np.zeros(len(weights))
        refitted[used] = fit_simplex(shares[used][:, ~own])
        for row, fraction in zip(losses, FRACTIONS, strict=True):
            row[own] = -np.log(_between(refitted, mean, fraction) @ shares[:, own])
    if len(folds) < 2:
        return _between(weights, mean, FRACTIONS[0])
    excess = losses - losses[np.argmin(losses.mean(axis=1))]
    error = excess.std(axis=1) / np.sqrt(shares.shape[1])
    return _between(weights, mean, FRACTIONS[np.argmax(excess.mean(axis=1) <= error + TIE)])


def _between(weights: np.ndarray, mean: np.ndarray, fraction: float) -> np.ndarray:
    return (1 - fraction) * weights + fraction * mean


def _weights_without_folds(shares: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Weights of `fit_simplex` fitted without each fold, float64 [folds, M]."""
    return np.stack([fit_simplex(shares[:, fold != k]) for k in np.unique(fold)])


def _loss_on_folds(shares: np.ndarray, fold: np.ndarray) -> float:
    """Mean log loss of all products, each under weights that were fitted without its fold."""
    blended = np.empty(shares.shape[1])
    for k, weights in zip(np.unique(fold), _weights_without_folds(shares, fold), strict=True):
        blended[fold == k] = weights @ shares[:, fold == k]
    return share_log_loss(blended)
