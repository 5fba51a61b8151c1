"""What every booster shares: the rows to fit on, the task of a fit, and the fitted model.

Rows may be larger than memory. A library that bins rows while it reads them takes a `RowSource` by
chunks, several times if it must; one that needs an array of floats gets a bounded draw of whole
products (`subsample`, `to_array`).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.config.schema import RANKERS, Stack
from lib.stacking.calibration import fit_temperature, multiclass_log_loss, softmax
from lib.utils.groups import group_runs

BINS = 63
CHUNK = 1 << 16  # rows read at a time
MAX_ARRAY_ROWS = 1 << 22  # rows that a library without streaming reads


class RowSource(Protocol):
    """Rows of a table that may lie on disk."""

    @property
    def rows(self) -> int:
        """Number of rows R."""

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows int64 [r] as a new float32 [r, F]; NaN where a value is missing."""


@dataclass(frozen=True)
class InMemoryRows:
    """A source in memory: values float32 [R, F]."""

    values: np.ndarray

    @property
    def rows(self) -> int:
        """Number of rows R."""
        return len(self.values)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows int64 [r], float32 [r, F]."""
        return self.values[rows]


@dataclass(frozen=True)
class RowSubset:
    """The rows `indices` int64 [r] of a source, as a source of its own."""

    source: RowSource
    indices: np.ndarray

    @property
    def rows(self) -> int:
        """Number of rows r."""
        return len(self.indices)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows int64 [n] of the subset, float32 [n, F]."""
        return self.source.read(self.indices[rows])


@dataclass(frozen=True)
class LabelledRows:
    """Candidate rows and their labels.

    target: int8 [R], 1 for the product's own class, else 0. product: int32 [R], ascending.
    """

    source: RowSource
    target: np.ndarray
    product: np.ndarray

    def take(self, rows: np.ndarray) -> "LabelledRows":
        """The rows int64 [r], ascending."""
        return LabelledRows(RowSubset(self.source, rows), self.target[rows], self.product[rows])


@dataclass(frozen=True)
class FitTask:
    """One fit of a booster.

    column_names: [F], stored in the model. categorical: indices of the columns that hold class
    ids, -1 for none. valid: rows for early stopping: after `stack.early_stopping_rounds` rounds
    without a lower loss on them no more follow; None: all `stack.n_estimators` rounds.
    """

    booster: str
    train: LabelledRows
    column_names: Sequence[str]
    categorical: Sequence[int]
    stack: Stack
    seed: int
    threads: int = 1
    valid: LabelledRows | None = None
    use_gpu: bool = False

    @property
    def is_ranker(self) -> bool:
        """Whether the booster learns the order of a product's candidates."""
        return self.booster in RANKERS

    @property
    def feature_names(self) -> list[str]:
        """Names that every library takes: unique, without the characters that formats reserve."""
        return [
            f"{i}_{re.sub('[^0-9A-Za-z_]', '_', name)}" for i, name in enumerate(self.column_names)
        ]

    def rankable(self) -> "FitTask":
        """For a ranker, the task without products that lack their true class; else the task."""
        if not self.is_ranker:
            return self
        valid = None if self.valid is None else _with_positive(self.valid)
        return replace(self, train=_with_positive(self.train), valid=valid)


class Booster(Protocol):
    """A fitted model of candidate rows. eval_history: loss on the valid rows after each round."""

    eval_history: tuple[float, ...]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probability of the positive class, of a ranker any real score: float32 [R].

        x: float32 [R, F], columns in the order of the fit; it is not changed.
        """

    def importances(self) -> np.ndarray:
        """What each column contributed, float64 [F] of at least 0, in the library's own unit."""

    def trim(self, num_rounds: int) -> "Booster":
        """The model as it was after its first rounds."""

    def save(self, path: Path) -> None:
        """Write the native format, whatever the suffix of `path`."""


def read_chunks(source: RowSource) -> Iterator[np.ndarray]:
    """All rows of a source in order, float32 [at most CHUNK, F] at a time."""
    for start in range(0, source.rows, CHUNK):
        yield source.read(np.arange(start, min(start + CHUNK, source.rows)))


def subsample(rows: LabelledRows, seed: int) -> LabelledRows:
    """Whole products, drawn by the seed: at most MAX_ARRAY_ROWS rows, or one product."""
    if rows.source.rows <= MAX_ARRAY_ROWS:
        return rows
    starts, sizes = group_runs(rows.product)
    order = np.random.default_rng(seed).permutation(len(starts))
    total = np.cumsum(sizes[order])
    num_products = max(1, int(np.searchsorted(total, MAX_ARRAY_ROWS, side="right")))
    drawn = np.zeros(len(starts), bool)
    drawn[order[:num_products]] = True
    return rows.take(np.flatnonzero(np.repeat(drawn, sizes)))


def to_array(source: RowSource) -> np.ndarray:
    """The whole source, float32 [R, F]."""
    return source.read(np.arange(source.rows))


def eval_loss(task: FitTask) -> Callable[[np.ndarray], float]:
    """The loss of predictions float [R] for the valid rows of a task.

    Log loss of the rows; for a ranker that of the true candidates after `softmax`, at the
    temperature that suits the round best: its scores are calibrated before they are used.
    """
    assert task.valid is not None
    target, product = task.valid.target, task.valid.product

    def ranker_loss(score: np.ndarray) -> float:
        temperature = fit_temperature(score, product, target)
        return multiclass_log_loss(softmax(score, product, temperature), product, target)

    return ranker_loss if task.is_ranker else lambda prob: log_loss(prob, target)


def log_loss(prob: np.ndarray, target: np.ndarray) -> float:
    """Mean log loss of rows; a probability of the label below 1e-7 counts as 1e-7.

    prob: float [R], of the positive class.
    target: int8 [R], 0 or 1.
    """
    of_label = np.where(target == 1, prob, 1 - prob).astype(np.float64)
    return float(-np.log(np.maximum(of_label, 1e-7)).mean())


def _with_positive(rows: LabelledRows) -> LabelledRows:
    """The rows of the products whose true class is a candidate."""
    starts, sizes = group_runs(rows.product)
    positives = np.add.reduceat(rows.target, starts, dtype=np.int64)
    return rows.take(np.flatnonzero(np.repeat(positives > 0, sizes)))
