"""What a booster is asked to do: rows that may be larger than memory, and how to learn from them.

A library that bins its rows while they come reads a `RowSource` by chunks, several times if it
must;
one that wants an array of floats gets a bounded draw of whole products (`dense`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from lib.config.schema import RANKERS, Stack
from lib.stacking import blend

BINS = 63
CHUNK = 1 << 16  # rows read at a time
DENSE_ROWS = 1 << 22  # rows that a library without streaming reads, at most


class RowSource(Protocol):
    """Rows of a table that may lie on disk."""

    @property
    def rows(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows int64 [r] as a new float32 [r, F], NaN where nothing is known."""


@dataclass(frozen=True)
class InMemoryRows:
    """A source in memory: x float32 [R, F]."""

    x: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.x)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.x[rows]


@dataclass(frozen=True)
class RowSubset:
    """The chosen rows int64 [r] of a source, as a source of its own."""

    source: RowSource
    chosen: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.chosen)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.source.read(self.chosen[rows])


@dataclass(frozen=True)
class LabelledRows:
    """Candidate rows with their answers: target int8 [R] 0 or 1, product int32 [R] ascending."""

    source: RowSource
    target: np.ndarray
    product: np.ndarray

    def take(self, rows: np.ndarray) -> "LabelledRows":
        """The rows int64 [r], ascending."""
        return LabelledRows(RowSubset(self.source, rows), self.target[rows], self.product[rows])


@dataclass(frozen=True)
class FitTask:
    """One fit.

    names [F]: of the columns, for whoever looks into the model later; categorical: places of the
    columns that hold class codes, -1 for none. watched: rows that are not learnt from, whose loss
    says after `stack.early_stopping_rounds` rounds without gain that none follow;
    None = all `stack.n_estimators`.
    """

    booster: str
    seen: LabelledRows
    names: Sequence[str]
    categorical: Sequence[int]
    stack: Stack
    seed: int
    threads: int = 1
    watched: LabelledRows | None = None
    gpu: bool = False

    @property
    def ranks(self) -> bool:
        return self.booster in RANKERS

    @property
    def labels(self) -> list[str]:
        """Names that every library takes: unique, without the signs that its formats use."""
        return [f"{at}_{re.sub('[^0-9A-Za-z_]', '_', name)}" for at, name in enumerate(self.names)]

    def teachable(self) -> "FitTask":
        """Less the products that teach a ranker nothing: those without their truth."""
        if not self.ranks:
            return self
        watched = None if self.watched is None else _with_truth(self.watched)
        return replace(self, seen=_with_truth(self.seen), watched=watched)


def chunks(source: RowSource) -> Iterator[np.ndarray]:
    """All rows of a source in order, float32 [at most CHUNK, F] at a time."""
    for start in range(0, source.rows, CHUNK):
        yield source.read(np.arange(start, min(start + CHUNK, source.rows)))


def bounded(examples: LabelledRows, seed: int) -> LabelledRows:
    """At most DENSE_ROWS rows, or one product: whole products, drawn by the seed."""
    if examples.source.rows <= DENSE_ROWS:
        return examples
    first, size = blend.runs(examples.product)
    order = np.random.default_rng(seed).permutation(len(first))
    last = max(1, int(np.searchsorted(np.cumsum(size[order]), DENSE_ROWS, side="right")))
    kept = np.zeros(len(first), bool)
    kept[order[:last]] = True
    return examples.take(np.flatnonzero(np.repeat(kept, size)))


def dense(source: RowSource) -> np.ndarray:
    """The whole source, float32 [R, F]."""
    return source.read(np.arange(source.rows))


def _with_truth(examples: LabelledRows) -> LabelledRows:
    first, size = blend.runs(examples.product)
    truths = np.add.reduceat(examples.target, first, dtype=np.int64)
    return examples.take(np.flatnonzero(np.repeat(truths > 0, size)))
