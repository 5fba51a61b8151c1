"""Parts and folds of the labelled products (C2, B1)."""

from pathlib import Path
from typing import Any

import numpy as np

from lib.catalogue.tables import FIT, HOLDOUT, LOCKED, write_table
from lib.config import Split
from lib.errors import UserError


def assign(
    product_id: np.ndarray, label: np.ndarray, split: Split, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """part int8 [P] and fold int8 [P] of each product.

    The test set of the competition is a random fifth of the products all along the ids and over
    the classes, so each part is a random draw by product, dealt class by class: a class of five
    products is spread over the parts as evenly as five allow. Whole products move, never single
    pictures. Depends on ids, labels and seed alone, not on the order of the file.
    """
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
        fold[rows] = (np.arange(len(rows)) + rng.integers(split.folds)) % split.folds
    parts, folds = np.empty_like(part), np.empty_like(fold)
    parts[dealt], folds[dealt] = part, fold
    return parts, folds


def build_splits(
    folder: Path, product_id: np.ndarray, label: np.ndarray, split: Split, seed: int
) -> dict[str, Any]:
    """Write `splits.arrow`; raises UserError where a part would be empty."""
    part, fold = assign(product_id, label, split, seed)
    sizes = {
        "fit": int((part == FIT).sum()),
        "holdout": int((part == HOLDOUT).sum()),
        "locked": int((part == LOCKED).sum()),
    }
    needed = ["fit", "locked"] + (["holdout"] if split.holdout else [])
    for name in needed:
        if sizes[name] < split.folds:
            raise UserError(
                f"split: {sizes[name]} products are too few for part {name} with"
                f" {split.folds} folds; raise its share or lower split.folds"
            )
    write_table(folder / "splits.arrow", {"part": part, "fold": fold})
    return sizes
