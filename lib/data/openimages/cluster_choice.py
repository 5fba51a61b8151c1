"""Which classes become clusters: the exact optimum of coverage and depth, for a number of clusters.

A cluster is a class with the classes below it that are no clusters of their own; other classes are
in no cluster. An image, which has one class, is worth

    1 + depth_worth * level     of its cluster; 0 in no cluster,

so a cluster on top covers more images, and clusters further down tell more of each. With at most
`max_clusters` clusters of at least `min_images` images each, the sum over all images is largest. A
parent absorbs the children that are not worth one of the clusters, and a large child is split off.

The optimum is found from the leaves up, as in a knapsack on a tree (Johnson and Niemi, "On
Knapsacks, Partitions, and a New Dynamic Programming Technique for Trees", 1983): for each class,
each number of clusters in its subtree, and each level of the nearest cluster above. Clusters that
turn out too small are then barred, the deepest first, and the optimum of the others is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NO_CLUSTER = -1
IMPOSSIBLE = -np.inf


@dataclass(frozen=True)
class Choice:
    """What a choice is made from.

    parent: [C], row of the parent, -1 on top. level: [C], 0 on top. images: [C], of each class,
    without those below it. forced, barred: bool [C], classes that are clusters, or are none.
    """

    parent: Sequence[int]
    level: Sequence[int]
    images: Sequence[int]
    forced: np.ndarray
    barred: np.ndarray
    max_clusters: int
    min_images: int
    depth_worth: float


def choose_clusters(choice: Choice) -> np.ndarray:
    """The classes that become clusters: bool [C].

    There are more than `max_clusters` only if more are forced, and only forced ones are smaller
    than `min_images`.
    """
    barred = choice.barred & ~choice.forced
    while True:
        chosen = _optimum(choice, barred)
        small = chosen & ~choice.forced & (cluster_sizes(choice, chosen) < choice.min_images)
        if not small.any():
            return chosen
        # One that stands above another small one may grow when that one is absorbed.
        above = np.zeros(len(chosen), bool)
        for row in np.flatnonzero(small).tolist():
            upper = choice.parent[row]
            while upper >= 0 and not above[upper]:
                above[upper] = True
                upper = choice.parent[upper]
        barred |= small & ~above


def cluster_of_classes(parent: Sequence[int], chosen: np.ndarray) -> np.ndarray:
    """The row of the cluster that each class belongs to: int64 [C]; -1 for none."""
    cluster = np.full(len(parent), NO_CLUSTER, np.int64)
    for row in _downwards(parent):
        upper = parent[row]
        cluster[row] = row if chosen[row] else cluster[upper] if upper >= 0 else NO_CLUSTER
    return cluster


def cluster_sizes(choice: Choice, chosen: np.ndarray) -> np.ndarray:
    """Images of the cluster of each chosen class; 0 for the others: int64 [C]."""
    cluster = cluster_of_classes(choice.parent, chosen)
    sizes = np.bincount(cluster + 1, np.asarray(choice.images, np.float64), len(chosen) + 1)
    return sizes[1:].astype(np.int64)


def worth(choice: Choice, chosen: np.ndarray) -> float:
    """The worth of all images, as the module says."""
    cluster = cluster_of_classes(choice.parent, chosen)
    level = np.asarray(choice.level)[cluster]
    of_image = np.where(cluster == NO_CLUSTER, 0, 1 + choice.depth_worth * level)
    return float(of_image @ np.asarray(choice.images, np.float64))


def _downwards(parent: Sequence[int]) -> list[int]:
    """All rows, each after its parent."""
    children: list[list[int]] = [[] for _ in parent]
    tops: list[int] = []
    for row, upper in enumerate(parent):
        (children[upper] if upper >= 0 else tops).append(row)
    order = tops[:]
    for row in order:
        order += children[row]
    return order


class _Table:
    """By the level of the nearest cluster above (-1: none), the best worth of a subtree.

    best: [levels + 1] arrays; entry k is the worth with exactly k clusters in the subtree.
    """

    def __init__(self, choice: Choice, barred: np.ndarray) -> None:
        self.choice, self.barred = choice, barred
        self.limit = max(choice.max_clusters, int(choice.forced.sum()))
        self.order = _downwards(choice.parent)
        self.children: list[list[int]] = [[] for _ in choice.parent]
        for row in self.order:
            if choice.parent[row] >= 0:
                self.children[choice.parent[row]].append(row)
        self.best: dict[tuple[int, int], np.ndarray] = {}
        for row in reversed(self.order):
            for above in range(-1, choice.level[row]):
                self.best[row, above] = np.maximum(*self._options(row, above))

    def _options(self, row: int, above: int) -> tuple[np.ndarray, np.ndarray]:
        """The worth without and with a cluster at `row`, arrays of equal lengths."""
        choice = self.choice
        without = self._own(row, above) + self.merged(self.children[row], above)[-1]
        level = choice.level[row]
        inside = self._own(row, level) + self.merged(self.children[row], level)[-1]
        with_one = np.append(IMPOSSIBLE, inside)[: self.limit + 1]
        without = np.pad(without, (0, len(with_one) - len(without)), constant_values=IMPOSSIBLE)
        if choice.forced[row]:
            without = np.full_like(without, IMPOSSIBLE)
        elif self.barred[row]:
            with_one = np.full_like(with_one, IMPOSSIBLE)
        return without, with_one

    def _own(self, row: int, above: int) -> float:
        """The worth of the images of a class alone, in a cluster of level `above`."""
        return self.choice.images[row] * (1 + self.choice.depth_worth * above if above >= 0 else 0)

    def merged(self, rows: Sequence[int], above: int) -> list[np.ndarray]:
        """The best worth of the subtrees of no, one, two, ... of the rows side by side."""
        tables = [np.zeros(1)]
        for row in rows:
            first, second = tables[-1], self.best[row, above]
            length = min(len(first) + len(second) - 1, self.limit + 1)
            table = np.full(length, IMPOSSIBLE)
            for count, value in enumerate(second[:length]):
                part = first[: length - count]
                table[count : count + len(part)] = np.maximum(
                    table[count : count + len(part)], part + value
                )
            tables.append(table)
        return tables

    def choose(self) -> np.ndarray:
        """The clusters of the optimum, of equal ones with the fewest clusters: bool [C]."""
        chosen = np.zeros(len(self.order), bool)
        tops = [row for row in self.order if self.choice.parent[row] < 0]
        total = self.merged(tops, NO_CLUSTER)[-1]
        waiting = self._shares(tops, NO_CLUSTER, int(np.argmax(total)))
        while waiting:
            row, above, count = waiting.pop()
            without, with_one = self._options(row, above)
            if with_one[count] > without[count]:
                chosen[row] = True
                above, count = self.choice.level[row], count - 1
            waiting += self._shares(self.children[row], above, count)
        return chosen

    def _shares(self, rows: Sequence[int], above: int, count: int) -> list[tuple[int, int, int]]:
        """(row, above, clusters in its subtree) of subtrees that have `count` clusters in all."""
        tables = self.merged(rows, above)
        shares = []
        for place in range(len(rows) - 1, -1, -1):
            row, first = rows[place], tables[place]
            second = self.best[row, above]
            for part in range(min(count, len(second) - 1) + 1):
                rest = count - part
                if rest < len(first) and first[rest] + second[part] == tables[place + 1][count]:
                    break
            shares.append((row, above, part))
            count -= part
        return shares


def _optimum(choice: Choice, barred: np.ndarray) -> np.ndarray:
    """The most worth without regard to `min_images`: bool [C]."""
    return _Table(choice, barred).choose()
