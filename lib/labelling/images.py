"""The images of a product for a browser: PNGs that hold pixels and nothing else."""

import threading

import cv2

from lib.data.catalog import Catalog
from lib.data.image_reader import ThumbnailReader

MAX_IMAGES = 4  # of a product, by default
MAX_SIDE = 800  # pixels, by default


class ProductImages:
    """The images of each product as PNGs. Safe for threads.

    Images are decoded and encoded again: an original file may contain its name or other metadata.
    """

    def __init__(
        self, catalog: Catalog, side: int = MAX_SIDE, most: int | None = MAX_IMAGES
    ) -> None:
        """side: pixels of the longer side, at most. most: images of a product; None for all."""
        self._catalog, self._most = catalog, most
        self._reader = ThumbnailReader(catalog, side)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the files of the catalog."""
        self._reader.close()

    def count(self, product: int) -> int:
        """Number of images that are shown of a product."""
        count = int(self._catalog.image_count[product])
        return count if self._most is None else min(self._most, count)

    def png(self, product: int, index: int) -> bytes:
        """Image `index` (0-based) of a product, scaled down."""
        return self.png_of_row(int(self._catalog.first_image[product]) + index)

    def png_of_row(self, row: int) -> bytes:
        """The image in this row of the catalog, scaled down."""
        with self._lock:
            image = self._reader.decode(row)
        return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
