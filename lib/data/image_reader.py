"""Batches of images, decoded and resized by threads, from the original files.

`os.pread` and `cv2.imdecode` release the interpreter lock, so threads of one process read and
decode in parallel, without copies between processes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import cv2
import numpy as np

from lib.data.byte_reader import ByteReader
from lib.data.catalog import Catalog
from lib.data.decoding.decode import decode_image
from lib.data.decoding.undecodable import UndecodableError
from lib.data.strokes import parse_drawing, rasterize
from lib.utils.chunks import chunks
from lib.utils.prefetch import prefetch

GRAY = 128  # value of the placeholder for an image that cannot be decoded
AHEAD = 2  # batches in flight per thread
PLACEHOLDER_SIZE = (64, 64)  # in original size, in place of an image that cannot be decoded
PREFETCH_IMAGES = 8192  # images that the kernel is asked for before the first of them is needed

Shape = tuple[int, int, int, int]
Batch = tuple[np.ndarray, np.ndarray]
BatchSpec = tuple[np.ndarray, np.random.SeedSequence | None]
Decoder = Callable[[bytes], np.ndarray]


class Augmenter(Protocol):
    """Random changes of images on their way into a batch (see `lib/training/loaders/augment.py`).

    crop: (height, width) of its results.
    """

    crop: tuple[int, int]

    def draw(self, count: int, rng: np.random.Generator) -> Any:
        """Draw all random parameters for a batch of `count` images."""
        ...

    def apply(self, image: np.ndarray, params: Any, i: int, out: np.ndarray, /) -> None:
        """Write the augmented i-th image of a batch to `out`.

        image: uint8 [h, w, 3] RGB; may be overwritten. params: as `draw` returned them.
        out: uint8 [*crop, 3]. Runs in several threads at once.
        """
        ...


def allocate_unpinned(shape: Shape) -> np.ndarray:
    """Memory for a batch, uint8 of any content."""
    return np.empty(shape, np.uint8)


class ImageReader:
    """Decoded images of one catalog, resized to `resize` (height, width).

    allocate(shape): returns uint8 memory for a batch, pinned if a GPU is to fetch it.
    corrupt: bool [I], images that could not be decoded and were replaced by gray.
    first_corrupt: row of the first of them, and the reason.
    cluster: int8 [I], which images may be in one batch; None if all may.
    """

    cluster: np.ndarray | None = None

    def __init__(
        self,
        catalog: Catalog,
        resize: tuple[int, int],
        threads: int,
        allocate: Callable[[Shape], np.ndarray] = allocate_unpinned,
    ) -> None:
        cv2.setNumThreads(0)  # this reader has one thread per core already
        self.catalog = catalog
        self.resize = resize
        self.threads = max(1, threads)
        self.allocate = allocate
        self.corrupt = np.zeros(len(catalog.length), bool)
        self.first_corrupt: tuple[int, str] | None = None
        self.byte_reader = ByteReader(catalog)
        self._decode_bytes = _decoder(catalog)

    def close(self) -> None:
        """Close all files."""
        self.byte_reader.close()

    def __enter__(self) -> "ImageReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, row: int) -> np.ndarray:
        """uint8 [h, w, 3] RGB of one row, of size `resize`."""
        return next(self._images(np.array([row])))

    def undecodable_reason(self, row: int) -> str | None:
        """Why an image cannot be decoded; None if it can."""
        try:
            self._decode_bytes(self.byte_reader.read(row))
        except UndecodableError as error:
            return self.byte_reader.read_error(row) or str(error)
        return None

    def batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        augmenter: Augmenter | Sequence[Augmenter] | None = None,
        seeds: np.random.SeedSequence | None = None,
    ) -> Iterator[Batch]:
        """Yield (rows int64 [b], images uint8 [b, 3, h, w] RGB), in the order of `rows`.

        rows: int64 [n].
        augmenter: one, or one for each `shape_of` a batch.
        seeds: with them, the augmenter changes each image; the same seeds give the same images,
            whatever the number of threads. Without, images have the size `resize`.
        The memory order is channels_last, as decoders write it and convolutions want it.
        """
        with ThreadPoolExecutor(self.threads) as pool:
            specs = self._schedule(pool, rows, batch_size, seeds)
            yield from prefetch(pool, specs, partial(self._load, augmenter), AHEAD * self.threads)

    def shape_of(self, rows: np.ndarray) -> int:
        """Number of the shape that a batch of rows (int64 [b]) has; the only one is 0."""
        return 0

    def batch_order(self, rows: np.ndarray) -> np.ndarray:
        """Positions int64 [n] of `rows`, in the order in which they make the fewest batches."""
        return np.arange(len(rows))

    def _schedule(
        self,
        pool: Executor,
        rows: np.ndarray,
        batch_size: int,
        seeds: np.random.SeedSequence | None,
    ) -> Iterator[tuple[np.ndarray, np.random.SeedSequence | None]]:
        """Yield (rows, seed) of each batch; has the kernel fetch images well before their batch."""
        batches = self._split(rows, batch_size)
        batch_seeds = [None] * len(batches) if seeds is None else seeds.spawn(len(batches))
        fetched = 0
        for batch, seed in zip(batches, batch_seeds, strict=True):
            while fetched < min(len(rows), batch.start + PREFETCH_IMAGES):
                images = self._images_of(rows[fetched : fetched + PREFETCH_IMAGES])
                pool.submit(self.byte_reader.prefetch, images)
                fetched += PREFETCH_IMAGES
            yield rows[batch], seed

    def _split(self, rows: np.ndarray, batch_size: int) -> list[slice]:
        """The batches of `rows` (int64 [n]), as slices of it."""
        return list(chunks(len(rows), batch_size))

    def _load(self, augmenter: Augmenter | Sequence[Augmenter] | None, spec: BatchSpec) -> Batch:
        rows, seed = spec
        decoded, count = enumerate(self._images(rows)), self._num_images(rows)
        if augmenter is None or seed is None:
            images = self.allocate((count, *self._size_of(rows), 3))
            for i, image in decoded:
                images[i] = image
        else:
            if isinstance(augmenter, Sequence):
                augmenter = augmenter[self.shape_of(rows)]
            images = self.allocate((count, *augmenter.crop, 3))
            params = augmenter.draw(count, np.random.default_rng(seed))
            for i, image in decoded:
                augmenter.apply(image, params, i, images[i])
        return rows, images.transpose(0, 3, 1, 2)

    def _size_of(self, rows: np.ndarray) -> tuple[int, int]:
        """Height and width of the images of a batch."""
        return self.resize

    def _num_images(self, rows: np.ndarray) -> int:
        """Number of images that a batch of rows has."""
        return len(rows)

    def _images_of(self, rows: np.ndarray) -> np.ndarray:
        """The images that rows are made of: int64, in the order of their use."""
        return rows

    def _images(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield uint8 [h, w, 3] of each row."""
        return self._decode_many(rows, [self.resize] * len(rows))

    def _decode_many(
        self, images: np.ndarray, sizes: Sequence[tuple[int, int]]
    ) -> Iterator[np.ndarray]:
        """Yield each image, resized to its size (height, width)."""
        return map(self._decode, images.tolist(), self.byte_reader.read_many(images), sizes)

    def _decode(self, row: int, data: bytes, size: tuple[int, int]) -> np.ndarray:
        try:
            return self._resize(self._decode_bytes(data), size)
        except UndecodableError as error:
            return self._placeholder(row, str(error), size)

    def _resize(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if image.shape[:2] == size:
            return image
        height, width = size
        shrinks = image.shape[0] > height or image.shape[1] > width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(image, (width, height), interpolation=interpolation)

    def _placeholder(self, row: int, reason: str, size: tuple[int, int]) -> np.ndarray:
        self.corrupt[row] = True
        if self.first_corrupt is None:
            self.first_corrupt = row, self.byte_reader.read_error(row) or reason
        return np.full((*size, 3), GRAY, np.uint8)


class ThumbnailReader(ImageReader):
    """An `ImageReader` that keeps the shape of images, and scales them down to `max_side` pixels.

    A thin image keeps one pixel of its short side.
    """

    def __init__(self, catalog: Catalog, max_side: int) -> None:
        super().__init__(catalog, PLACEHOLDER_SIZE, 1)
        self.max_side = max_side

    def _resize(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        scale = self.max_side / max(image.shape[:2])
        if scale >= 1:
            return image
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        return super()._resize(image, (height, width))


def _decoder(catalog: Catalog) -> Decoder:
    """What decodes the bytes of an image to uint8 [h, w, 3] RGB, or raises UndecodableError."""
    codec = "image" if catalog.files is None else catalog.files.codec
    if codec == "image":
        return partial(decode_image, background=catalog.background)
    kind, _, size = codec.partition(":")
    height, width = (int(side) for side in size.split("x"))
    if kind == "strokes":
        return partial(_decode_strokes, height)
    return partial(_decode_bitmap, height, width)


def _decode_strokes(side: int, data: bytes) -> np.ndarray:
    try:
        _, drawing = parse_drawing(data)
    except ValueError as error:
        raise UndecodableError(f"not a drawing: {error}") from None
    return cv2.cvtColor(rasterize(drawing, side), cv2.COLOR_GRAY2RGB)


def _decode_bitmap(height: int, width: int, data: bytes) -> np.ndarray:
    gray = np.frombuffer(data, np.uint8)
    if gray.size != height * width:
        raise UndecodableError(f"{gray.size} bytes instead of {height * width}")
    return cv2.cvtColor(gray.reshape(height, width), cv2.COLOR_GRAY2RGB)
