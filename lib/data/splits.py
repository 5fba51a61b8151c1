"""Parts and folds of the labelled products (C2, B1)."""

from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Split
from lib.data.catalog import FIT, HOLDOUT, LOCKED, write_table
from lib.errors import UserError


def assign(
    product_id: np.ndarray,
    label: np.ndarray,
    split: Split,
    seed: int,
    group: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """part int8 [P] and fold int8 [P] of each product.

    The test set of the competition is a random fifth of the products all along the ids and over
    the classes, so each part is a random draw by product, dealt class by class: a class of five
    products is spread over the parts as evenly as five allow. Whole products move, never single
    pictures. Depends on ids, labels and seed alone, not on the order of the file.

    group int32 [P]: products of the same number get the same part and fold. Then groups are dealt,
    each as one of its most frequent class, so shares hold for groups, and for products about.
    """
    if group is None:
        return _deal(product_id, label, split, seed)
    member, ids, labels = _as_products(product_id, label, group)
    part, fold = _deal(ids, labels, split, seed)
    return part[member], fold[member]


def _as_products(
    product_id: np.ndarray, label: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place int64 [P] of each product's group, and of each group id int64 and label int16 [G].

    A group's id is its least; its label is its most frequent, the least of equals.
    """
    _, member = np.unique(group, return_inverse=True)
    ids = np.full(1 + int(member.max()), np.iinfo(np.int64).max)
    np.minimum.at(ids, member, product_id)
    classes = 1 + int(label.max())
    pairs, counts = np.unique(member * classes + label, return_counts=True)
    best_first = np.lexsort((pairs, -counts, pairs // classes))
    heads = best_first[np.searchsorted(pairs[best_first] // classes, np.arange(len(ids)))]
    return member, ids, (pairs[heads] % classes).astype(np.int16)


def _deal(
    product_id: np.ndarray, label: np.ndarray, split: Split, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, 1])
    by_id = np.argsort(product_id, kind="stable")
    shuffled = by_id[rng.permutation(len(by_id))]
    dealt = shuffled[np.argsort(label[shuffled], kind="stable")]
    # A low-discrepancy walk over [0, 1): any run of neighbours, so any class, hits each part and
    # each fold in proportion.
    place = (rng.random() + np.arange(len(dealt)) * 0.6180339887498949) % 1.0
    part = np.full(len(dealt), FIT, np.int8)
    part[place < split.locked + split.holdout] = HOLDOUT
    part[place < split.locked] = LOCKED
    fold = np.full(len(dealt), -1, np.int8)
    for kind in (FIT, HOLDOUT):
        rows = np.flatnonzero(part == kind)
        fold[rows] = (np.arange(len(rows)) + rng.integers(split.n_folds)) % split.n_folds
    parts, folds = np.empty_like(part), np.empty_like(fold)
    parts[dealt], folds[dealt] = part, fold
    return parts, folds


def build_splits(
    folder: Path,
    product_id: np.ndarray,
    label: np.ndarray,
    split: Split,
    seed: int,
    group: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write `splits.arrow`; raises UserError where a part would be empty."""
    part, fold = assign(product_id, label, split, seed, group)
    kinds = {"fit": FIT, "holdout": HOLDOUT, "locked": LOCKED}
    needed = ["fit", "locked"] + (["holdout"] if split.holdout else [])
    for name in needed:
        rows = part == kinds[name]
        dealt = int(rows.sum()) if group is None else len(np.unique(group[rows]))
        if dealt < split.n_folds:
            what = "products" if group is None else "groups (data.group_by)"
            raise UserError(
                f"split: {dealt} {what} are too few for part {name} with"
                f" {split.n_folds} folds; raise its share or lower split.n_folds"
            )
    write_table(folder / "splits.arrow", {"part": part, "fold": fold})
    return {name: int((part == kind).sum()) for name, kind in kinds.items()}
