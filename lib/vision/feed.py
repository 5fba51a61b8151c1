"""What a network is fed with: pictures, cut at random to train on, or in their middle to watch."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from lib.catalogue.reader import PictureReader
from lib.config import Model
from lib.vision.augment import Augmenter, strength
from lib.vision.views import centre

Batches = Iterator[tuple[np.ndarray, np.ndarray]]


class Feed(Protocol):
    """Batches of (rows int64 [b], inputs [b, ...]) in the order of `rows`.

    Inputs are what `normalise` of the network takes. The same seeds give the same inputs.
    """

    def altered(
        self, rows: np.ndarray, batch: int, seeds: np.random.SeedSequence, epoch: int, epochs: int
    ) -> Batches:
        """To train on, in epoch `epoch` of `epochs`, from 0."""
        ...

    def plain(self, rows: np.ndarray, batch: int) -> Batches:
        """To watch."""
        ...


class PictureFeed:
    """Pictures uint8 [b, 3, h, w] of one size."""

    def __init__(self, reader: PictureReader, model: Model) -> None:
        self.reader, self.model = reader, model

    def altered(
        self, rows: np.ndarray, batch: int, seeds: np.random.SeedSequence, epoch: int, epochs: int
    ) -> Batches:
        model = self.model
        first = model.head_epochs
        much = strength(model.augment, epoch - first, epochs - first)
        augmenter = Augmenter(model.augment, model.resize, model.crop, model.flip, much)
        return self.reader.batches(rows, batch, augmenter, seeds)

    def plain(self, rows: np.ndarray, batch: int) -> Batches:
        height, width = self.model.crop
        top, left, _ = centre(self.model.resize, self.model.crop)
        for piece, pictures in self.reader.batches(rows, batch):
            yield piece, pictures[:, :, top : top + height, left : left + width]
