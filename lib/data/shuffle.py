"""Random order of an epoch, in slices: it depends on (seed, epoch) alone, wherever a slice begins.

Up to WINDOW rows the order is one permutation. A larger catalog may not fit into memory, and
random reads would cost one disk access per image. So blocks of neighboring rows are drawn at
random, WINDOW rows at a time, and the rows of these blocks are permuted. A batch then mixes rows
from a thousand parts of the file, which are read in large pieces. ffcv calls this order
quasi-random.
"""

import numpy as np

BLOCK = 256  # neighboring rows; about a megabyte of the competition's images
WINDOW = 1 << 18  # rows that are permuted together; about a gigabyte of images


class EpochOrder:
    """A permutation of `rows` (int64 [n], ascending); one window of it is in memory at a time."""

    def __init__(
        self, rows: np.ndarray, seed: int, epoch: int, block: int = BLOCK, window: int = WINDOW
    ) -> None:
        self.rows, self.seeds, self.block = rows, (seed, epoch), block
        self.single_window = len(rows) <= window
        starts = np.arange(0, len(rows), block)
        if self.single_window:
            self.windows = [starts]
        else:
            starts, blocks = _rng(*self.seeds).permutation(starts), max(1, window // block)
            self.windows = [starts[i : i + blocks] for i in range(0, len(starts), blocks)]
        sizes = [int(np.minimum(block, len(rows) - chosen).sum()) for chosen in self.windows]
        self.bounds = np.append(0, np.cumsum(sizes))
        self._cache = (-1, rows[:0])

    def __len__(self) -> int:
        return len(self.rows)

    def slice(self, first: int, last: int) -> np.ndarray:
        """Elements [first, last) of the order: rows, int64."""
        last = min(last, len(self.rows))
        parts = [self.rows[:0]]
        while first < last:
            number = int(np.searchsorted(self.bounds, first, "right")) - 1
            start, end = int(self.bounds[number]), int(self.bounds[number + 1])
            stop = min(last, end)
            parts.append(self._window(number)[first - start : stop - start])
            first = stop
        return np.concatenate(parts)

    def _window(self, number: int) -> np.ndarray:
        if self._cache[0] != number:
            self._cache = (number, self._permute_window(number))
        return self._cache[1]

    def _permute_window(self, number: int) -> np.ndarray:
        if self.single_window:
            return _rng(*self.seeds).permutation(self.rows)
        starts = self.windows[number].tolist()
        blocks = [self.rows[start : start + self.block] for start in starts]
        return _rng(*self.seeds, number).permutation(np.concatenate(blocks))


def _rng(*seeds: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seeds))
