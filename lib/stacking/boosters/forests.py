"""Random forest and extra trees of scikit-learn, on binned values."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline

from lib.config.schema import Stack
from lib.errors import UserError
from lib.stacking.boosters.base import BINS, FitTask, RowSource, read_chunks, subsample
from lib.stacking.boosters.forest_kernels import sum_of_trees
from lib.utils.chunks import chunks

EXTENSION = "npz"
HAS_ROUNDS = False
BIN_ROWS = 50_000  # rows that the bin edges are taken from
MIN_TREE_ROWS = 30_000  # rows drawn for a tree: these, or a fraction of a larger table
NODE_DTYPES: dict[str, type] = {  # of the arguments of `sum_of_trees`, in their order
    "starts": np.int64,
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "value": np.float64,
}
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
        return to_bins(x, self.edges_)


def to_bins(x: np.ndarray, edges: Sequence[np.ndarray]) -> np.ndarray:
    """The bin of each value of x float32 [R, F], -1 for NaN: float32 [R, F].

    edges: of each column, ascending lower edges of all bins but the first.
    """
    binned = np.empty(x.shape, np.float32)
    for column, lower in enumerate(edges):
        values = x[:, column]
        binned[:, column] = np.searchsorted(lower, values, side="right")
        binned[np.isnan(values), column] = -1
    return binned


class Forest:
    """A fitted forest as arrays; a `Booster` without rounds.

    edges: of the bins of each column. nodes: the arguments of `sum_of_trees`, by name.
    gains: float64 [F], mean decrease of impurity by each column.
    """

    eval_history: tuple[float, ...] = ()

    def __init__(
        self,
        edges: list[np.ndarray],
        nodes: dict[str, np.ndarray],
        gains: np.ndarray,
        threads: int,
    ) -> None:
        self.edges, self.nodes, self.gains, self.threads = edges, nodes, gains, threads

    @classmethod
    def from_pipeline(cls, model: Pipeline, threads: int) -> "Forest":
        """The arrays of a fitted pipeline of `forest`."""
        trees = [estimator.tree_ for estimator in model["trees"].estimators_]
        counts = [tree.node_count for tree in trees]
        nodes = {
            "starts": np.cumsum([0, *counts[:-1]], dtype=np.int64),
            "feature": _joined([np.maximum(tree.feature, 0) for tree in trees], np.int32),
            "threshold": _joined([tree.threshold for tree in trees], np.float64),
            "left": _joined([tree.children_left for tree in trees], np.int32),
            "right": _joined([tree.children_right for tree in trees], np.int32),
            "value": _joined([tree.value[:, 0, 1] for tree in trees], np.float64),
        }
        return cls(model["bins"].edges_, nodes, model["trees"].feature_importances_, threads)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probability of the positive class, float32 [R].

        x: float32 [R, F].
        """
        binned, total = to_bins(x, self.edges), np.empty(len(x))
        size = max(1, -(-len(x) // self.threads))
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(lambda r: self._sum(binned[r], total[r]), chunks(len(x), size)))
        return (total / len(self.nodes["starts"])).astype(np.float32)

    def _sum(self, binned: np.ndarray, out: np.ndarray) -> None:
        sum_of_trees(binned, *(self.nodes[name] for name in NODE_DTYPES), out)

    def importances(self) -> np.ndarray:
        """Mean decrease of impurity by each column, float64 [F]."""
        return self.gains

    def trim(self, num_rounds: int) -> "Forest":
        """Raises ValueError: a forest has no rounds."""
        raise ValueError("a forest has no rounds")

    def save(self, path: Path) -> None:
        """Write the arrays as .npz, which holds numbers alone and runs no code when it is read."""
        sizes = np.array([len(edges) for edges in self.edges], np.int64)
        edges = _joined([*self.edges, []], np.float32)
        arrays: dict[str, Any] = {"sizes": sizes, "edges": edges, "gains": self.gains, **self.nodes}
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)


def fit(task: FitTask) -> Forest:
    """Fit one forest on `base.MAX_ARRAY_ROWS` rows at most: scikit-learn needs them in memory.

    Only their bins are ever complete in memory, not the values.
    """
    train = subsample(task.train, task.seed)
    model = forest(task.booster, train.source.rows, task.stack, task.seed, task.threads)
    model["trees"].fit(_bin_rows(model["bins"], train.source), train.target)
    return Forest.from_pipeline(model, task.threads)


def load(data: bytes, threads: int) -> Forest:
    """The forest of the bytes that `Forest.save` wrote. Raises ValueError for others."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        sizes, edges, gains = file["sizes"], file["edges"], file["gains"]
        nodes = {name: file[name].astype(kind, copy=False) for name, kind in NODE_DTYPES.items()}
    if sizes.sum() != len(edges) or len(sizes) != len(gains):
        raise ValueError("bins of other columns")
    _check_nodes(nodes, len(sizes))
    return Forest(np.split(edges, np.cumsum(sizes)[:-1]), nodes, gains, threads)


def _check_nodes(nodes: dict[str, np.ndarray], num_columns: int) -> None:
    """Raise ValueError unless every tree ends: children follow their parents in the same tree."""
    starts, feature, left, right = (nodes[n] for n in ("starts", "feature", "left", "right"))
    count = len(left)
    if len({len(nodes[name]) for name in NODE_DTYPES if name != "starts"}) != 1:
        raise ValueError("nodes of different numbers")
    if len(starts) == 0 or starts[0] != 0 or starts[-1] >= count or (np.diff(starts) <= 0).any():
        raise ValueError("trees without nodes")
    sizes = np.diff([*starts, count])
    size, own = np.repeat(sizes, sizes), np.arange(count) - np.repeat(starts, sizes)
    inner = left >= 0
    for child in (left[inner], right[inner]):
        if (child <= own[inner]).any() or (child >= size[inner]).any():
            raise ValueError("a node whose children are not below it")
    if (feature < 0).any() or (feature >= num_columns).any():
        raise ValueError("a node of a column that does not exist")


def _joined(arrays: Sequence[Any], dtype: type) -> np.ndarray:
    return np.concatenate(arrays).astype(dtype)


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
