"""Feeds the embeddings of a product's pictures, of any number of networks side by side (T2).

A row is a product. What is read lies in memory maps that may be larger than the memory (7M products
of 2,048 values a picture and network are 50 GB): the kernel is asked for all that a call will read,
in stretches, and batches are gathered ahead of their use.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numba import njit

from lib.data.byte_reader import GAP, fetch_ahead
from lib.training.evaluate import spread
from lib.training.loader import Batches

VIEWS = 4  # pictures of a product, at most, as in the competition
AHEAD = 4  # batches that are ready or under way
MISSING = int(np.array(np.nan, np.float16).view(np.uint16))


STATS_PRODUCTS = 20_000  # products that mean and standard deviation are measured on
STATS_BATCH = 512
MIN_STD = 1e-6  # a value that varies less is a constant, and is not scaled


class EmbeddingLoader:
    """Batches float16 [b, views, width] of products; pictures that are not there are NaN.

    sources: float16 [I, width_b], one for each network, I the pictures of a catalogue; memory maps
    or arrays. width is their sum. first_image, image_count [P]: product p has the pictures from
    first_image[p] on. Of a product with more than `views`, `plain` shows the first, `altered` any.
    Half precision, as it is stored: half the bytes on their way, made float where it is computed.
    """

    def __init__(
        self,
        sources: Sequence[np.ndarray],
        first_image: np.ndarray,
        image_count: np.ndarray,
        views: int = VIEWS,
    ) -> None:
        end = int((first_image.astype(np.int64) + image_count).max(initial=0))
        for number, source in enumerate(sources):
            if source.dtype != np.float16 or source.ndim != 2 or len(source) < end:
                raise ValueError(
                    f"source {number} is {source.dtype} {source.shape};"
                    f" float16 with {end} rows or more is needed"
                )
        self.sources = list(sources)
        self.first_image = first_image.astype(np.int64)
        self.image_count = image_count.astype(np.int64)
        self.views = views
        self.width = sum(source.shape[1] for source in sources)

    def altered(
        self, rows: np.ndarray, batch: int, seeds: np.random.SeedSequence, epoch: int, epochs: int
    ) -> Batches:
        """To train on: a product's pictures in random order."""
        return self._batches(rows, batch, np.random.default_rng(seeds))

    def plain(self, rows: np.ndarray, batch: int) -> Batches:
        """To watch and to predict: in the order of the catalogue."""
        return self._batches(rows, batch, None)

    def _batches(self, rows: np.ndarray, batch: int, rng: np.random.Generator | None) -> Batches:
        draws = np.empty((0, self.views)) if rng is None else rng.random((len(rows), self.views))
        with ThreadPoolExecutor(1) as thread:
            thread.submit(self._advise, rows)
            coming: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
            for start in range(0, len(rows), batch):
                piece = slice(start, start + batch)
                coming.append((rows[piece], thread.submit(self._gather, rows[piece], draws[piece])))
                if len(coming) > AHEAD:
                    some, found = coming.popleft()
                    yield some, found.result()
            for some, found in coming:
                yield some, found.result()

    def _gather(self, rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
        picture = np.full((len(rows), self.views), -1, np.int64)
        _choose(self.first_image, self.image_count, rows, draws, picture)
        found = np.empty((len(rows), self.views, self.width), np.float16)
        column = 0
        for source in self.sources:
            # Numba knows no half precision on a CPU; to copy, the bits are enough.
            bits = np.asarray(source).view(np.uint16)
            _copy(bits, picture, found.view(np.uint16), column, MISSING)
            column += source.shape[1]
        return found

    def _advise(self, rows: np.ndarray) -> None:
        """Have the kernel fetch what these products need, near stretches joined to one."""
        order = np.sort(rows)
        first = self.first_image[order]
        last = first + self.image_count[order]
        for source in self.sources:
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
    rows = spread(rows, STATS_PRODUCTS)
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
    for _, embeddings in loader.plain(rows, STATS_BATCH):
        yield embeddings[~np.isnan(embeddings).any(2)].astype(np.float64)


@njit(cache=True, nogil=True)
def _choose(
    first_image: np.ndarray,
    image_count: np.ndarray,
    rows: np.ndarray,
    draws: np.ndarray,
    picture: np.ndarray,
) -> None:
    """Fill picture int64 [b, views], -1 beforehand: drawn by `draws` [b, views] in [0, 1).

    Without draws, `[0, views]`, the first ones in their order.
    """
    views = picture.shape[1]
    for i in range(len(rows)):
        first, count = first_image[rows[i]], image_count[rows[i]]
        shown = min(count, views)
        if len(draws) == 0:
            for j in range(shown):
                picture[i, j] = first + j
            continue
        left = np.arange(first, first + count)
        for j in range(shown):
            other = j + int(draws[i, j] * (count - j))
            picture[i, j] = left[other]
            left[other] = left[j]


@njit(cache=True, nogil=True)
def _copy(
    source: np.ndarray, picture: np.ndarray, found: np.ndarray, column: int, missing: int
) -> None:
    """found[i, j, column:] = source[picture[i, j]], or `missing` where that is -1."""
    width = source.shape[1]
    for i in range(picture.shape[0]):
        for j in range(picture.shape[1]):
            row = picture[i, j]
            for k in range(width):
                found[i, j, column + k] = missing if row < 0 else source[row, k]
