"""Pictures in batches, read from the original files by threads (C1).

`os.pread` needs no shared seek and `cv2.imdecode` releases the interpreter, so threads of one
process read and decode side by side, without copies between processes.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import cv2
import numpy as np

from lib.data.byte_reader import ByteReader
from lib.data.catalog import Catalog
from lib.data.sources.quickdraw import parse, raster

GREY = 128  # what stands for a picture that cannot be decoded
AHEAD = 2  # batches in flight for each thread
ADVISED = 8192  # pictures that the kernel is asked for before the first of them is needed

Shape = tuple[int, int, int, int]


class Augmenter(Protocol):
    """What alters pictures at random on their way into a batch (`lib/training/augment.py`).

    crop: (height, width) of what it makes.
    """

    crop: tuple[int, int]

    def draw(self, count: int, rng: np.random.Generator) -> Any:
        """All that is random in a batch of `count` pictures."""
        ...

    def apply(self, picture: np.ndarray, drawn: Any, i: int, out: np.ndarray) -> None:
        """Write the i-th picture of a batch, altered, into `out` uint8 [*crop, 3].

        Runs in several threads at once; `picture` uint8 [h, w, 3] RGB is the caller's.
        """
        ...


def _plain_memory(shape: Shape) -> np.ndarray:
    return np.empty(shape, np.uint8)


class ImageReader:
    """Decoded pictures of one catalogue, brought to `resize` (height, width).

    allocate(shape) gives the uint8 memory of a batch: pinned, where a GPU is to fetch it.
    `rotten` bool [I] marks pictures that could not be decoded and came as plain grey;
    `first_corrupt` says which was the first, and why.
    """

    def __init__(
        self,
        catalogue: Catalog,
        resize: tuple[int, int],
        threads: int,
        allocate: Callable[[Shape], np.ndarray] = _plain_memory,
    ) -> None:
        cv2.setNumThreads(0)  # our threads are one a core already
        self.catalogue = catalogue
        self.resize = resize
        self.threads = max(1, threads)
        self.allocate = allocate
        self.rotten = np.zeros(len(catalogue.length), bool)
        self.first_corrupt: tuple[int, str] | None = None
        self.originals = ByteReader(catalogue)
        self._picture = _decoder(catalogue)

    def close(self) -> None:
        self.originals.close()

    def __enter__(self) -> "ImageReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, row: int) -> np.ndarray:
        """uint8 [h, w, 3] RGB of one picture, at the size of `resize`."""
        return next(self._pictures(np.array([row])))

    def _fetched(self, rows: np.ndarray) -> np.ndarray:
        """The pictures that these rows are made of: int64, in the order of their use."""
        return rows

    def _pictures(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """uint8 [h, w, 3] of each row in turn."""
        return self._decoded(rows, [self.resize] * len(rows))

    def _decoded(
        self, images: np.ndarray, sizes: Sequence[tuple[int, int]]
    ) -> Iterator[np.ndarray]:
        """Pictures, each at its size (height, width)."""
        return map(self._sized, images.tolist(), self.originals.read_all(images), sizes)

    def _sized(self, row: int, data: bytes, size: tuple[int, int]) -> np.ndarray:
        picture = self._picture(data)
        if picture is None:
            return self._grey(row, size)
        if picture.shape[:2] != size:
            height, width = size
            shrinks = picture.shape[0] > height or picture.shape[1] > width
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            picture = cv2.resize(picture, (width, height), interpolation=how)
        return picture

    def _grey(self, row: int, size: tuple[int, int]) -> np.ndarray:
        self.rotten[row] = True
        if self.first_corrupt is None:
            self.first_corrupt = row, self.originals.fault(row) or "not a picture"
        return np.full((*size, 3), GREY, np.uint8)

    def batches(
        self,
        rows: np.ndarray,
        batch: int,
        augmenter: Augmenter | None = None,
        seeds: np.random.SeedSequence | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows int64 [b], pictures uint8 [b, 3, h, w] RGB) in the order of `rows`.

        With `seeds`, the augmenter alters each picture; the same seeds give the same pictures
        whatever the number of threads. Without, pictures come whole, at the size of `resize`.
        Channels vary fastest in memory (torch's channels_last): that is how they are decoded, and
        how convolutions want them.
        """
        starts = range(0, len(rows), batch)
        spawned = [None] * len(starts) if seeds is None else seeds.spawn(len(starts))
        advised = 0
        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
            for start, seed in zip(starts, spawned, strict=True):
                while advised < min(len(rows), start + ADVISED):
                    coming = self._fetched(rows[advised : advised + ADVISED])
                    pool.submit(self.originals.advise, coming)
                    advised += ADVISED
                piece = rows[start : start + batch]
                waiting.append((piece, pool.submit(self._load, piece, augmenter, seed)))
                if len(waiting) > AHEAD * self.threads:
                    yield _settled(waiting)
            while waiting:
                yield _settled(waiting)

    def _load(
        self,
        rows: np.ndarray,
        augmenter: Augmenter | None,
        seed: np.random.SeedSequence | None,
    ) -> np.ndarray:
        decoded = enumerate(self._pictures(rows))
        if augmenter is None or seed is None:
            pictures = self.allocate((len(rows), *self.resize, 3))
            for i, picture in decoded:
                pictures[i] = picture
        else:
            pictures = self.allocate((len(rows), *augmenter.crop, 3))
            drawn = augmenter.draw(len(rows), np.random.default_rng(seed))
            for i, picture in decoded:
                augmenter.apply(picture, drawn, i, pictures[i])
        return pictures.transpose(0, 3, 1, 2)


def _decoder(catalogue: Catalog) -> Callable[[bytes], np.ndarray | None]:
    """What turns the bytes of a picture into uint8 [h, w, 3] RGB; None for what is none."""
    codec = "image" if catalogue.files is None else catalogue.files.codec
    if codec == "image":
        return _decoded
    kind, _, size = codec.partition(":")
    shape = tuple(int(side) for side in size.split("x"))
    if kind == "strokes":
        return partial(_drawn, shape[0])

    def bitmap(data: bytes) -> np.ndarray | None:
        grey = np.frombuffer(data, np.uint8)
        if grey.size != shape[0] * shape[1]:
            return None
        return cv2.cvtColor(grey.reshape(shape), cv2.COLOR_GRAY2RGB)

    return bitmap


def _drawn(side: int, data: bytes) -> np.ndarray | None:
    try:
        _, drawing = parse(data)
    except ValueError:
        return None
    return cv2.cvtColor(raster(drawing, side), cv2.COLOR_GRAY2RGB)


def _decoded(data: bytes) -> np.ndarray | None:
    if not data:
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def _settled(
    waiting: deque[tuple[np.ndarray, Future[np.ndarray]]],
) -> tuple[np.ndarray, np.ndarray]:
    piece, future = waiting.popleft()
    return piece, future.result()
