"""Random order of an epoch, in slices: it depends on (seed, epoch) alone, wherever a slice begins.

Up to WINDOW rows the order is one permutation. A larger catalog may not fit into memory, and
random reads would cost one disk access per image. So blocks of neighboring rows are drawn at
random, WINDOW rows at a time, and the rows of these blocks are permuted. A batch then mixes rows
from a thousand parts of the file, which are read in large pieces. ffcv calls this order
quasi-random.
"""

import numpy as np

BLOCK = 256  # neighboring rows; about a megabyte of the competition's images
CLUSTER_SALT = 0xA59C  # keeps the random numbers of cluster orders apart from those of plain ones
WINDOW = 1 << 18  # rows that are permuted together; about a gigabyte of images


class EpochOrder:
    """A permutation of `rows` (int64 [n], ascending); one window of it is in memory at a time.

    salt: further numbers that the order depends on.
    """

    def __init__(
        self,
        rows: np.ndarray,
        seed: int,
        epoch: int,
        block: int = BLOCK,
        window: int = WINDOW,
        salt: tuple[int, ...] = (),
    ) -> None:
        self.rows, self.seeds, self.block = rows, (seed, epoch, *salt), block
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


class ClusterOrder:
    """An order of rows whose every batch has rows of one cluster.

    rows: int64 [n], ascending. cluster: int8 [n], cluster of each, from 0 on.

    As many batches as a plain order would fill. A cluster gets its share of them, rounded up or
    down at random, so that on average over the epochs all rows are shown equally often. Its
    batches are the slices of its own permutation, and of a further one where that ends. The
    batches of all clusters come in random order.
    """

    def __init__(
        self, rows: np.ndarray, cluster: np.ndarray, batch_size: int, seed: int, epoch: int
    ) -> None:
        self.batch_size, self.seed, self.epoch = batch_size, seed, epoch
        sizes = np.bincount(cluster)
        self.rows = [rows[cluster == k] for k in range(len(sizes))]
        rng = _rng(seed, epoch, CLUSTER_SALT)
        num_batches = len(rows) // batch_size
        share = np.append(0, np.cumsum(sizes)) * (num_batches / max(1, len(rows)))
        bounds = np.floor(share + rng.random()).astype(np.int64).clip(max=num_batches)
        bounds[-1] = num_batches
        counts = bounds[1:] - bounds[:-1]
        # Of each batch: its cluster, and its number among the batches of this cluster.
        self.cluster = rng.permutation(np.repeat(np.arange(len(sizes)), counts))
        self.number = np.empty(num_batches, np.int64)
        for k, count in enumerate(counts.tolist()):
            self.number[self.cluster == k] = np.arange(count)
        self._orders: dict[int, tuple[int, EpochOrder]] = {}  # of each cluster: pass, permutation

    def __len__(self) -> int:
        return len(self.cluster) * self.batch_size

    def slice(self, first: int, last: int) -> np.ndarray:
        """Elements [first, last) of the order: rows, int64."""
        size = self.batch_size
        start, stop = first // size, min(-(-last // size), len(self.cluster))
        batches = [
            self._slice_of(k, number * size, (number + 1) * size)
            for k, number in zip(
                self.cluster[start:stop].tolist(), self.number[start:stop].tolist(), strict=True
            )
        ]
        none = np.empty(0, np.int64)
        return np.concatenate([none, *batches])[first - start * size : last - start * size]

    def _slice_of(self, cluster: int, first: int, last: int) -> np.ndarray:
        """Elements [first, last) of the permutations of a cluster, one after the other."""
        num_rows, parts = len(self.rows[cluster]), []
        while first < last:
            start = first // num_rows * num_rows
            stop = min(last, start + num_rows)
            order = self._order(cluster, first // num_rows)
            parts.append(order.slice(first - start, stop - start))
            first = stop
        return np.concatenate(parts)

    def _order(self, cluster: int, number: int) -> EpochOrder:
        """Permutation `number` of a cluster."""
        if self._orders.get(cluster, (-1, None))[0] != number:
            salt = (CLUSTER_SALT, cluster, number)
            order = EpochOrder(self.rows[cluster], self.seed, self.epoch, salt=salt)
            self._orders[cluster] = number, order
        return self._orders[cluster][1]


def epoch_order(
    rows: np.ndarray, cluster: np.ndarray | None, batch_size: int, seed: int, epoch: int
) -> EpochOrder | ClusterOrder:
    """The order of an epoch's rows (int64, ascending).

    cluster: int8 [R], cluster of each row, of which a batch has only one; None for any batches.
    """
    if cluster is None:
        return EpochOrder(rows, seed, epoch)
    return ClusterOrder(rows, cluster[rows], batch_size, seed, epoch)


def _rng(*seeds: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seeds))
