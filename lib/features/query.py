"""The products that are queried, and their images.

`query_row` is the index of a product in `Query.products`; candidate rows and arrays by product
refer to it. An index into `Query.images` refers to a row of every `TopK` of the part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.catalog import Catalog
from lib.errors import UserError
from lib.inference.topk import TopK
from lib.utils.chunks import chunks
from lib.utils.groups import group_index

PARTITION = 50_000  # products whose predictions, rows and columns are in memory at a time
PARTITION_ROWS = 500_000  # rows whose scores are in memory at a time, and those of one product more


@dataclass(frozen=True)
class Query:
    """Some products of a catalog and all their images.

    products: int64 [Q], ascending rows of the catalog's products.
    images: int64 [n], ascending rows of the catalog's images, as in `TopK.image`.
    image_start: int64 [Q], index of each product's first image in `images`.
    image_count: int64 [Q], number of images of each product.
    """

    products: np.ndarray
    images: np.ndarray
    image_start: np.ndarray
    image_count: np.ndarray

    def query_row_of_image(self) -> np.ndarray:
        """The query row of each image: int64 [n]."""
        return group_index(self.image_count)

    def image_slice(self, query_rows: slice) -> slice:
        """Which of `images` belong to a non-empty slice of query rows."""
        last = query_rows.stop - 1
        first = int(self.image_start[query_rows.start])
        return slice(first, int(self.image_start[last] + self.image_count[last]))

    def image_at(self, query_row: np.ndarray, position: int) -> np.ndarray:
        """Index in `images` of the image at a position of each product: int64 [R], -1 for none.

        query_row: int64 [R]; position: 0 for the first image of a product.
        """
        has_image = position < self.image_count[query_row]
        return np.where(has_image, self.image_start[query_row] + position, -1)

    def row_image_pairs(self, query_row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All pairs of a row and an image of its product: (row, index in `images`), int64 [p] each.

        query_row: int64 [R]. Rows ascend, and the images of each row.
        """
        count = self.image_count[query_row]
        row = group_index(count)
        position = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        return row, self.image_start[query_row][row] + position


def partitions(num_products: int) -> list[slice]:
    """The partitions of the products of a part: slices of PARTITION products, at least one."""
    return list(chunks(num_products, PARTITION)) or [slice(0, 0)]


def rows_of_products(product: np.ndarray, products: np.ndarray) -> slice:
    """The rows of some neighboring products of a part.

    product: int32 [R], ascending, of all candidate rows of the part; may be memory-mapped.
    products: int64 [Q], ascending, no product of the part between two of them left out.
    """
    if not len(products):
        return slice(0, 0)
    first, last = products[[0, -1]].astype(product.dtype)  # of another dtype all would be copied
    return slice(int(np.searchsorted(product, first)), int(np.searchsorted(product, last, "right")))


def row_partitions(product: np.ndarray) -> Iterator[slice]:
    """Partitions of candidate rows that end between products: slices, at least one.

    product: int32 [R], ascending, of each row; may be memory-mapped.
    """
    start = 0
    while start < len(product):
        last = product[min(start + PARTITION_ROWS, len(product)) - 1]
        stop = int(np.searchsorted(product, last, "right"))
        yield slice(start, stop)
        start = stop
    if not len(product):
        yield slice(0, 0)


def with_imageless(query: Query, topk: TopK) -> tuple[Query, TopK]:
    """Give each product without images one row of `topk`, if the model predicts such products.

    Returns a query whose indexes of images are those of the new `topk` alone: the rows that were
    added belong to no image of the catalog.
    """
    if topk.imageless is None:
        return query, topk
    row = np.minimum(
        np.searchsorted(topk.imageless.image, query.products), len(topk.imageless.image) - 1
    )
    is_added = (query.image_count == 0) & (topk.imageless.image[row] == query.products)
    count = np.where(is_added, 1, query.image_count)
    start = np.cumsum(count) - count
    is_new = np.zeros(int(count.sum()), bool)
    is_new[start[is_added]] = True

    def merge(values: np.ndarray, added: np.ndarray) -> np.ndarray:
        merged = np.empty((len(is_new), *values.shape[1:]), values.dtype)
        merged[~is_new], merged[is_new] = values, added[row[is_added]]
        return merged

    merged = TopK(
        merge(topk.image, np.full(len(topk.imageless.image), -1)),
        merge(topk.classes, topk.imageless.classes),
        merge(topk.probs, topk.imageless.probs),
        merge(topk.rest, topk.imageless.rest),
    )
    return Query(query.products, merged.image, start, count), merged


def make_query(catalog: Catalog, products: np.ndarray) -> Query:
    """Query some products of a catalog.

    products: int [Q], ascending rows of the catalog's products.
    """
    count = catalog.image_count[products].astype(np.int64)
    images = catalog.images_of(products)
    same = np.array_equal(catalog.image_product[images], np.repeat(products, count))
    assert same, "image_count disagrees with image_product"
    return Query(products.astype(np.int64), images, np.cumsum(count) - count, count)


def check_topks(query: Query, topks: Sequence[TopK], names: Sequence[str]) -> None:
    """Check that every model has predictions of exactly the queried images.

    Raises UserError naming the first model that has not.
    """
    for topk, name in zip(topks, names, strict=True):
        if not np.array_equal(topk.image, query.images):
            raise UserError(wrong_images(name, len(topk.image), len(query.images)))


def wrong_images(name: str, num_predicted: int, num_images: int) -> str:
    """What to say where predictions of a model are not those of the part's images."""
    return (
        f"predictions of {name} cover {num_predicted} images, but the part has {num_images}, or"
        " others; run 03_predict_tta.py --rebuild"
    )
