"""A product's pictures joined into one (T1)."""

from collections.abc import Iterator

import numpy as np

from lib.data.image_reader import GREY, ImageReader

MOST = 4  # pictures in a mosaic, as many as a product of the competition has


class MosaicReader(ImageReader):
    """A `ImageReader` whose rows are products.

    A single picture fills the whole size; two to four lie in the quarters, in reading order, at
    half the size: so none is distorted more than it would be alone. What is left is grey, and so
    is a product without pictures. `rotten` and `first_corrupt` are still about pictures.
    """

    def _fetched(self, rows: np.ndarray) -> np.ndarray:
        count = self._shown(rows)
        first = self.catalogue.first_image[rows].astype(np.int64)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(first, count) + within

    def _pictures(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        count = self._shown(rows)
        height, width = self.resize
        half = (height // 2, width // 2)
        sizes = [self.resize if n == 1 else half for n in count.tolist() for _ in range(n)]
        pictures = self._decoded(self._fetched(rows), sizes)
        for n in count.tolist():
            yield next(pictures) if n == 1 else self._joined([next(pictures) for _ in range(n)])

    def _shown(self, rows: np.ndarray) -> np.ndarray:
        return np.minimum(self.catalogue.image_count[rows], MOST).astype(np.int64)

    def _joined(self, pictures: list[np.ndarray]) -> np.ndarray:
        mosaic = np.full((*self.resize, 3), GREY, np.uint8)
        for place, picture in enumerate(pictures):
            height, width = picture.shape[:2]
            top, left = place // 2 * height, place % 2 * width
            mosaic[top : top + height, left : left + width] = picture
        return mosaic
