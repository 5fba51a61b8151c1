"""Weights of the members of a blend, from what each gives the true candidates (C14, T6).

Everything here works on `shares` float64 [M, P]: the share, above 0 and at most 1, that each of M
members gives the true candidate of each of P products. A blend of shares by weights that sum to 1
is again a share, so its mean log loss needs nothing else of the rows, and is convex in the weights.
"""

import numpy as np
from scipy.optimize import nnls

TIE = 1e-12  # losses closer than this are the same
GAP = 1e-7  # how far the loss of `convex` may be from the least there is
LEAST_WEIGHT = 1e-6  # smaller weights are 0: their members need not be scored
ROUNDS = 200  # Newton steps; about six are needed
METHODS = ("simple", "best", "greedy", "convex", "selected")


def fit(how: str, shares: np.ndarray, fold: np.ndarray, steps: int) -> np.ndarray:
    """Weights float64 [M], at least 0 with sum 1, by one of METHODS.

    "simple": all equal; "best": the one member with the least loss; the others are functions below.
    fold int [P]: read by "selected"; steps: of "greedy". Raises ValueError for no members, no
    products, and another name.
    """
    if shares.size == 0:
        raise ValueError(f"{shares.shape[0]} members and {shares.shape[1]} products")
    if how == "greedy":
        return greedy(shares, steps)
    if how == "convex":
        return convex(shares)
    if how == "selected":
        return selected(shares, fold)
    if how == "simple":
        return np.full(len(shares), 1 / len(shares))
    if how == "best":
        best = np.argmin([log_loss(share) for share in shares])
        return np.eye(len(shares))[best]
    raise ValueError(f"{how}: none of {', '.join(METHODS)}")


def log_loss(share: np.ndarray) -> float:
    """Mean log loss of float64 [P] shares of the truth."""
    return float(-np.log(share).mean())


def greedy(shares: np.ndarray, steps: int) -> np.ndarray:
    """Weights of a greedy selection with replacement (Caruana et al. 2004), float64 [M].

    Each of `steps` steps adds the member that lowers the loss most; on a tie one that is in
    already, then the first. The weights are those of the earliest step with the least loss.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps: at least one")
    counts = np.zeros(len(shares), np.int64)
    best, best_loss = counts, np.inf
    total = np.zeros(shares.shape[1])
    for step in range(1, steps + 1):
        losses = np.array([log_loss((total + own) / step) for own in shares])
        tied = np.flatnonzero(losses <= losses.min() + TIE)
        chosen = tied[np.argmax(counts[tied] > 0)]  # the first in use, else the first
        counts = counts + (np.arange(len(counts)) == chosen)
        total += shares[chosen]
        if losses[chosen] < best_loss - TIE:
            best, best_loss = counts, losses[chosen]
    return best / best.sum()


def convex(shares: np.ndarray, gap: float = GAP) -> np.ndarray:
    """The weights with the least loss of all, float64 [M].

    With the weights w and the blend's shares b = w @ shares, each member's mean of shares / b is at
    most 1 where w is best, and for any w the greatest of them less 1 bounds how much loss there is
    to gain; it is what stops the search. (Multiplying each weight by its mean, the EM step, goes
    the same way but needs ten thousand rounds where members are alike.) A Newton step minimises
    the quadratic model of the loss over weights of at least 0, a least-squares problem in M
    unknowns, and is halved until the loss falls.
    """
    weights = np.full(len(shares), 1 / len(shares))
    blended = weights @ shares
    loss = log_loss(blended)
    for _ in range(ROUNDS):
        ratio = shares / blended
        mean = ratio.mean(axis=1)
        if mean.max() - 1 < gap:
            break
        aim = _newton_aim(ratio, mean)
        step = 1.0
        while step > TIE:
            moved = weights + step * (aim - weights)
            if (moved_loss := log_loss(moved @ shares)) < loss:
                break
            step /= 2
        else:
            break  # rounding hides what there is left to gain
        weights, blended, loss = moved, moved @ shares, moved_loss
    weights = np.where(weights < LEAST_WEIGHT, 0, weights)
    return weights / weights.sum()


def selected(shares: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Weights of `convex` over the members that folds do not show to be needless, float64 [M].

    fold int [P]. The loss of a set of members is that of each fold under weights fitted on the
    others. Members without weight on any fold go first, which changes nothing; then, as long as
    the loss does not grow, the one whose absence makes it least. What remains is fitted on all
    products. With fewer than two folds there is nothing to choose by, and all are fitted.
    """
    if len(np.unique(fold)) < 2:
        return convex(shares)
    kept = np.flatnonzero(_without_own_fold(shares, fold).any(axis=0))
    loss = _loss_on_folds(shares[kept], fold)
    while len(kept) > 1:
        losses = [_loss_on_folds(shares[kept[kept != member]], fold) for member in kept]
        needless = int(np.argmin(losses))
        if losses[needless] > loss + TIE:
            break
        kept, loss = np.delete(kept, needless), losses[needless]
    weights = np.zeros(len(shares))
    weights[kept] = convex(shares[kept])
    return weights


def _newton_aim(ratio: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Where the quadratic model of the loss at the present weights is least, float64 [M], sum 1.

    ratio [M, P]: shares over the blend's share; mean [M]: over products, less 1 the slope. The sum
    of the weights is added to the loss instead of a constraint: at the minimum it is 1 by itself.
    """
    curve = ratio @ ratio.T / ratio.shape[1]
    # Members that are alike make it singular; the least bit of ridge shares weight among them.
    root = np.linalg.cholesky(curve + 1e-10 * np.trace(curve) * np.eye(len(curve)))
    aim = nnls(root.T, np.linalg.solve(root, 2 * mean - 1))[0]
    return aim / aim.sum()


def _without_own_fold(shares: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Weights of `convex` fitted without each fold, float64 [folds, M]."""
    return np.stack([convex(shares[:, fold != k]) for k in np.unique(fold)])


def _loss_on_folds(shares: np.ndarray, fold: np.ndarray) -> float:
    """Mean log loss of all products, each under weights that were fitted without its fold."""
    blended = np.empty(shares.shape[1])
    for k, weights in zip(np.unique(fold), _without_own_fold(shares, fold), strict=True):
        blended[fold == k] = weights @ shares[:, fold == k]
    return log_loss(blended)
