"""What stands near a product: labelled products with similar pictures, and with nearby ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.catalog import Catalog
from lib.output.report.blocks import Neighbor, Strip
from lib.output.report.names import ClassNames
from lib.output.report.pictures import Pictures
from lib.similarity.nearest_products import NearestProducts, neighbors_by_id

SIDE = 64  # pixels of a neighbor's picture
NUM_NEAREST, EACH_ID = 4, 2  # neighbors by pictures, and by id on either side


@dataclass(frozen=True)
class Neighborhood:
    """The labelled products, and which of them are near those of a page.

    nearest: of all products that may be shown, by their rows. labelled, names, pictures: of the
    labelled catalog. id_is_number: bool [P] of the labelled products, whose neighbors by id are
    shown too; None where ids tell nothing, or where the products of the page are others. most:
    neighbors by pictures that are shown.
    """

    nearest: NearestProducts
    labelled: Catalog
    names: ClassNames
    pictures: Pictures
    id_is_number: np.ndarray | None = None
    most: int = NUM_NEAREST

    def strips(
        self, products: Sequence[int], labels: Sequence[int] | None = None, folded: bool = False
    ) -> list[list[Strip]]:
        """The strips of each product: one by pictures and, where there are ids, one by ids.

        labels: class of each product, whose neighbors of that class are marked; None: no mark.
        """
        marks = [-1] * len(products) if labels is None else labels
        nearest = self._by_pictures(products, marks, folded)
        if self.id_is_number is None:
            return [[strip] for strip in nearest]
        by_id = self._by_id(self.id_is_number, products, marks, folded)
        return [
            [strip, other] if other.neighbors else [strip]
            for strip, other in zip(nearest, by_id, strict=True)
        ]

    def _by_pictures(
        self, products: Sequence[int], labels: Sequence[int], folded: bool
    ) -> list[Strip]:
        near = self.nearest
        strips = []
        for product, label in zip(products, labels, strict=True):
            found = [
                (
                    int(near.product[product, i]),
                    int(near.image[product, i]),
                    near.cosine[product, i],
                )
                for i in range(min(self.most, near.product.shape[1]))
                if near.product[product, i] >= 0
            ]
            uris = self.pictures.of_images([image for _, image, _ in found])
            neighbors = [
                self._neighbor(other, uri, label, f", {cosine:.2f}")
                for (other, _, cosine), uri in zip(found, uris, strict=True)
            ]
            strips.append(Strip("Nearest labelled pictures, with their cosine", neighbors, folded))
        return strips

    def _by_id(
        self,
        id_is_number: np.ndarray,
        products: Sequence[int],
        labels: Sequence[int],
        folded: bool,
    ) -> list[Strip]:
        index = np.array(products, np.int64)
        ids = self.labelled.product_id
        found = neighbors_by_id(ids, index, id_is_number, EACH_ID)
        strips = []
        for product, others, label in zip(products, found, labels, strict=True):
            others = others if id_is_number[product] else []
            uris = self.pictures.of_products(others, 1)
            neighbors = [
                self._neighbor(other, next(iter(uri), ""), label)
                for other, uri in zip(others, uris, strict=True)
            ]
            strips.append(Strip("Labelled neighbors by id", neighbors, folded))
        return strips

    def _neighbor(self, product: int, uri: str, label: int, detail: str = "") -> Neighbor:
        own = int(self.labelled.label[product])
        name = self.names.short[own]
        mark = "truth" if own == label else ""
        return Neighbor(uri, self.labelled.key(product), f"{name}{detail}", mark)
