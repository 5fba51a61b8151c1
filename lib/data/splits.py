"""Splits of the labelled products: fit, holdout and locked parts, and folds."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lib.config.schema import Split
from lib.data.catalog import FIT, HOLDOUT, LOCKED, PARTS, write_table
from lib.errors import UserError

logger = logging.getLogger(__name__)

WORDS = {
    **dict.fromkeys(("train", "training", "fit"), FIT),
    **dict.fromkeys(("valid", "validation", "val", "dev", "holdout"), HOLDOUT),
    **dict.fromkeys(("test", "testing", "eval", "locked"), LOCKED),
}
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


class GivenSplit(NamedTuple):
    """What a catalog itself says of its products: part int8 [P] (HOLDOUT for "valid"), and the
    number of a fold int64 [P], -1 for none."""

    part: np.ndarray
    number: np.ndarray


def part_of_word(value: str) -> int | None:
    """The part that a value of a split column means, FIT for the number of a fold; None: none."""
    if value.isascii() and value.isdigit():
        return FIT
    return WORDS.get(value.lower())


def num_folds(values: Iterable[str]) -> int:
    """How many folds the values of a split column number; one number alone is a word for train."""
    count = len({int(value) for value in values if value.isascii() and value.isdigit()})
    return count if count > 1 else 0


def read_given(
    values: Sequence[str], n_folds: int, place: str, key_of: Callable[[int], str]
) -> GivenSplit:
    """The split that a column of a catalog gives.

    values: [P], such as "train", "test" or "3". n_folds: that are wanted. place: the file and its
    column, and key_of: the id of product i, for messages. Raises UserError for a product without a
    value or with another word, and for fewer numbers of folds than are wanted.
    """
    of_value = {value: part_of_word(value) for value in set(values)}
    unclear = [row for row, value in enumerate(values) if of_value[value] is None]
    if unclear:
        value = values[unclear[0]]
        what = f"says {value!r}" if value else "is empty"
        raise UserError(
            f"{place} {what} for product {key_of(unclear[0])} ({len(unclear):,} of {len(values):,}"
            " products are unclear); write train, valid or test, or the number of a fold, for each"
        )
    count = num_folds(of_value)
    if 0 < count < n_folds:
        raise UserError(
            f"{place} has {count} folds, fewer than split.n_folds = {n_folds}; lower split.n_folds,"
            " and n_folds of the models to a divisor of it"
        )
    part = np.array([of_value[value] for value in values], np.int8)
    number = np.array([int(v) if count and v.isdigit() else -1 for v in values], np.int64)
    return GivenSplit(part, number)


def assign_given(
    product_id: np.ndarray,
    label: np.ndarray,
    split: Split,
    seed: int,
    group: np.ndarray | None,
    given: GivenSplit,
) -> tuple[np.ndarray, np.ndarray]:
    """part int8 [P] and fold int8 [P] as the catalog gives them; the rest as `assign_splits`.

    test is the locked part; without test, valid is. Else valid is the holdout part where boosters
    train on one (split.holdout above 0), and one more part of fit where they do not. Without
    either, the locked part is drawn. Products of one given fold stay in one fold; of more folds
    than split.n_folds, several become one.
    """
    part = given.part.copy()
    if not (part == LOCKED).any() and not split.holdout:
        part[part == HOLDOUT] = LOCKED
    is_held, is_valid = part == LOCKED, (part == HOLDOUT) & (split.holdout > 0)
    whole = replace(split, locked=0.0, holdout=0.0)
    drawn = replace(
        split,
        locked=0.0 if is_held.any() else split.locked,
        holdout=0.0 if is_valid.any() else split.holdout,
    )
    fold = np.full(len(part), -1, np.int8)
    for rows, how in ((~is_held & ~is_valid, drawn), (is_valid, whole)):
        if rows.any():
            own = None if group is None else group[rows]
            found, fold[rows] = assign_splits(product_id[rows], label[rows], how, seed, own)
            part[rows] = HOLDOUT if how is whole else found
    numbers, rank = np.unique(given.number, return_inverse=True)
    numbered = (given.number >= 0) & (part != LOCKED)
    fold[numbered] = ((rank - (numbers < 0).sum()) % split.n_folds)[numbered]
    return part, fold


def num_groups_apart(group: np.ndarray, part: np.ndarray, fold: np.ndarray) -> int:
    """How many groups have products in several parts or folds."""
    place = part.astype(np.int64) * 1000 + fold
    pairs = np.unique(np.column_stack([group, place]), axis=0)
    return int((np.unique(pairs[:, 0], return_counts=True)[1] > 1).sum())


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
    given: GivenSplit | None = None,
) -> dict[str, Any]:
    """Write `splits.arrow`; returns the size of each part. Arguments as of `assign_given`.

    Raises UserError if a part would have fewer products or groups than there are folds.
    """
    if given is None:
        part, fold = assign_splits(product_id, label, split, seed, group)
    else:
        part, fold = assign_given(product_id, label, split, seed, group, given)
        if group is not None and (apart := num_groups_apart(group, part, fold)):
            logger.warning(
                "%s groups of products that are alike or belong together are in several parts or"
                " folds, as data.split_column says; figures are too high for other products",
                f"{apart:,}",
            )
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
