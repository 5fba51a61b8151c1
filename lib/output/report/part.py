"""What the submitted blend says of the products of a part, ready to be counted and shown."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lib.output.predictions import top_rows
from lib.utils.groups import group_argmax


class TopClass(NamedTuple):
    """A candidate of a product and its probability."""

    class_id: int
    probability: float


@dataclass(frozen=True)
class PartPredictions:
    """Products of a labelled part, in the order of the catalog, and their candidates.

    origin: "out-of-fold" or "locked part". product: int32 [Q], rows of the catalog. label, best:
    int16 [Q], the class in the catalog and the most probable one. probability: float32 [Q], of
    `best`. group: int32 [Q], products that are right or wrong together; None: each by itself.
    row_product: int32 [R], ascending; row_class: int16 [R]; row_probability: float32 [R].
    """

    origin: str
    product: np.ndarray
    label: np.ndarray
    best: np.ndarray
    probability: np.ndarray
    group: np.ndarray | None
    row_product: np.ndarray
    row_class: np.ndarray
    row_probability: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether the most probable class is the catalog's: bool [Q]."""
        return self.best == self.label

    def top_classes(self, index: np.ndarray, k: int) -> list[list[TopClass]]:
        """The k most probable classes of some products, best first.

        index: int [n], positions in `product`.
        """
        tops = []
        for product in self.product[index].tolist():
            rows = slice(*np.searchsorted(self.row_product, [product, product + 1]))
            (top,) = top_rows(self.row_product[rows], self.row_probability[rows], k)
            classes, probs = self.row_class[rows], self.row_probability[rows]
            found = top[top >= 0]
            tops.append([TopClass(int(classes[row]), float(probs[row])) for row in found])
        return tops

    def own_probability(self) -> np.ndarray:
        """Probability of each product's label, 0 where it is no candidate: float32 [Q]."""
        index = np.searchsorted(self.product, self.row_product)
        own = self.row_class == self.label[index]
        probability = np.zeros(len(self.product), np.float32)
        probability[index[own]] = self.row_probability[own]
        return probability


def predictions_of_part(
    origin: str,
    row_product: np.ndarray,
    row_class: np.ndarray,
    row_probability: np.ndarray,
    label: np.ndarray,
    group: np.ndarray | None,
) -> PartPredictions:
    """The predictions of a part from its candidate rows.

    row_product: int32 [R], ascending. row_class: int16 [R]. row_probability: float32 [R].
    label: int16 [products of the catalog]. group: int32 [products of the catalog] or None.
    """
    best = group_argmax(row_probability, row_product)
    product = row_product[best]
    return PartPredictions(
        origin,
        product,
        label[product],
        row_class[best],
        row_probability[best],
        None if group is None else group[product],
        row_product,
        row_class,
        row_probability,
    )
