"""Mosaics: the images of a product combined into one."""

from collections.abc import Iterator

import numpy as np

from lib.data.image_reader import GRAY, ImageReader
from lib.data.products.reader import num_shown, shown_images


class MosaicReader(ImageReader):
    """An `ImageReader` whose rows are products.

    A single image fills the whole size. Two to four images are placed in the quarters, in reading
    order, at half the size, which keeps their proportions. The rest is gray, and so is a product
    without images. `corrupt` and `first_corrupt` refer to images, not to products.
    """

    def _images_of(self, rows: np.ndarray) -> np.ndarray:
        return shown_images(self.catalog, rows)

    def _images(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        count = num_shown(self.catalog, rows)
        height, width = self.resize
        half = (height // 2, width // 2)
        sizes = [self.resize if n == 1 else half for n in count.tolist() for _ in range(n)]
        images = self._decode_many(self._images_of(rows), sizes)
        for n in count.tolist():
            yield next(images) if n == 1 else self._mosaic([next(images) for _ in range(n)])

    def _mosaic(self, images: list[np.ndarray]) -> np.ndarray:
        mosaic = np.full((*self.resize, 3), GRAY, np.uint8)
        for quarter, image in enumerate(images):
            height, width = image.shape[:2]
            top, left = quarter // 2 * height, quarter % 2 * width
            mosaic[top : top + height, left : left + width] = image
        return mosaic
