"""The images of a product for a browser: PNGs that hold pixels and nothing else."""

import threading

import cv2
import numpy as np

from lib.data.catalog import Catalog
from lib.data.image_reader import ImageReader

MAX_IMAGES = 4  # of a product
MAX_SIDE = 800  # pixels
PLACEHOLDER_SIZE = (64, 64)  # height and width in place of an image that cannot be decoded


class UnresizedReader(ImageReader):
    """An `ImageReader` that returns images in their original size."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog, PLACEHOLDER_SIZE, 1)

    def _resize(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return image


class ProductImages:
    """The images of each product as PNGs. Safe for threads.

    Images are decoded and encoded again: an original file may contain its name or other metadata.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._reader = UnresizedReader(catalog)
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
        scale = MAX_SIDE / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
