"""Reader of images that keep their aspect ratio, in batches of one aspect cluster."""

from collections.abc import Callable, Iterator

import numpy as np

from lib.config.model import Backbone, Model
from lib.data.aspect.clusters import BatchShape
from lib.data.catalog import Catalog
from lib.data.image_reader import GRAY, ImageReader, Shape, allocate_unpinned
from lib.utils.chunks import chunks
from lib.utils.groups import group_sizes, group_starts

SMALL_DISTORTION = 0.04  # relative; bars or lost ends of less are not worth their edges


class AspectReader(ImageReader):
    """An `ImageReader` whose images have the size of their aspect cluster.

    shapes: the sizes of each cluster. cluster: int8 [I], cluster of each image.
    fill: "pad" or "crop", what happens to an image of another ratio than its cluster. Padding is
    the default because it keeps the whole picture: a product reaches to its ends.
    A batch ends where the cluster of the rows changes.
    """

    def __init__(
        self,
        catalog: Catalog,
        shapes: list[BatchShape],
        cluster: np.ndarray,
        fill: str,
        threads: int,
        allocate: Callable[[Shape], np.ndarray] = allocate_unpinned,
    ) -> None:
        super().__init__(catalog, shapes[0].resize, threads, allocate)
        self.shapes, self.fill = shapes, fill
        self.cluster: np.ndarray = cluster

    def shape_of(self, rows: np.ndarray) -> int:
        """Number of the aspect cluster of a batch of rows (int64 [b])."""
        return int(self.cluster[rows[0]])

    def batch_order(self, rows: np.ndarray) -> np.ndarray:
        """Positions int64 [n] of `rows`, one cluster after the other."""
        return np.argsort(self.cluster[rows], kind="stable")

    def _split(self, rows: np.ndarray, batch_size: int) -> list[slice]:
        starts = group_starts(self.cluster[rows])
        sizes = group_sizes(starts, len(rows))
        return [
            slice(start + batch.start, start + batch.stop)
            for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
            for batch in chunks(size, batch_size)
        ]

    def _size_of(self, rows: np.ndarray) -> tuple[int, int]:
        return self.shapes[self.shape_of(rows)].resize

    def _images(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        sizes = [self.shapes[cluster].resize for cluster in self.cluster[rows].tolist()]
        return self._decode_many(rows, sizes)

    def _resize(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        scales = size[0] / image.shape[0], size[1] / image.shape[1]
        if max(scales) <= (1 + SMALL_DISTORTION) * min(scales):
            return super()._resize(image, size)
        if self.fill == "crop":
            return super()._resize(_center_of_ratio(image, size), size)
        return self._pad(image, size, min(scales))

    def _pad(self, image: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
        """The whole image between gray bars."""
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        padded = np.full((*size, 3), GRAY, np.uint8)
        padded[top : top + height, left : left + width] = super()._resize(image, (height, width))
        return padded


def _center_of_ratio(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The largest part in the middle of an image that has the ratio of `size` (height, width)."""
    height, width = image.shape[:2]
    kept_height = min(height, max(1, round(width * size[0] / size[1])))
    kept_width = min(width, max(1, round(height * size[1] / size[0])))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return image[top : top + kept_height, left : left + kept_width]


def batch_shapes(reader: ImageReader, model: Model | Backbone) -> list[BatchShape]:
    """The sizes of the batches of a reader: of each aspect cluster, or those of the model."""
    if isinstance(reader, AspectReader):
        return reader.shapes
    return [BatchShape(model.resize, model.crop)]
