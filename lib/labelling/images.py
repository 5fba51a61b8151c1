"""The images of a product for a browser: PNGs that hold pixels and nothing else."""

import threading

import cv2

from lib.data.catalog import Catalog
from lib.data.image_reader import ThumbnailReader

MAX_IMAGES = 4  # of a product
MAX_SIDE = 800  # pixels


class ProductImages:
    """The images of each product as PNGs. Safe for threads.

    Images are decoded and encoded again: an original file may contain its name or other metadata.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._reader = ThumbnailReader(catalog, MAX_SIDE)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the files of the catalog."""
        self._reader.close()

    def count(self, product: int) -> int:
        """Number of images that are shown of a product, at most MAX_IMAGES."""
        return min(MAX_IMAGES, int(self._catalog.image_count[product]))

    def png(self, product: int, index: int) -> bytes:
        """Image `index` (0-based) of a product, scaled down to MAX_SIDE pixels a side."""
        row = int(self._catalog.first_image[product]) + index
        with self._lock:
            image = self._reader.decode(row)
        return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
