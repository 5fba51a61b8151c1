"""Candidate rows without a catalog."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def candidate_rows(draw, least_products=1):
    """(product, class_id, target) sorted; some products have no truth among their candidates."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=least_products, max_size=12))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(1000, len(sizes), replace=False)).astype(np.int32)
    product = np.repeat(ids, sizes)
    class_id = np.concatenate([np.sort(rng.choice(50, size, replace=False)) for size in sizes])
    target = np.zeros(len(product), np.int8)
    for number in ids:
        rows = np.flatnonzero(product == number)
        if rng.random() < 0.8:
            target[rng.choice(rows)] = 1
    return product, class_id.astype(np.int16), target, rng


def many_rows(rng, products, members, folds=3):
    """(product, target, fold, members float32 [M, R]): three to six candidates, all with truth.

    Member 0 is best: truths are drawn from its scores; each further one is noisier.
    """
    size = rng.integers(3, 7, products)
    product = np.repeat(np.arange(products), size).astype(np.int32)
    fold = np.repeat(rng.integers(0, folds, products), size).astype(np.int8)
    logits = rng.normal(0, 2, len(product))
    target = np.zeros(len(product), np.int8)
    first = np.cumsum(size) - size
    for start, count in zip(first, size, strict=True):
        chance = np.exp(logits[start : start + count])
        target[start + rng.choice(count, p=chance / chance.sum())] = 1
    noise = rng.normal(0, 1, (members, len(product))) * np.arange(members)[:, None]
    return product, target, fold, np.exp(logits + noise).astype(np.float32)
