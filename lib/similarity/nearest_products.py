"""The products nearest to a product: by the most alike pair of their images, or by id"""

from typing import NamedTuple

import numpy as np

from lib.utils.chunks import chunks
from lib.utils.groups import group_starts, position_in_group

IMAGES = 262_144  # whose neighbors are sorted at a time


class NearestProducts(NamedTuple):
    """The nearest labelled products of others, most alike first.

    product: int32 [P, k], rows of the labelled catalog, -1 for none. cosine: float32 [P, k], of the
    most alike pair of images, -inf for none. image: int64 [P, k], the labelled image of that pair,
    -1 for none.
    """

    product: np.ndarray
    cosine: np.ndarray
    image: np.ndarray


def nearest_products(
    cosine: np.ndarray,
    row: np.ndarray,
    image_product: np.ndarray,
    labelled_product: np.ndarray,
    num_products: int,
    k: int,
) -> NearestProducts:
    """The k products whose images are nearest to those of each of `num_products` products.

    cosine: float32 [I, n] and row: int64 [I, n], the nearest labelled images of each image, -1 for
    none. image_product: int32 [I], ascending, the product of each image. labelled_product: int32
    [L], that of each labelled image. Of equal cosines the first product comes first.

    Products that are beyond the n nearest of every image are not found.
    """
    found = NearestProducts(
        np.full((num_products, k), -1, np.int32),
        np.full((num_products, k), -np.inf, np.float32),
        np.full((num_products, k), -1, np.int64),
    )
    starts = group_starts(image_product)
    for block in _blocks(starts, len(image_product)):
        _fill(found, cosine[block], row[block], image_product[block], labelled_product)
    return found


def _blocks(starts: np.ndarray, num_images: int) -> list[slice]:
    """Slices of about IMAGES images that no product's images are divided by."""
    if not len(starts):
        return []
    wanted = [rows.start for rows in chunks(num_images, IMAGES)]
    bounds = np.unique(starts[np.searchsorted(starts, wanted, side="right") - 1])
    return [slice(*pair) for pair in zip(bounds, [*bounds[1:], num_images], strict=True)]


def _fill(
    found: NearestProducts,
    cosine: np.ndarray,
    row: np.ndarray,
    image_product: np.ndarray,
    labelled_product: np.ndarray,
) -> None:
    """Fill the rows of the products of some images."""
    flat_row = np.asarray(row).ravel()
    exists = flat_row >= 0
    query = np.repeat(image_product, row.shape[1])[exists]
    value, image = np.asarray(cosine).ravel()[exists], flat_row[exists]
    product = labelled_product[image]

    best = np.lexsort((image, -value, product, query))  # of a pair of products the best images
    query, product, value, image = (a[best] for a in (query, product, value, image))
    first = (np.diff(product, prepend=-1) != 0) | (np.diff(query, prepend=-1) != 0)
    query, product, value, image = (a[first] for a in (query, product, value, image))

    order = np.lexsort((product, -value, query))
    query, product, value, image = (a[order] for a in (query, product, value, image))
    rank = position_in_group(query)
    kept = rank < found.product.shape[1]
    place = query[kept], rank[kept]
    found.product[place], found.cosine[place] = product[kept], value[kept]
    found.image[place] = image[kept]


def neighbors_by_id(
    product_id: np.ndarray, products: np.ndarray, among: np.ndarray, each: int
) -> list[list[int]]:
    """The products with the nearest smaller and larger ids, in the order of their ids.

    product_id: int64 [P], of all products. products: int [n], whose neighbors are wanted. among:
    bool [P], products that may be neighbors. each: how many on either side. A product is none of
    its own neighbors.
    """
    candidates = np.flatnonzero(among)
    candidates = candidates[np.argsort(product_id[candidates], kind="stable")]
    ids = product_id[candidates]
    neighbors = []
    for product in products.tolist():
        left, right = (
            np.searchsorted(ids, product_id[product], side) for side in ("left", "right")
        )
        below = candidates[max(0, left - each) : left]
        neighbors.append([*below.tolist(), *candidates[right : right + each].tolist()])
    return neighbors
