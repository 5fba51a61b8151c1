"""What a network is fed with where drawings are strokes: pixels, or the way of the pen (Q8)."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np

from lib.data.byte_reader import ByteReader
from lib.data.strokes import (
    Drawing,
    normalize_strokes,
    parse_drawing,
    rasterize,
    truncate_strokes,
)
from lib.training.loader import Batches

AHEAD = 2  # batches in flight for each thread
NOWHERE = -1  # x and y of a place that has no point

Shape = Callable[[Drawing], np.ndarray]


def pixels(drawing: Drawing, side: int) -> np.ndarray:
    """uint8 [3, side, side]."""
    return np.repeat(rasterize(drawing, side)[None], 3, axis=0)


def points(drawing: Drawing, most: int) -> np.ndarray:
    """int16 [most, 3]: x, y, and 1 where a line leads there from the point before.

    Of a drawing of more points those are left out, evenly, that keep the rest within `most`.
    """
    whole = np.concatenate([np.c_[stroke, np.arange(len(stroke)) > 0] for stroke in drawing])
    if len(whole) > most:
        whole = whole[np.linspace(0, len(whole) - 1, most).astype(int)]
    found = np.full((most, 3), NOWHERE, np.int16)
    found[: len(whole)] = whole
    return found


class StrokeLoader:
    """Rows of a catalogue of strokes, as `shape` of as much of each drawing as `shares` say.

    shares: the least and the largest share of a drawing that is shown to train on, drawn anew for
    every row of an epoch; watched: the share that is shown to watch. What has begun is enlarged to
    its square (`normalize_strokes`). Raises ValueError, in words, for a line that holds no drawing.
    """

    def __init__(
        self,
        originals: ByteReader,
        shape: Shape,
        shares: tuple[float, float] = (1.0, 1.0),
        watched: float = 1.0,
        threads: int = 1,
    ) -> None:
        self.originals, self.shape = originals, shape
        self.shares, self.watched, self.threads = shares, watched, threads

    def altered(
        self, rows: np.ndarray, batch: int, seeds: np.random.SeedSequence, epoch: int, epochs: int
    ) -> Batches:
        some = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        drawn = [
            np.random.default_rng(seed).uniform(*self.shares, len(piece))
            for piece, seed in zip(some, seeds.spawn(len(some)), strict=True)
        ]
        yield from self._batches(some, drawn)

    def plain(self, rows: np.ndarray, batch: int) -> Batches:
        some = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        yield from self._batches(some, [np.full(len(piece), self.watched) for piece in some])

    def _batches(self, some: Sequence[np.ndarray], shares: Sequence[np.ndarray]) -> Batches:
        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
            for piece, share in zip(some, shares, strict=True):
                waiting.append((piece, pool.submit(self._load, piece, share)))
                if len(waiting) > AHEAD * self.threads:
                    rows, future = waiting.popleft()
                    yield rows, future.result()
            for rows, future in waiting:
                yield rows, future.result()

    def _load(self, rows: np.ndarray, shares: np.ndarray) -> np.ndarray:
        cv2.setNumThreads(0)
        lines = self.originals.read_many(rows)
        return np.stack([self._shown(*one) for one in zip(lines, shares.tolist(), strict=True)])

    def _shown(self, line: bytes, share: float) -> np.ndarray:
        _, drawing = parse_drawing(line)
        if share < 1:
            drawing = normalize_strokes(truncate_strokes(drawing, share))
        return self.shape(drawing)
