"""Predictions of a part, made of a table of candidates or drawn at random."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.data.catalog import Catalog, Categories
from lib.output.report.blocks import OUT_OF_FOLD
from lib.output.report.names import ClassNames
from lib.output.report.neighbors import Neighborhood
from lib.output.report.part import PartPredictions, predictions_of_part
from lib.similarity.nearest_products import NearestProducts

SCRIPT = "<script>alert(1)</script>"


def part_of(
    probs: Sequence[Sequence[float]],
    label: Sequence[int],
    group: Sequence[int] | None = None,
    origin: str = OUT_OF_FOLD,
) -> PartPredictions:
    """Product i has a candidate for each class of probs[i] that is not 0."""
    matrix = np.array(probs, np.float32)
    product, class_id = np.nonzero(matrix)
    return predictions_of_part(
        origin,
        product.astype(np.int32),
        class_id.astype(np.int16),
        matrix[product, class_id],
        np.array(label, np.int16),
        None if group is None else np.array(group, np.int32),
    )


def random_part(
    num_products: int, num_classes: int, seed: int = 0, origin: str = OUT_OF_FOLD
) -> PartPredictions:
    """Labels are drawn from the probabilities, so that these are calibrated."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(num_classes, 0.4), num_products).astype(np.float32)
    label = [rng.choice(num_classes, p=row / row.sum()) for row in probs.astype(np.float64)]
    return part_of(np.maximum(probs, 1e-6).tolist(), label, origin=origin)


def categories(num_classes: int, levels: bool = True) -> Categories:
    """Classes of two categories of level 1; the first class has a script for a name."""
    names = [("TOP" if c % 2 else "OTHER", "", f"LEAF {c}") for c in range(num_classes)]
    names[0] = ("OTHER", "", SCRIPT)
    if not levels:
        names = [("", "", "")] * num_classes
    return Categories(np.arange(100, 100 + num_classes), names)


def catalog_of(label: Sequence[int], image_product: Sequence[int] | None = None) -> Catalog:
    """A catalog without files: products 1000, 1001, ... with these labels.

    image_product: ascending, the product of each image; by default each product has one.
    """
    num_products = len(label)
    product = np.arange(num_products) if image_product is None else np.array(image_product, int)
    first = np.searchsorted(product, np.arange(num_products))
    count = np.bincount(product, minlength=num_products).astype(np.int16)
    zeros = np.zeros(len(product), np.int64)
    md5 = np.repeat(np.arange(len(product)), 2).reshape(-1, 2).astype(np.uint64)
    return Catalog(
        path=Path("none.bson"),
        product_id=1000 + np.arange(num_products),
        label=np.array(label, np.int16),
        first_image=first,
        image_count=count,
        image_product=product.astype(np.int32),
        image_position=zeros.astype(np.int16),
        offset=zeros,
        length=zeros.astype(np.int32),
        md5=md5,
    )


def neighborhood(catalog: Catalog, names: ClassNames, by_id: bool = True) -> Neighborhood:
    """Each product is near the next two of the catalog, the last ones near fewer."""
    num_products = len(catalog.product_id)
    product = np.arange(num_products, dtype=np.int32)[:, None] + [1, 2]
    product = np.where(product < num_products, product, -1).astype(np.int32)
    cosine = np.where(product >= 0, [[0.9, 0.8]], -np.inf).astype(np.float32)
    is_number = np.ones(num_products, bool) if by_id else None
    near = NearestProducts(product, cosine, product.astype(np.int64))
    return Neighborhood(near, catalog, names, NoPictures(), is_number)  # type: ignore[arg-type]


class NoPictures:
    """Names instead of pictures."""

    found = True

    def of_products(self, products: Sequence[int], most: int = 4) -> list[list[str]]:
        """A name for each product."""
        return [[f"picture of {product}"] for product in products]

    def of_images(self, rows: Sequence[int]) -> list[str]:
        """A name for each image."""
        return [f"image {row}" for row in rows]
