"""Batches for training (random crop) and validation (center crop), sharded by rank."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from lib.config.model import Model
from lib.data.aspect.clusters import BatchShape
from lib.data.aspect.reader import batch_shapes
from lib.data.crops import center_crop
from lib.data.image_reader import Augmenter, ImageReader
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.training.loaders.augment import RandomAugment, augment_strength

Batches = Iterator[tuple[np.ndarray, Any]]


class Loader(Protocol):
    """Batches of (rows int64 [b], inputs [b, ...]); those to train on in the order of `rows`.

    The inputs are what the network's `normalise` takes, or `MaskedImages` that hold them. The same
    seeds give the same inputs.
    """

    def train_batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        seeds: np.random.SeedSequence,
        epoch: int,
        num_epochs: int,
    ) -> Batches:
        """Batches to train on, in epoch `epoch` (0-based, of `num_epochs`)."""
        ...

    def eval_batches(self, rows: np.ndarray, batch_size: int) -> Batches:
        """Batches to evaluate on, without random changes."""
        ...


class ImageLoader:
    """Images uint8 [b, 3, h, w] of one size, or of one size for each aspect cluster.

    `train_batches` gives this rank's shard of each batch, changed as a single process would.
    """

    def __init__(self, reader: ImageReader, model_cfg: Model, group: ProcessGroup = SINGLE) -> None:
        self.reader, self.model_cfg, self.group = reader, model_cfg, group
        self.shapes = batch_shapes(reader, model_cfg)

    def with_group(self, group: ProcessGroup) -> "ImageLoader":
        """The same loader, whose `train_batches` gives the shards of this rank."""
        return ImageLoader(self.reader, self.model_cfg, group)

    def train_batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        seeds: np.random.SeedSequence,
        epoch: int,
        num_epochs: int,
    ) -> Batches:
        """Random crops, flipped and augmented as the settings say.

        Every `batch_size` rows must be of one shape, as `lib/data/shuffle.py: ClusterOrder` orders
        them.
        """
        augmenters = [self._augment(shape, epoch, num_epochs) for shape in self.shapes]
        full = len(rows) - len(rows) % batch_size
        for part, size in ((rows[:full], batch_size), (rows[full:], len(rows) - full)):
            if len(part):
                shard = self.group.shard(size)
                shard_rows = part.reshape(-1, size)[:, shard].ravel()
                sharded = [_ShardedAugment(augment, size, shard.start) for augment in augmenters]
                by_shape = sharded if len(sharded) > 1 else sharded[0]
                yield from self.reader.batches(
                    shard_rows, shard.stop - shard.start, by_shape, seeds
                )

    def eval_batches(self, rows: np.ndarray, batch_size: int) -> Batches:
        """Center crops; in the order of `rows`, or one aspect cluster after the other."""
        rows = rows[self.reader.batch_order(rows)]
        for batch_rows, images in self.reader.batches(rows, batch_size):
            resize, crop = self.shapes[self.reader.shape_of(batch_rows)]
            top, left, _ = center_crop(resize, crop)
            yield batch_rows, images[:, :, top : top + crop[0], left : left + crop[1]]

    def _augment(self, shape: BatchShape, epoch: int, num_epochs: int) -> RandomAugment:
        cfg = self.model_cfg
        body_epoch, body_epochs = epoch - cfg.head_only_epochs, num_epochs - cfg.head_only_epochs
        strength = augment_strength(cfg.augment, body_epoch, body_epochs)
        return RandomAugment(cfg.augment, shape.resize, shape.crop, cfg.flip, strength)


class _ShardedAugment:
    """Draws for a batch of `batch_size` images, and augments a shard that starts at `first`."""

    def __init__(self, augmenter: Augmenter, batch_size: int, first: int) -> None:
        self.augmenter, self.batch_size, self.first = augmenter, batch_size, first
        self.crop = augmenter.crop

    def draw(self, count: int, rng: np.random.Generator) -> Any:
        return self.augmenter.draw(self.batch_size, rng)

    def apply(self, image: np.ndarray, params: Any, i: int, out: np.ndarray) -> None:
        self.augmenter.apply(image, params, self.first + i, out)


class _ShardedLoader:
    """A rank's shard of each batch of any loader; the other shards are loaded and dropped."""

    def __init__(self, loader: Loader, group: ProcessGroup) -> None:
        self.loader, self.group = loader, group

    def train_batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        seeds: np.random.SeedSequence,
        epoch: int,
        num_epochs: int,
    ) -> Batches:
        for batch_rows, inputs in self.loader.train_batches(
            rows, batch_size, seeds, epoch, num_epochs
        ):
            shard = self.group.shard(len(batch_rows))
            yield batch_rows[shard], inputs[shard]

    def eval_batches(self, rows: np.ndarray, batch_size: int) -> Batches:
        return self.loader.eval_batches(rows, batch_size)


def shard_loader(loader: Loader, group: ProcessGroup) -> Loader:
    """A loader whose `train_batches` gives this rank's shard of each batch.

    `eval_batches` still gives all rows that it is called with.
    """
    if group.world_size == 1:
        return loader
    if isinstance(loader, ImageLoader):
        return loader.with_group(group)
    return _ShardedLoader(loader, group)


class MicroBatch(NamedTuple):
    """Rows that a rank passes through the network at once: int64 [b], with inputs [b, ...].

    position: of these rows among all rows that were loaded. weight: factor of the mean loss of
    this rank, so that the mean over the ranks is that of the whole micro-batch. num_rows: of the
    micro-batch over all ranks.
    """

    rows: np.ndarray
    inputs: Any
    position: slice
    weight: float
    num_rows: int


def micro_batches(
    loader: Loader,
    group: ProcessGroup,
    rows: np.ndarray,
    size: int,
    seeds: np.random.SeedSequence,
    epoch: int,
    num_epochs: int,
) -> Iterator[MicroBatch]:
    """`rows` in micro-batches of `size` over all ranks, this rank's shard of each.

    loader: result of `shard_loader`.
    """
    batches = loader.train_batches(rows, size, seeds, epoch, num_epochs)
    for start, (shard_rows, inputs) in zip(range(0, len(rows), size), batches, strict=True):
        count = min(size, len(rows) - start)
        shard = group.shard(count)
        position = slice(start + shard.start, start + shard.stop)
        yield MicroBatch(shard_rows, inputs, position, group.shard_weight(count), count)
