"""Batches of products with all of their images, each of which is cropped and changed by itself"""

import numpy as np

from lib.config.model import Model
from lib.data.crops import center_crop, crop
from lib.data.image_reader import ImageReader
from lib.data.products.reader import ProductReader
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.training.loaders.image_loader import Batches, ImageLoader


class ProductLoader(ImageLoader):
    """Batches of (rows int64 [b], `ProductImages`); a row is a product."""

    def __init__(
        self, reader: ProductReader, model_cfg: Model, group: ProcessGroup = SINGLE
    ) -> None:
        super().__init__(reader, model_cfg, group)
        self.products = reader

    def with_group(self, group: ProcessGroup) -> "ProductLoader":
        """The same loader, whose `train_batches` gives the shards of this rank."""
        return ProductLoader(self.products, self.model_cfg, group)

    def train_batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        seeds: np.random.SeedSequence,
        epoch: int,
        num_epochs: int,
    ) -> Batches:
        """Random crops, flipped and augmented as the settings say."""
        augment = self._augment(self.shapes[0], epoch, num_epochs)
        batches = self.products.batches(rows, batch_size, augment, seeds)
        for batch_rows, inputs in batches:
            shard = self.group.shard(len(batch_rows))
            yield batch_rows[shard], inputs.of(shard)

    def eval_batches(self, rows: np.ndarray, batch_size: int) -> Batches:
        """Center crops, in the order of `rows`."""
        resize, size = self.shapes[0]
        for batch_rows, inputs in self.products.batches(rows, batch_size):
            yield batch_rows, crop(inputs, center_crop(resize, size), size)


def create_loader(reader: ImageReader, model_cfg: Model) -> ImageLoader:
    """The loader of a reader's rows: images, mosaics, or products."""
    if isinstance(reader, ProductReader):
        return ProductLoader(reader, model_cfg)
    return ImageLoader(reader, model_cfg)
