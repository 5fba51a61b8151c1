"""The pictures of a product for a browser: PNGs that hold pixels and nothing else."""

import threading

import cv2
import numpy as np

from lib.data.catalog import Catalog
from lib.data.image_reader import ImageReader

MOST = 4  # pictures of a product that are shown
LONGEST = 800  # pixels of the longer side that a page has use for
NONE = (64, 64)  # height and width of what stands for a picture that cannot be decoded


class UnresizedReader(ImageReader):
    """A `ImageReader` whose pictures keep the size that they came in."""

    def __init__(self, catalogue: Catalog) -> None:
        super().__init__(catalogue, NONE, 1)

    def _resize(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return image


class Pictures:
    """Safe for threads.

    A picture is decoded and written anew: an original may carry its name or its making within.
    """

    def __init__(self, catalogue: Catalog) -> None:
        self._catalogue = catalogue
        self._reader = UnresizedReader(catalogue)
        self._lock = threading.Lock()

    def close(self) -> None:
        self._reader.close()

    def count(self, product: int) -> int:
        """How many of a product's pictures are shown."""
        return min(MOST, int(self._catalogue.image_count[product]))

    def png(self, product: int, position: int) -> bytes:
        """One picture of a product, at most LONGEST pixels a side."""
        row = int(self._catalogue.first_image[product]) + position
        with self._lock:
            picture = self._reader.decode(row)
        scale = LONGEST / max(picture.shape[:2])
        if scale < 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
