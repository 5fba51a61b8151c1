"""The order of an epoch, in pieces: known from (seed, epoch) alone, wherever one begins.

Up to WINDOW rows the order is one permutation. A larger catalogue may not fit into memory, and
reading it at random would cost a disk access a picture; there, blocks of neighbouring rows are
drawn at random, WINDOW rows of them at a time, and the rows of these blocks are permuted. A
batch then mixes rows of a thousand places of the file, which is fetched in large pieces.
"""

import numpy as np

BLOCK = 256  # neighbouring rows, about a megabyte of the competition's pictures
WINDOW = 1 << 18  # rows permuted together, about a gigabyte of them


class EpochOrder:
    """A permutation of `rows` int64 [n], ascending, of which only a window is ever held."""

    def __init__(
        self, rows: np.ndarray, seed: int, epoch: int, block: int = BLOCK, window: int = WINDOW
    ) -> None:
        self.rows, self.seeds, self.block = rows, (seed, epoch), block
        self.whole = len(rows) <= window
        starts = np.arange(0, len(rows), block)
        if self.whole:
            self.windows = [starts]
        else:
            starts, each = _rng(*self.seeds).permutation(starts), max(1, window // block)
            self.windows = [starts[i : i + each] for i in range(0, len(starts), each)]
        sizes = [int(np.minimum(block, len(rows) - chosen).sum()) for chosen in self.windows]
        self.bounds = np.append(0, np.cumsum(sizes))
        self._held = (-1, rows[:0])

    def __len__(self) -> int:
        return len(self.rows)

    def slice(self, first: int, last: int) -> np.ndarray:
        """Rows at places [first, last) of the order, int64."""
        last = min(last, len(self.rows))
        pieces = [self.rows[:0]]
        while first < last:
            number = int(np.searchsorted(self.bounds, first, "right")) - 1
            start, end = int(self.bounds[number]), int(self.bounds[number + 1])
            stop = min(last, end)
            pieces.append(self._window(number)[first - start : stop - start])
            first = stop
        return np.concatenate(pieces)

    def _window(self, number: int) -> np.ndarray:
        if self._held[0] != number:
            self._held = (number, self._permuted(number))
        return self._held[1]

    def _permuted(self, number: int) -> np.ndarray:
        if self.whole:
            return _rng(*self.seeds).permutation(self.rows)
        blocks = [self.rows[at : at + self.block] for at in self.windows[number].tolist()]
        return _rng(*self.seeds, number).permutation(np.concatenate(blocks))


def _rng(*seeds: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seeds))
