"""Splits of the labelled products: fit, holdout and locked parts, and folds."""

from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Split
from lib.data.catalog import FIT, HOLDOUT, LOCKED, PARTS, write_table
from lib.errors import UserError

WATCHED_FRACTION = 0.05  # of the products of a training set
MAX_WATCHED = 5_000  # products; an accuracy then has a standard error of at most 0.7 points
GOLDEN_RATIO = 0.6180339887498949  # its fractional part


def assign_splits(
    product_id: np.ndarray,
    label: np.ndarray,
    split: Split,
    seed: int,
    group: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """part int8 [P] and fold int8 [P] of each product.

    The test set of the Cdiscount competition is a random fifth of the products, over all ids and
    classes. So each part is a random draw of products, stratified by class: even a class of five
    products is distributed as evenly as five allow. The images of a product stay together. The
    result depends on ids, labels and seed alone, not on the order of the file.

    product_id: int64 [P]. label: int16 [P], class_id.
    group: int32 [P], products with the same number get the same part and fold. Groups are then
        assigned by their most frequent class, so fractions hold for groups, and roughly for
        products.
    """
    if group is None:
        return _stratified_assign(product_id, label, split, seed)
    group_row, ids, labels = _groups_as_products(product_id, label, group)
    part, fold = _stratified_assign(ids, labels, split, seed)
    return part[group_row], fold[group_row]


def _groups_as_products(
    product_id: np.ndarray, label: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row int64 [P] of each product's group, and id int64 [G] and label int16 [G] of each group.

    A group's id is its smallest. Its label is its most frequent; ties go to the smallest.
    """
    _, group_row = np.unique(group, return_inverse=True)
    ids = np.full(1 + int(group_row.max()), np.iinfo(np.int64).max)
    np.minimum.at(ids, group_row, product_id)
    num_classes = 1 + int(label.max())
    pairs, counts = np.unique(group_row * num_classes + label, return_counts=True)
    by_frequency = np.lexsort((pairs, -counts, pairs // num_classes))
    first = np.searchsorted(pairs[by_frequency] // num_classes, np.arange(len(ids)))
    return group_row, ids, (pairs[by_frequency[first]] % num_classes).astype(np.int16)


def _stratified_assign(
    product_id: np.ndarray, label: np.ndarray, split: Split, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, 1])
    by_id = np.argsort(product_id, kind="stable")
    shuffled = by_id[rng.permutation(len(by_id))]
    order = shuffled[np.argsort(label[shuffled], kind="stable")]
    # A low-discrepancy sequence over [0, 1): any run of neighbors, so any class, falls into each
    # part and each fold in proportion.
    position = (rng.random() + np.arange(len(order)) * GOLDEN_RATIO) % 1.0
    part = np.full(len(order), FIT, np.int8)
    part[position < split.locked + split.holdout] = HOLDOUT
    part[position < split.locked] = LOCKED
    fold = np.full(len(order), -1, np.int8)
    for number in (FIT, HOLDOUT):
        rows = np.flatnonzero(part == number)
        fold[rows] = (np.arange(len(rows)) + rng.integers(split.n_folds)) % split.n_folds
    parts, folds = np.empty_like(part), np.empty_like(fold)
    parts[order], folds[order] = part, fold
    return parts, folds


def split_watched(
    products: np.ndarray, group: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Products that train, and a random share of them that is watched instead; int64 each.

    products: int64 [n], ascending. group: int32 [P], products with the same number stay together;
    None = none do. At least one group is watched, if there are two.
    """
    key = products if group is None else group[products]
    _, row, sizes = np.unique(key, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return products, products[:0]
    wanted = min(MAX_WATCHED, max(round(WATCHED_FRACTION * len(products)), int(sizes.min())))
    order = np.random.default_rng([seed, 2]).permutation(len(sizes))
    order = order[sizes[order] <= wanted]  # a group as large as that would be all that is watched
    is_watched = np.zeros(len(sizes), bool)
    is_watched[order[np.cumsum(sizes[order]) <= wanted]] = True
    return products[~is_watched[row]], products[is_watched[row]]


def build_splits(
    folder: Path,
    product_id: np.ndarray,
    label: np.ndarray,
    split: Split,
    seed: int,
    group: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write `splits.arrow`; returns the size of each part. Arguments as of `assign_splits`.

    Raises UserError if a part would have fewer products or groups than there are folds.
    """
    part, fold = assign_splits(product_id, label, split, seed, group)
    for name in ["fit", "locked", *(["holdout"] if split.holdout else [])]:
        _check_enough(name, part == PARTS[name], split, group)
    groups = {} if group is None else {"group": group}
    write_table(folder / "splits.arrow", {"part": part, "fold": fold, **groups})
    return {name: int((part == number).sum()) for name, number in PARTS.items()}


def _check_enough(name: str, selected: np.ndarray, split: Split, group: np.ndarray | None) -> None:
    count = int(selected.sum()) if group is None else len(np.unique(group[selected]))
    if count < split.n_folds:
        unit = (
            "products" if group is None else "groups of products that stay together (data.group_by)"
        )
        remedy = "lower split.locked or split.holdout" if name == "fit" else f"raise split.{name}"
        raise UserError(
            f"split: {count} {unit} are too few for part {name} with {split.n_folds} folds;"
            f" {remedy}, or lower split.n_folds"
        )
