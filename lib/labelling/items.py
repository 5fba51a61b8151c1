"""The products that people label, and each person's order.

All people label the same products, so that their labels can be compared; each person has a
different order. A digest covers everything that defines a task: labels of one task cannot be
mistaken for labels of another.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.catalog import Catalog, Categories
from lib.errors import UserError


@dataclass(frozen=True)
class LabellingTask:
    """The products to label and their classes.

    products: int64 [N], ascending rows of the catalog. truth: int16 [N], their true class ids.
    class_names: the name of each class on the page, by class id.
    """

    products: np.ndarray
    truth: np.ndarray
    class_names: list[str]
    seed: int
    digest: str

    def __len__(self) -> int:
        return len(self.products)

    def order(self, person: int) -> np.ndarray:
        """int64 [N]: index into `products` of the person's first, second, ... product."""
        return np.random.default_rng([self.seed, 12, person]).permutation(len(self))


def sample_task(
    catalog: Catalog, categories: Categories, products: np.ndarray, num_items: int, seed: int
) -> LabellingTask:
    """Draw at most `num_items` of `products` (int64) at random without replacement.

    Products without an image or without a label are left out. Raises UserError if none remains.
    """
    label = catalog.label[products]
    eligible = (catalog.image_count[products] > 0) & (label >= 0) & (label < len(categories))
    candidates = products[eligible].astype(np.int64)
    if not len(candidates):
        raise UserError("no labelled product with an image in this part; choose another --part")
    drawn = np.random.default_rng([seed, 11]).permutation(len(candidates))[:num_items]
    sample = np.sort(candidates[drawn])
    names = display_names(categories)
    truth = catalog.label[sample].astype(np.int16)
    return LabellingTask(sample, truth, names, seed, _digest(catalog, sample, names, seed))


def display_names(categories: Categories) -> list[str]:
    """The lowest level of each class's name; all its levels where several classes share it."""
    paths = [list(dict.fromkeys(level for level in name if level)) for name in categories.names]
    paths = [path or [categories.key(class_id)] for class_id, path in enumerate(paths)]
    leaves = [path[-1] for path in paths]
    names = [
        leaf if leaves.count(leaf) == 1 else " / ".join(path)
        for leaf, path in zip(leaves, paths, strict=True)
    ]
    if len(set(names)) < len(names):  # several ids with the same name at every level
        names = [f"{name} ({categories.key(class_id)})" for class_id, name in enumerate(names)]
    return names


def _digest(catalog: Catalog, products: np.ndarray, names: Sequence[str], seed: int) -> str:
    """SHA-256 of the seed, the class names, and the products with their labels and images."""
    digest = hashlib.sha256(json.dumps([seed, list(names)]).encode())
    for column in (catalog.product_id, catalog.label):
        digest.update(column[products].astype(np.int64).tobytes())
    digest.update(catalog.md5[catalog.images_of(products)].tobytes())
    return digest.hexdigest()
