"""What a network is fed with: pictures, cut at random to train on, or in their middle to watch."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from lib.config.model import Model
from lib.data.crops import center_crop
from lib.data.image_reader import Augmenter, ImageReader
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.training.augment import RandomAugment, strength

Batches = Iterator[tuple[np.ndarray, np.ndarray]]


class Loader(Protocol):
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


class ImageLoader:
    """Pictures uint8 [b, 3, h, w] of one size.

    `altered` gives of each batch the part of one of `ranks`, altered as one process would.
    """

    def __init__(self, reader: ImageReader, model: Model, ranks: ProcessGroup = SINGLE) -> None:
        self.reader, self.model, self.ranks = reader, model, ranks

    def altered(
        self, rows: np.ndarray, batch: int, seeds: np.random.SeedSequence, epoch: int, epochs: int
    ) -> Batches:
        model = self.model
        first = model.head_only_epochs
        much = strength(model.augment, epoch - first, epochs - first)
        augmenter = RandomAugment(model.augment, model.resize, model.crop, model.flip, much)
        whole = len(rows) - len(rows) % batch
        for some, size in ((rows[:whole], batch), (rows[whole:], len(rows) - whole)):
            if len(some):
                part = self.ranks.part(size)
                own = some.reshape(-1, size)[:, part].ravel()
                altering = _ShardedAugment(augmenter, size, part.start)
                yield from self.reader.batches(own, part.stop - part.start, altering, seeds)

    def plain(self, rows: np.ndarray, batch: int) -> Batches:
        height, width = self.model.crop
        top, left, _ = center_crop(self.model.resize, self.model.crop)
        for piece, pictures in self.reader.batches(rows, batch):
            yield piece, pictures[:, :, top : top + height, left : left + width]


class _ShardedAugment:
    """Draws for a batch of `count` pictures, and alters a part of it, which begins at `first`."""

    def __init__(self, augmenter: Augmenter, count: int, first: int) -> None:
        self.augmenter, self.count, self.first = augmenter, count, first
        self.crop = augmenter.crop

    def draw(self, count: int, rng: np.random.Generator) -> Any:
        return self.augmenter.draw(self.count, rng)

    def apply(self, picture: np.ndarray, drawn: Any, i: int, out: np.ndarray) -> None:
        self.augmenter.apply(picture, drawn, self.first + i, out)


class _ShardedLoader:
    """Of each batch of any feed a rank's part; the others' is made and dropped."""

    def __init__(self, feed: Loader, ranks: ProcessGroup) -> None:
        self.feed, self.ranks = feed, ranks

    def altered(
        self, rows: np.ndarray, batch: int, seeds: np.random.SeedSequence, epoch: int, epochs: int
    ) -> Batches:
        for some, inputs in self.feed.altered(rows, batch, seeds, epoch, epochs):
            part = self.ranks.part(len(some))
            yield some[part], inputs[part]

    def plain(self, rows: np.ndarray, batch: int) -> Batches:
        return self.feed.plain(rows, batch)


def of_ranks(feed: Loader, ranks: ProcessGroup) -> Loader:
    """A feed whose `altered` gives this rank's part of each batch. `plain` gives what is asked."""
    if ranks.world == 1:
        return feed
    if isinstance(feed, ImageLoader):
        return ImageLoader(feed.reader, feed.model, ranks)
    return _ShardedLoader(feed, ranks)


class MicroBatch(NamedTuple):
    """What a rank works on at a time: rows int64 [b] and their inputs [b, ...].

    place: of these rows among all that were asked for. weight: of the mean loss, for the mean over
    the ranks.
    """

    rows: np.ndarray
    inputs: np.ndarray
    place: slice
    weight: float


def pieces(
    feed: Loader,
    ranks: ProcessGroup,
    rows: np.ndarray,
    size: int,
    seeds: np.random.SeedSequence,
    epoch: int,
    epochs: int,
) -> Iterator[MicroBatch]:
    """`rows` in pieces of `size` over all ranks, of each this rank's part; feed: of `of_ranks`."""
    fed = feed.altered(rows, size, seeds, epoch, epochs)
    for start, (own, inputs) in zip(range(0, len(rows), size), fed, strict=True):
        count = min(size, len(rows) - start)
        part = ranks.part(count)
        place = slice(start + part.start, start + part.stop)
        yield MicroBatch(own, inputs, place, ranks.weight(count))
