"""Random forest and extra trees of scikit-learn, on binned values (C10)."""

from pathlib import Path

import joblib
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline

from lib.config.schema import Stack
from lib.stacking.boosters.base import BINS, FitTask, RowSource, bounded, chunks

BIN_ROWS = 50_000  # rows that the bin edges are taken from
LEAST_TREE_ROWS = 30_000  # rows drawn for a tree: these, or a share of a larger table
KINDS = {"random_forest": RandomForestClassifier, "extra_trees": ExtraTreesClassifier}


def forest(name: str, rows: int, stack: Stack, seed: int, threads: int = 1) -> Pipeline:
    """The scikit-learn pipeline behind `random_forest` and `extra_trees`, not yet fitted.

    Binned values have few ties to break, which makes the exact search of a forest several times
    faster; each tree sees a draw of the rows, which bounds its time at any size of table.
    """
    # Random thresholds cost a third of searched ones, so extra trees can afford more rows.
    share, least = (0.1, LEAST_TREE_ROWS) if name == "random_forest" else (0.3, 3 * LEAST_TREE_ROWS)
    drawn = max(least, int(rows * share))
    trees = KINDS[name](
        n_estimators=stack.forest_n_estimators,
        min_samples_leaf=stack.min_data_in_leaf,
        max_features="sqrt",
        bootstrap=True,
        max_samples=drawn if drawn < rows else None,
        random_state=seed,
        n_jobs=threads,
    )
    return Pipeline([("bins", QuantileBins()), ("trees", trees)])


class QuantileBins(TransformerMixin, BaseEstimator):
    """Replace each value by the number of its quantile bin, NaN by -1: forests see no NaN."""

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> "QuantileBins":
        sample = x[:: _step(len(x))]
        self.edges_ = [_edges(sample[:, column]) for column in range(x.shape[1])]
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        binned = np.empty(x.shape, np.float32)
        for column, edges in enumerate(self.edges_):
            values = x[:, column]
            binned[:, column] = np.searchsorted(edges, values, side="right")
            binned[np.isnan(values), column] = -1
        return binned


def _step(rows: int) -> int:
    return max(1, rows // BIN_ROWS)


def _edges(values: np.ndarray) -> np.ndarray:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return np.empty(0, np.float32)
    distinct = np.unique(known)
    if len(distinct) <= BINS:
        return distinct[1:]
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.unique(np.quantile(known, inner)).astype(np.float32)


class Forest:
    curve: tuple[float, ...] = ()

    def __init__(self, model: Pipeline, threads: int) -> None:
        self.model, self.threads = model, threads

    def predict(self, x: np.ndarray) -> np.ndarray:
        self.model.set_params(trees__n_jobs=self.threads)
        return self.model.predict_proba(x)[:, 1].astype(np.float32)

    def importances(self) -> np.ndarray:
        return self.model["trees"].feature_importances_

    def cut(self, rounds: int) -> "Forest":
        raise ValueError("a forest has no rounds")

    def save(self, path: Path) -> None:
        self.model.set_params(trees__n_jobs=None)
        joblib.dump(self.model, path, compress=3)


def fit(task: FitTask) -> Forest:
    """A fitted `forest`, of `task.DENSE_ROWS` rows at most: scikit-learn wants them in memory.

    Only their bins are ever whole in memory, not the values that they are made of.
    """
    seen = bounded(task.seen, task.seed)
    model = forest(task.booster, seen.source.rows, task.stack, task.seed, task.threads)
    binned = _binned(model["bins"], seen.source)
    model["trees"].fit(binned, seen.target)
    return Forest(model, task.threads)


def load(path: Path, threads: int) -> Forest:
    return Forest(joblib.load(path), threads)


def _binned(bins: QuantileBins, source: RowSource) -> np.ndarray:
    """Fit the bins and put the whole source into them, float32 [R, F]."""
    sample = source.read(np.arange(0, source.rows, _step(source.rows)))
    bins.edges_ = [_edges(sample[:, column]) for column in range(sample.shape[1])]
    binned = np.empty((source.rows, sample.shape[1]), np.float32)
    at = 0
    for x in chunks(source):
        binned[at : at + len(x)] = bins.transform(x)
        at += len(x)
    return binned
