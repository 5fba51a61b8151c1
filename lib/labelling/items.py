"""Which products people are asked about, and in which order (Q2).

All people get the same products, so that they can be compared, each in an order of their own. What
a sheet is made of is in its digest: labels of one sheet are no answers to another.
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
    """products int64 [N] ascending rows of the catalogue, and their true classes, truth int16 [N].

    names: what each class is called on the page, in the order of the classes.
    """

    products: np.ndarray
    truth: np.ndarray
    names: list[str]
    seed: int
    digest: str

    def __len__(self) -> int:
        return len(self.products)

    def order(self, person: int) -> np.ndarray:
        """int64 [N]: the place on the sheet of what this person is asked first, second, ..."""
        return np.random.default_rng([self.seed, 12, person]).permutation(len(self))


def draw(
    catalogue: Catalog, classes: Categories, part: np.ndarray, drawings: int, seed: int
) -> LabellingTask:
    """At most `drawings` of the products `part` int64, at random without replacement.

    Only products that have a picture and a known class. Raises UserError where there are none.
    """
    label = catalogue.label[part]
    can = (catalogue.image_count[part] > 0) & (label >= 0) & (label < len(classes))
    able = part[can].astype(np.int64)
    if not len(able):
        raise UserError("the part has no labelled product with a picture; choose another --part")
    drawn = np.random.default_rng([seed, 11]).permutation(len(able))[:drawings]
    products = np.sort(able[drawn])
    names = shown_names(classes)
    digest = _digest(catalogue, products, names, seed)
    return LabellingTask(products, catalogue.label[products].astype(np.int16), names, seed, digest)


def shown_names(classes: Categories) -> list[str]:
    """Of each class: its lowest level, or all of them where that would stand for several."""
    paths = [list(dict.fromkeys(level for level in name if level)) for name in classes.names]
    paths = [path or [classes.key(cls)] for cls, path in enumerate(paths)]
    whole = [" / ".join(path) for path in paths]
    last = [path[-1] for path in paths]
    names = [
        short if last.count(short) == 1 else long for short, long in zip(last, whole, strict=True)
    ]
    if len(set(names)) < len(names):  # ids that share all their names
        names = [f"{name} ({classes.key(cls)})" for cls, name in enumerate(names)]
    return names


def _digest(catalogue: Catalog, products: np.ndarray, names: Sequence[str], seed: int) -> str:
    """SHA-256 over the seed, the classes, and the products with their labels and pictures."""
    found = hashlib.sha256(json.dumps([seed, list(names)]).encode())
    for columns in (catalogue.product_id, catalogue.label):
        found.update(columns[products].astype(np.int64).tobytes())
    found.update(catalogue.md5[catalogue.images_of(products)].tobytes())
    return found.hexdigest()
