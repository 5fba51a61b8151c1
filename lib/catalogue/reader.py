"""Pictures in batches, read from the original files by threads (C1).

`os.pread` needs no shared seek and `cv2.imdecode` releases the interpreter, so threads of one
process read and decode side by side, without copies between processes.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np

from lib.catalogue.originals import Originals
from lib.catalogue.tables import Catalogue

GREY = 128  # what stands for a picture that cannot be decoded
AHEAD = 2  # batches in flight for each thread
ADVISED = 8192  # pictures that the kernel is asked for before the first of them is needed

Shape = tuple[int, int, int, int]
Cuts = tuple[np.ndarray, np.ndarray, np.ndarray]  # of each picture: top, left, mirrored


def _plain_memory(shape: Shape) -> np.ndarray:
    return np.empty(shape, np.uint8)


class PictureReader:
    """Decoded pictures of one catalogue, brought to `resize` (height, width).

    allocate(shape) gives the uint8 memory of a batch: pinned, where a GPU is to fetch it.
    `rotten` bool [I] marks pictures that could not be decoded and came as plain grey;
    `first_rotten` says which was the first, and why.
    """

    def __init__(
        self,
        catalogue: Catalogue,
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
        self.first_rotten: tuple[int, str] | None = None
        self.originals = Originals(catalogue)
        self._picture = _decoder(catalogue)

    def close(self) -> None:
        self.originals.close()

    def __enter__(self) -> "PictureReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, row: int) -> np.ndarray:
        """uint8 [h, w, 3] RGB of one picture, at the size of `resize`."""
        return self._sized(row, self.originals.read(row))

    def _sized(self, row: int, data: bytes) -> np.ndarray:
        picture = self._picture(data)
        if picture is None:
            return self._grey(row)
        if picture.shape[:2] != self.resize:
            height, width = self.resize
            shrinks = picture.shape[0] > height or picture.shape[1] > width
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            picture = cv2.resize(picture, (width, height), interpolation=how)
        return picture

    def _grey(self, row: int) -> np.ndarray:
        self.rotten[row] = True
        if self.first_rotten is None:
            self.first_rotten = row, self.originals.fault(row) or "not a picture"
        return np.full((*self.resize, 3), GREY, np.uint8)

    def batches(
        self,
        rows: np.ndarray,
        batch: int,
        crop: tuple[int, int],
        augment: np.random.SeedSequence | None = None,
        flip: bool = False,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows int64 [b], pictures uint8 [b, 3, h, w] RGB) in the order of `rows`.

        With `augment`, each picture is cut to `crop` at a random place and mirrored at random if
        `flip`; the same seed gives the same cuts whatever the number of threads. Without, pictures
        come whole, at the size of `resize`. Channels vary fastest in memory (torch's
        channels_last): that is how they are decoded, and how convolutions want them.
        """
        starts = range(0, len(rows), batch)
        seeds = augment.spawn(len(starts)) if augment else [None] * len(starts)
        advised = 0

        def load(piece: np.ndarray, seed: np.random.SeedSequence | None) -> np.ndarray:
            cuts = None
            if seed is not None:
                cuts = self._cuts(len(piece), crop, flip, np.random.default_rng(seed))
            return self._load(piece, crop, cuts)

        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
            for start, seed in zip(starts, seeds, strict=True):
                while advised < min(len(rows), start + ADVISED):
                    pool.submit(self.originals.advise, rows[advised : advised + ADVISED])
                    advised += ADVISED
                piece = rows[start : start + batch]
                waiting.append((piece, pool.submit(load, piece, seed)))
                if len(waiting) > AHEAD * self.threads:
                    yield _settled(waiting)
            while waiting:
                yield _settled(waiting)

    def _cuts(
        self, count: int, crop: tuple[int, int], flip: bool, rng: np.random.Generator
    ) -> Cuts:
        tops = rng.integers(0, self.resize[0] - crop[0] + 1, count)
        lefts = rng.integers(0, self.resize[1] - crop[1] + 1, count)
        return tops, lefts, np.logical_and(rng.random(count) < 0.5, flip)

    def _load(self, rows: np.ndarray, crop: tuple[int, int], cuts: Cuts | None) -> np.ndarray:
        height, width = self.resize if cuts is None else crop
        pictures = self.allocate((len(rows), height, width, 3))
        decoded = map(self._sized, rows.tolist(), self.originals.read_all(rows))
        if cuts is None:
            for i, picture in enumerate(decoded):
                pictures[i] = picture
            return pictures.transpose(0, 3, 1, 2)
        places = zip(decoded, *(values.tolist() for values in cuts), strict=True)
        for i, (picture, top, left, mirrored) in enumerate(places):
            window = picture[top : top + height, left : left + width]
            if mirrored:
                cv2.flip(window, 1, dst=pictures[i])
            else:
                pictures[i] = window
        return pictures.transpose(0, 3, 1, 2)


def _decoder(catalogue: Catalogue) -> Callable[[bytes], np.ndarray | None]:
    """What turns the bytes of a picture into uint8 [h, w, 3] RGB; None for what is none."""
    codec = "image" if catalogue.files is None else catalogue.files.codec
    if codec == "image":
        return _decoded
    shape = tuple(int(side) for side in codec.removeprefix("uint8:").split("x"))

    def bitmap(data: bytes) -> np.ndarray | None:
        grey = np.frombuffer(data, np.uint8)
        if grey.size != shape[0] * shape[1]:
            return None
        return cv2.cvtColor(grey.reshape(shape), cv2.COLOR_GRAY2RGB)

    return bitmap


def _decoded(data: bytes) -> np.ndarray | None:
    if not data:
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def _settled(
    waiting: deque[tuple[np.ndarray, Future[np.ndarray]]],
) -> tuple[np.ndarray, np.ndarray]:
    piece, future = waiting.popleft()
    return piece, future.result()
