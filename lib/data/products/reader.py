"""Batches of products, each with all of its images, for networks of several inputs"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lib.config.inputs.mosaic import MAX_PRODUCT_IMAGES
from lib.data.catalog import Catalog
from lib.data.image_reader import Augmenter, ImageReader
from lib.utils.groups import group_index, position_in_group


class ProductImages(NamedTuple):
    """The images of b products, one product after the other; arrays, or tensors of a device.

    images: [n, 3, h, w], uint8 or normalised. count: int64 [b], images of each product; n is their
    sum.
    """

    images: Any
    count: Any

    def of(self, products: slice) -> "ProductImages":
        """The images of some of the products."""
        ends = np.append(0, np.cumsum(self.count))
        first, *_, last = ends[products.start : products.stop + 1]
        return ProductImages(self.images[first:last], self.count[products])


class ProductReader(ImageReader):
    """An `ImageReader` whose rows are products, and whose batches are `ProductImages`.

    Of a product with more than `MAX_PRODUCT_IMAGES`, it gives the first ones. `corrupt` and
    `first_corrupt` refer to images, not to products.
    """

    def batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        augmenter: Augmenter | Sequence[Augmenter] | None = None,
        seeds: np.random.SeedSequence | None = None,
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (rows int64 [b], `ProductImages` of b products), in the order of `rows`.

        Arguments as those of `ImageReader.batches`; the augmenter changes each image by itself.
        """
        for batch_rows, images in super().batches(rows, batch_size, augmenter, seeds):
            yield batch_rows, ProductImages(images, num_shown(self.catalog, batch_rows))

    def _num_images(self, rows: np.ndarray) -> int:
        return int(num_shown(self.catalog, rows).sum())

    def _images_of(self, rows: np.ndarray) -> np.ndarray:
        return shown_images(self.catalog, rows)

    def _images(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        return super()._images(shown_images(self.catalog, rows))


def num_shown(catalog: Catalog, products: np.ndarray) -> np.ndarray:
    """Number of images that are shown of each product int64 [b]: int64 [b]."""
    return np.minimum(catalog.image_count[products], MAX_PRODUCT_IMAGES).astype(np.int64)


def shown_images(catalog: Catalog, products: np.ndarray) -> np.ndarray:
    """Their images, one product int64 [b] after the other: int64 [n], rows of the catalog."""
    count = num_shown(catalog, products)
    first = catalog.first_image[products].astype(np.int64)
    product = group_index(count)
    return first[product] + position_in_group(product)
