"""Which rows an epoch shows: class balance, one image per product, hard examples.

The result is a list of rows, some of them repeated; `EpochOrder` puts them in order. It follows
from (seed, epoch) and the weights alone, so that a resumed run draws the same rows again.
"""

import numpy as np

from lib.config.model import Sampling
from lib.utils.groups import sample_one_per_group

SEED_SALT = 0x5A3B  # keeps these random numbers apart from those of the order


def sample_rows(
    sampling: Sampling,
    rows: np.ndarray,
    labels: np.ndarray,
    product: np.ndarray,
    seed: int,
    epoch: int,
    hardness: np.ndarray,
) -> np.ndarray:
    """Rows of an epoch: int64, ascending, repeated as often as each is shown.

    rows: int64 [n], ascending, rows that train.
    labels: int16 [R], class id of each row.
    product: int32 [R], product of each row; rows of a product are consecutive.
    hardness: float [n], 1 - p of the true class when `rows[i]` was last shown; read only if
        `sampling.hard_example_weight` is set.

    Every epoch has the same number of rows.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch, SEED_SALT]))
    if sampling.one_image_per_product:
        index = sample_one_per_group(product[rows], rng)
        rows, hardness = rows[index], hardness[index] if sampling.hard_example_weight else hardness
    if not sampling.class_balance and not sampling.hard_example_weight:
        return rows
    weights = np.ones(len(rows))
    if sampling.class_balance:
        sizes = np.bincount(labels[rows])
        weights *= np.maximum(sizes, 1)[labels[rows]] ** -sampling.class_balance
    if sampling.hard_example_weight:
        weights *= 1 + sampling.hard_example_weight * hardness
    return np.repeat(rows, _draw_counts(weights, rng))


def num_rows_of_epoch(sampling: Sampling, rows: np.ndarray, product: np.ndarray) -> int:
    """Number of rows that `sample_rows` returns."""
    return len(np.unique(product[rows])) if sampling.one_image_per_product else len(rows)


def _draw_counts(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each of n rows is shown, in proportion to its weight: int64 [n] with sum n.

    Each row gets its share of n, rounded up or down at random: the counts vary far less than with
    n independent draws. Then rows are dropped or added at random until the sum is n.
    """
    n = len(weights)
    share = weights * (n / weights.sum())
    counts = np.floor(share + rng.random(n)).astype(np.int64)
    surplus = int(counts.sum()) - n
    if surplus > 0:
        shown = np.repeat(np.arange(n), counts)
        counts -= np.bincount(shown[rng.permutation(len(shown))[:surplus]], minlength=n)
    elif surplus < 0:
        added = rng.choice(n, -surplus, p=weights / weights.sum())
        counts += np.bincount(added, minlength=n)
    return counts
