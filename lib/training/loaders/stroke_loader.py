"""Batches of Quick, Draw! drawings, as bitmaps or as the points of their strokes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

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
from lib.training.loaders.image_loader import Batches
from lib.utils.prefetch import prefetch

PREFETCH = 2  # batches that are loaded ahead, for each thread
NO_POINT = -1  # x and y of padding

Convert = Callable[[Drawing], np.ndarray]


def drawing_bitmap(drawing: Drawing, size: int) -> np.ndarray:
    """The drawing as three equal channels: uint8 [3, size, size]."""
    return np.repeat(rasterize(drawing, size)[None], 3, axis=0)


def drawing_points(drawing: Drawing, max_points: int) -> np.ndarray:
    """The points in the order of the pen: int16 [max_points, 3], padded with NO_POINT.

    A point is x, y, and 1 if a line leads to it from the point before. Of a drawing with more
    points, `max_points` evenly spaced ones are kept.
    """
    points = np.concatenate([np.c_[stroke, np.arange(len(stroke)) > 0] for stroke in drawing])
    if len(points) > max_points:
        points = points[np.linspace(0, len(points) - 1, max_points).astype(int)]
    padded = np.full((max_points, 3), NO_POINT, np.int16)
    padded[: len(points)] = points
    return padded


class StrokeLoader:
    """Rows of a catalog of drawings, each cut off after a share of its strokes.

    convert: drawing -> input of the network.
    train_shares: lowest and highest share of a drawing that is shown in training, drawn for each
        row of each epoch.
    eval_share: the share that is shown in evaluation.

    A drawing that is cut off is enlarged to fill its square.
    Raises ValueError for a line that holds no drawing.
    """

    def __init__(
        self,
        reader: ByteReader,
        convert: Convert,
        train_shares: tuple[float, float] = (1.0, 1.0),
        eval_share: float = 1.0,
        threads: int = 1,
    ) -> None:
        self.reader, self.convert = reader, convert
        self.train_shares, self.eval_share, self.threads = train_shares, eval_share, threads

    def train_batches(
        self,
        rows: np.ndarray,
        batch_size: int,
        seeds: np.random.SeedSequence,
        epoch: int,
        num_epochs: int,
    ) -> Batches:
        """Drawings cut off at random."""
        batches = _split(rows, batch_size)
        shares = [
            np.random.default_rng(seed).uniform(*self.train_shares, len(batch))
            for batch, seed in zip(batches, seeds.spawn(len(batches)), strict=True)
        ]
        yield from self._batches(batches, shares)

    def eval_batches(self, rows: np.ndarray, batch_size: int) -> Batches:
        """Drawings cut off after `eval_share`."""
        batches = _split(rows, batch_size)
        yield from self._batches(batches, [np.full(len(b), self.eval_share) for b in batches])

    def _batches(self, batches: Sequence[np.ndarray], shares: Sequence[np.ndarray]) -> Batches:
        items = list(zip(batches, shares, strict=True))
        with ThreadPoolExecutor(self.threads) as pool:
            inputs = prefetch(pool, items, self._load, PREFETCH * self.threads)
            yield from zip(batches, inputs, strict=True)

    def _load(self, item: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        cv2.setNumThreads(0)
        rows, shares = item
        lines = self.reader.read_many(rows)
        drawings = [parse_drawing(line)[1] for line in lines]
        return np.stack(
            [self._convert(d, share) for d, share in zip(drawings, shares.tolist(), strict=True)]
        )

    def _convert(self, drawing: Drawing, share: float) -> np.ndarray:
        if share < 1:
            drawing = normalize_strokes(truncate_strokes(drawing, share))
        return self.convert(drawing)


def _split(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
