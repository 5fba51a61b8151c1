"""Batches of the embeddings of a product's images and texts, from any number of networks.

A row is a product. The embeddings are memory maps that may be larger than the memory: 7M products
with 2,048 values per image and network are 50 GB. The kernel is told which stretches of the files
a call will read, and batches are gathered ahead of their use.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lib.data.byte_reader import GAP, fetch_ahead
from lib.training.evaluate import evenly_spaced
from lib.training.loaders.image_loader import Batches
from lib.utils.prefetch import prefetch

MAX_VIEWS = 4  # images of a product; Cdiscount has no product with more
PREFETCH = 4  # batches that are loaded ahead
STATS_PRODUCTS = 20_000  # products that mean and standard deviation are measured on
STATS_BATCH = 512
MIN_STD = 1e-6  # a value that varies less is a constant, and is not scaled


class EmbeddingLoader:
    """Batches float16 [b, views, width] of products; images that are absent are NaN.

    sources: float16 [I, width_s] of each network, for the I images of a catalog; memory maps or
        arrays. `width` is the sum of their widths.
    first_image, image_count: int [P]; product p has the images from first_image[p] on.
    views: images of a product per batch. If a product has more, `eval_batches` gives the first
        ones and `train_batches` random ones.
    mirrored: the same of the mirrored images, which half of the training images are; or empty.
    of_products: float16 [P, width_s] of each encoder of texts; every image of a product has them.

    Raises ValueError for a source of another type or of too few images. The values stay float16
    as they are stored: that is half the bytes to copy, and the network converts them.
    """

    def __init__(
        self,
        sources: Sequence[np.ndarray],
        first_image: np.ndarray,
        image_count: np.ndarray,
        views: int = MAX_VIEWS,
        mirrored: Sequence[np.ndarray] = (),
        of_products: Sequence[np.ndarray] = (),
    ) -> None:
        num_images = int((first_image.astype(np.int64) + image_count).max(initial=0))
        images = [*sources, *mirrored]
        num_rows = [num_images] * len(images) + [len(image_count)] * len(of_products)
        for number, source in enumerate([*images, *of_products]):
            if source.dtype != np.float16 or source.ndim != 2 or len(source) < num_rows[number]:
                raise ValueError(
                    f"source {number} is {source.dtype} {source.shape};"
                    f" float16 with {num_rows[number]} rows or more is needed"
                )
        self.sources, self.mirrored = list(sources), list(mirrored)
        self.of_products = list(of_products)
        self.first_image = first_image.astype(np.int64)
        self.image_count = image_count.astype(np.int64)
        self.views = views
        self.width = sum(source.shape[1] for source in [*sources, *of_products])

    def train_batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        seeds: np.random.SeedSequence,
        epoch: int,
        num_epochs: int,
    ) -> Batches:
        """The images of each product in random order, half of them mirrored if there are such."""
        rng = np.random.default_rng(seeds)
        draws, mirror = rng.random((len(rows), self.views)), None
        if self.mirrored:
            mirror = rng.random((len(rows), self.views)) < 0.5
        return self._batches(rows, batch_size, draws, mirror)

    def eval_batches(self, rows: np.ndarray, batch_size: int, mirror: bool = False) -> Batches:
        """The images of each product in the order of the catalog, or all of them mirrored."""
        mirrors = np.ones((len(rows), self.views), bool) if mirror else None
        return self._batches(rows, batch_size, None, mirrors)

    def _batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        draws: np.ndarray | None,
        mirror: np.ndarray | None,
    ) -> Batches:
        slices = [slice(start, start + batch_size) for start in range(0, len(rows), batch_size)]

        def load(part: slice) -> np.ndarray:
            chosen = (None if array is None else array[part] for array in (draws, mirror))
            return self._gather(rows[part], *chosen)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(self._fetch_ahead, rows)
            batches = prefetch(pool, slices, load, PREFETCH)
            for part, inputs in zip(slices, batches, strict=True):
                yield rows[part], inputs

    def _gather(
        self, rows: np.ndarray, draws: np.ndarray | None, mirror: np.ndarray | None
    ) -> np.ndarray:
        """Embeddings of products int64 [b].

        draws: float [b, views] in [0, 1) for their order. mirror: bool [b, views].
        """
        count = self.image_count[rows, None]
        order = np.arange(self.views) if draws is None else _random_order(count[:, 0], draws)
        present = np.arange(self.views) < count
        images = self.first_image[rows, None] + order
        products = np.broadcast_to(rows[:, None], images.shape)
        inputs = np.full((len(rows), self.views, self.width), np.nan, np.float16)
        views = [(self.sources, present)]
        if mirror is not None:
            views.append((self.mirrored, mirror & present))
        for sources, chosen in views:
            taken = [np.take(source, images[chosen], axis=0) for source in sources]
            taken += [np.take(source, products[chosen], axis=0) for source in self.of_products]
            inputs[chosen] = np.concatenate(taken, axis=1)
        return inputs

    def _fetch_ahead(self, rows: np.ndarray) -> None:
        """Have the kernel read what these products need; stretches with small gaps are joined."""
        order = np.sort(rows)
        first = self.first_image[order]
        last = first + self.image_count[order]
        for source in [*self.sources, *self.mirrored]:
            if isinstance(source, np.memmap) and source.filename and len(rows):
                size = source.strides[0]
                breaks = np.flatnonzero((first[1:] - last[:-1]) * size > GAP)
                starts = first[np.append(0, breaks + 1)] * size + source.offset
                stops = last[np.append(breaks, len(order) - 1)] * size + source.offset
                descriptor = os.open(source.filename, os.O_RDONLY)
                try:
                    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                        fetch_ahead(descriptor, start, stop)
                finally:
                    os.close(descriptor)


def embedding_mean_std(loader: EmbeddingLoader, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each value over the images of training products.

    rows: int64 [n], products, ascending; an even sample of STATS_PRODUCTS is read.
    Returns float64 [width] each; the deviation of a constant value is 1.
    """
    rows = evenly_spaced(rows, STATS_PRODUCTS)
    count, total = 0, np.zeros(loader.width)
    for values in _present_embeddings(loader, rows):
        count += len(values)
        total += values.sum(0)
    mean = total / max(count, 1)
    squares = np.zeros(loader.width)
    for values in _present_embeddings(loader, rows):  # a second pass: exact for a large mean
        squares += np.square(values - mean).sum(0)
    std = np.sqrt(squares / max(count, 1))
    return mean, np.where(std < MIN_STD, 1.0, std)


def _present_embeddings(loader: EmbeddingLoader, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Embeddings float64 [images, width] of the images that exist, by batches of products."""
    for _, embeddings in loader.eval_batches(rows, STATS_BATCH):
        yield embeddings[~np.isnan(embeddings).any(2)].astype(np.float64)


def _random_order(count: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The first places of a random permutation of range(count[i]), int64 [b, views].

    count: int64 [b]. draws: float64 [b, views] in [0, 1), as in a Fisher-Yates shuffle: place j
    changes places with one of those from j on. Places from count[i] on mean nothing.
    """
    num_rows, views = draws.shape
    row = np.arange(num_rows)
    order = np.tile(np.arange(max(views, count.max(initial=0))), (num_rows, 1))
    for j in range(views):
        other = j + (draws[:, j] * np.maximum(count - j, 1)).astype(np.int64)
        order[row, other], order[:, j] = order[:, j].copy(), order[row, other]
    return order[:, :views]
