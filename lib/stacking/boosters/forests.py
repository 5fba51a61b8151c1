"""Random forest and extra trees of scikit-learn, on binned values."""

from pathlib import Path

import joblib
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline

from lib.config.schema import Stack
from lib.errors import UserError
from lib.stacking.boosters.base import BINS, FitTask, RowSource, read_chunks, subsample

EXTENSION = "joblib"
HAS_ROUNDS = False
BIN_ROWS = 50_000  # rows that the bin edges are taken from
MIN_TREE_ROWS = 30_000  # rows drawn for a tree: these, or a fraction of a larger table
CLASSIFIERS = {"random_forest": RandomForestClassifier, "extra_trees": ExtraTreesClassifier}


def forest(name: str, num_rows: int, stack: Stack, seed: int, threads: int = 1) -> Pipeline:
    """The scikit-learn pipeline behind `random_forest` and `extra_trees`, not yet fitted.

    Binned values have few distinct thresholds, which makes the exact search of a forest several
    times faster; each tree sees a draw of the rows, which bounds its time at any size of table.
    Raises UserError if no tree could split.
    """
    # Random thresholds cost a third of searched ones, so extra trees can afford more rows.
    fraction, fewest = (0.1, MIN_TREE_ROWS) if name == "random_forest" else (0.3, 3 * MIN_TREE_ROWS)
    drawn = max(fewest, int(num_rows * fraction))
    if 2 * stack.min_data_in_leaf > min(drawn, num_rows):
        raise UserError(
            f"stack.min_data_in_leaf = {stack.min_data_in_leaf}: at most"
            f" {min(drawn, num_rows) // 2} for {name}, half of the rows that a tree sees"
        )
    trees = CLASSIFIERS[name](
        n_estimators=stack.forest_n_estimators,
        min_samples_leaf=stack.min_data_in_leaf,
        max_features="sqrt",
        bootstrap=True,
        max_samples=drawn if drawn < num_rows else None,
        random_state=seed,
        n_jobs=threads,
    )
    return Pipeline([("bins", QuantileBins()), ("trees", trees)])


class QuantileBins(TransformerMixin, BaseEstimator):
    """Replace each value by the index of its quantile bin, and NaN by -1.

    -1 puts missing values below all others. scikit-learn's forests also fit on NaN, but choose a
    side for it at every split.
    """

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> "QuantileBins":
        """Take the edges from at most 2 * BIN_ROWS evenly spaced rows of x float32 [R, F]."""
        return self.fit_sample(x[:: _step(len(x))])

    def fit_sample(self, sample: np.ndarray) -> "QuantileBins":
        """Take the edges from all rows of `sample` float32 [r, F]."""
        self.edges_ = [_edges(sample[:, column]) for column in range(sample.shape[1])]
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Bin indices, float32 [R, F]."""
        binned = np.empty(x.shape, np.float32)
        for column, edges in enumerate(self.edges_):
            values = x[:, column]
            binned[:, column] = np.searchsorted(edges, values, side="right")
            binned[np.isnan(values), column] = -1
        return binned


class Forest:
    """A fitted forest; a `Booster` without rounds."""

    eval_history: tuple[float, ...] = ()

    def __init__(self, model: Pipeline, threads: int) -> None:
        self.model, self.threads = model, threads

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probability of the positive class, float32 [R].

        x: float32 [R, F].
        """
        self.model.set_params(trees__n_jobs=self.threads)
        return self.model.predict_proba(x)[:, 1].astype(np.float32)

    def importances(self) -> np.ndarray:
        """Mean decrease of impurity by each column, float64 [F]."""
        return self.model["trees"].feature_importances_

    def trim(self, num_rounds: int) -> "Forest":
        """Raises ValueError: a forest has no rounds."""
        raise ValueError("a forest has no rounds")

    def save(self, path: Path) -> None:
        """Write a joblib file."""
        self.model.set_params(trees__n_jobs=None)
        joblib.dump(self.model, path, compress=3)


def fit(task: FitTask) -> Forest:
    """Fit one forest on `base.MAX_ARRAY_ROWS` rows at most: scikit-learn needs them in memory.

    Only their bins are ever complete in memory, not the values.
    """
    train = subsample(task.train, task.seed)
    model = forest(task.booster, train.source.rows, task.stack, task.seed, task.threads)
    model["trees"].fit(_bin_rows(model["bins"], train.source), train.target)
    return Forest(model, task.threads)


def load(path: Path, threads: int) -> Forest:
    """Read the file that `Forest.save` wrote."""
    return Forest(joblib.load(path), threads)


def supports_gpu() -> bool:
    """scikit-learn's forests run on the CPU."""
    return False


def _step(num_rows: int) -> int:
    return max(1, num_rows // BIN_ROWS)


def _edges(values: np.ndarray) -> np.ndarray:
    """Ascending lower edges of all bins but the first."""
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return np.empty(0, np.float32)
    distinct = np.unique(present)
    if len(distinct) <= BINS:
        return distinct[1:]
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.unique(np.quantile(present, inner)).astype(np.float32)


def _bin_rows(bins: QuantileBins, source: RowSource) -> np.ndarray:
    """Fit the bins and bin the whole source, float32 [R, F]."""
    bins.fit_sample(source.read(np.arange(0, source.rows, _step(source.rows))))
    binned = np.empty((source.rows, len(bins.edges_)), np.float32)
    start = 0
    for x in read_chunks(source):
        binned[start : start + len(x)] = bins.transform(x)
        start += len(x)
    return binned
