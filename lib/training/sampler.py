"""Which pictures an epoch shows (O5, T4): as they are, by class, one of a product, the hard ones.

The answer is a list of rows, some of them several times; in which order they come is
`EpochOrder`'s. It follows from (seed, epoch) and the weights alone, so a resumed run draws it anew.
"""

import numpy as np

from lib.config.model import Sampling

DRAW = 0x5A3B  # parts these random numbers from those of the order


def rows_of_epoch(
    sampling: Sampling,
    rows: np.ndarray,
    labels: np.ndarray,
    product: np.ndarray,
    seed: int,
    epoch: int,
    hardness: np.ndarray,
) -> np.ndarray:
    """Rows int64, ascending, repeated as often as they are shown; as many in every epoch.

    rows int64 [n] ascending; labels int16 and product int32 [I], indexed by row: pictures of a
    product are neighbours. hardness float [n]: 1 - p of the true class when `rows[i]` was last
    seen, read only if the setting asks for it.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch, DRAW]))
    if sampling.one_image_per_product:
        shown = _one_of_each(product[rows], rng)
        rows, hardness = rows[shown], hardness[shown] if sampling.hard_example_weight else hardness
    weights = np.ones(len(rows))
    if sampling.class_balance:
        sizes = np.bincount(labels[rows])
        weights *= np.maximum(sizes, 1)[labels[rows]] ** -sampling.class_balance
    if sampling.hard_example_weight:
        weights *= 1 + sampling.hard_example_weight * hardness
    if not sampling.class_balance and not sampling.hard_example_weight:
        return rows
    return np.repeat(rows, _copies(weights, rng))


def count_of_epoch(sampling: Sampling, rows: np.ndarray, product: np.ndarray) -> int:
    """How many pictures `rows_of_epoch` returns."""
    return len(np.unique(product[rows])) if sampling.one_image_per_product else len(rows)


def _one_of_each(owner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A place in each run of equal owners, drawn evenly: int64."""
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    size = np.diff(first, append=len(owner))
    return first + (rng.random(len(first)) * size).astype(np.int64)


def _copies(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each of n rows comes, int64 [n] with sum n, in proportion to the weights.

    Each its share rounded up or down by chance, which varies far less than n independent draws;
    the few that this makes too many or too few are taken or given at random.
    """
    n = len(weights)
    share = weights * (n / weights.sum())
    copies = np.floor(share + rng.random(n)).astype(np.int64)
    surplus = int(copies.sum()) - n
    if surplus > 0:
        drawn = np.repeat(np.arange(n), copies)
        copies -= np.bincount(drawn[rng.permutation(len(drawn))[:surplus]], minlength=n)
    elif surplus < 0:
        chosen = rng.choice(n, -surplus, p=weights / weights.sum())
        copies += np.bincount(chosen, minlength=n)
    return copies
