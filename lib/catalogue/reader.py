"""Pictures in batches, read from the original file by threads (C1).

`os.pread` needs no shared seek and `cv2.imdecode` releases the interpreter, so threads of one
process read and decode side by side, without copies between processes.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2
import numpy as np

from lib.catalogue.tables import Catalogue

GREY = 128  # what stands for a picture that cannot be decoded
AHEAD = 2  # batches in flight for each thread

T = TypeVar("T")


class PictureReader:
    """Decoded pictures of one catalogue, brought to `resize` (height, width).

    `rotten` collects {picture row: reason}: such a picture comes as plain grey and is counted.
    """

    def __init__(self, catalogue: Catalogue, resize: tuple[int, int], threads: int) -> None:
        cv2.setNumThreads(0)  # our threads are one a core already
        self.catalogue = catalogue
        self.resize = resize
        self.threads = max(1, threads)
        self.rotten: dict[int, str] = {}
        self._file = os.open(catalogue.path, os.O_RDONLY)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> "PictureReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, row: int) -> np.ndarray:
        """uint8 [h, w, 3] RGB of one picture, at the size of `resize`."""
        length = int(self.catalogue.length[row])
        data = os.pread(self._file, length, int(self.catalogue.offset[row]))
        height, width = self.resize
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if picture is None:
            self.rotten[row] = "not a picture" if len(data) == length else "beyond the file's end"
            return np.full((height, width, 3), GREY, np.uint8)
        if picture.shape[:2] != self.resize:
            shrinks = picture.shape[0] > height or picture.shape[1] > width
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            picture = cv2.resize(picture, (width, height), interpolation=how)
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)

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
        come whole, at the size of `resize`.
        """
        pieces = [rows[i : i + batch] for i in range(0, len(rows), batch)]
        seeds = augment.spawn(len(pieces)) if augment else [None] * len(pieces)

        def load(piece: np.ndarray, seed: np.random.SeedSequence | None) -> np.ndarray:
            pictures = np.stack([self.decode(int(row)) for row in piece])
            if seed is not None:
                pictures = _cut(pictures, crop, flip, np.random.default_rng(seed))
            return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))

        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
            for piece, seed in zip(pieces, seeds, strict=True):
                waiting.append((piece, pool.submit(load, piece, seed)))
                if len(waiting) > AHEAD * self.threads:
                    yield _settled(waiting)
            while waiting:
                yield _settled(waiting)


def _settled(waiting: deque[tuple[T, Future[np.ndarray]]]) -> tuple[T, np.ndarray]:
    piece, future = waiting.popleft()
    return piece, future.result()


def _cut(
    pictures: np.ndarray, crop: tuple[int, int], flip: bool, rng: np.random.Generator
) -> np.ndarray:
    height, width = crop
    count, whole_height, whole_width = pictures.shape[:3]
    tops = rng.integers(0, whole_height - height + 1, count)
    lefts = rng.integers(0, whole_width - width + 1, count)
    mirrored = np.logical_and(rng.random(count) < 0.5, flip)
    cut = np.empty((count, height, width, 3), np.uint8)
    for i, (top, left, mirror) in enumerate(zip(tops, lefts, mirrored, strict=True)):
        window = pictures[i, top : top + height, left : left + width]
        cut[i] = window[:, ::-1] if mirror else window
    return cut
