"""XGBoost: its parameters (`make_params`), the binary booster and the ranker."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lib.stacking.boosters.base import BINS, FitTask, LabelledRows, eval_loss, read_chunks
from lib.stacking.boosters.light_import import without_sklearn

with without_sklearn():
    import xgboost

EXTENSION = "ubj"
HAS_ROUNDS = True


class XGBoost:
    """A fitted XGBoost model; a `Booster`."""

    def __init__(self, model: xgboost.Booster, eval_history: tuple[float, ...] = ()) -> None:
        self.model, self.eval_history = model, eval_history
        types = model.feature_types or []
        self.categorical = [i for i, feature_type in enumerate(types) if feature_type == "c"]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probability of the positive class, or the ranker's score: float32 [R].

        x: float32 [R, F].
        """
        values = _without_negative_codes(x, self.categorical)
        return self.model.inplace_predict(values, validate_features=False).astype(np.float32)

    def importances(self) -> np.ndarray:
        """Total gain of the splits on each column, float64 [F]."""
        gain = self.model.get_score(importance_type="total_gain")
        return np.array([gain.get(name, 0.0) for name in self.model.feature_names or []])

    def trim(self, num_rounds: int) -> "XGBoost":
        """The model as it was after its first rounds."""
        return XGBoost(self.model[:num_rounds])

    def save(self, path: Path) -> None:
        """Write XGBoost's binary JSON."""
        path.write_bytes(self.model.save_raw("ubj"))


def fit(task: FitTask) -> XGBoost:
    """Fit one model; rows are read four times, by chunks, and only their bins stay in memory.

    The bins of several chunks are those of one: equal files whatever the size of a chunk.
    """
    data = _bin_rows(task, task.train, None)
    history: dict[str, Any] = {}
    early_stopping: dict[str, Any] = {}
    if task.valid is not None:
        loss = eval_loss(task)
        early_stopping = {
            "evals": [(_bin_rows(task, task.valid, data), "valid")],
            "custom_metric": lambda prediction, _: ("loss", loss(prediction)),
            "early_stopping_rounds": task.stack.early_stopping_rounds,
            "evals_result": history,
            "verbose_eval": False,
        }
    model = xgboost.train(make_params(task), data, task.stack.n_estimators, **early_stopping)
    # All folds are trimmed to one number of rounds, so the best round of this fold is not kept.
    model.set_attr(best_iteration=None, best_score=None)
    return XGBoost(model, tuple(history["valid"]["loss"]) if history else ())


def load(data: bytes, threads: int) -> XGBoost:
    """The model of the bytes that `XGBoost.save` wrote."""
    model = xgboost.Booster({"nthread": threads})
    model.load_model(bytearray(data))
    return XGBoost(model)


def supports_gpu() -> bool:
    """Whether the installed library was built with CUDA."""
    return bool(xgboost.build_info()["USE_CUDA"])


def make_params(task: FitTask) -> dict[str, Any]:
    """The library's parameters for a fit."""
    stack = task.stack
    params = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_leaves": stack.num_leaves,
        "max_bin": BINS + 1,
        "eta": stack.learning_rate,
        # Counts p(1-p) and not rows: with one candidate in eight true, a row weighs about 0.1.
        "min_child_weight": 0.1 * stack.min_data_in_leaf,
        "subsample": 0.8,
        "colsample_bytree": 0.5,
        "seed": task.seed,
        "nthread": task.threads,
        "disable_default_eval_metric": 1,
    }
    if task.is_ranker:
        params["objective"] = "rank:ndcg"
    if task.use_gpu and supports_gpu():
        params["device"] = "cuda"
    if task.stack.native_categories:
        # One class against all others is a weak split, and sets of many classes fit noise.
        params |= {"max_cat_to_onehot": 1, "max_cat_threshold": 16}
    return params


def _bin_rows(
    task: FitTask, rows: LabelledRows, reference: xgboost.QuantileDMatrix | None
) -> xgboost.QuantileDMatrix:
    """The rows in bins, one byte a value (two where a category has more than 256 codes)."""
    categorical = list(task.categorical) if task.stack.native_categories else []
    types = ["c" if i in set(categorical) else "q" for i in range(len(task.column_names))]
    data = xgboost.QuantileDMatrix(
        _ChunkIterator(rows, task.feature_names, types, categorical),
        max_bin=BINS + 1,
        nthread=task.threads,
        missing=np.nan,
        ref=reference,
        enable_categorical=bool(categorical),
    )
    data.set_info(label=rows.target)
    if task.is_ranker:
        data.set_info(qid=rows.product)
    return data


class _ChunkIterator(xgboost.DataIter):
    def __init__(
        self, rows: LabelledRows, names: list[str], types: list[str], categorical: list[int]
    ) -> None:
        super().__init__(release_data=True)
        self.source, self.names, self.types = rows.source, names, types
        self.categorical = categorical
        self.chunks: Iterator[np.ndarray] = iter(())

    def reset(self) -> None:
        self.chunks = read_chunks(self.source)

    def next(self, input_data: Callable[..., None]) -> bool:
        x = next(self.chunks, None)
        if x is None:
            return False
        values = _without_negative_codes(x, self.categorical)
        input_data(data=values, feature_names=self.names, feature_types=self.types)
        return True


def _without_negative_codes(x: np.ndarray, categorical: list[int]) -> np.ndarray:
    """With NaN for the codes below 0, which XGBoost rejects; x is not changed."""
    if not categorical:
        return x
    values = x.copy()
    for column in categorical:
        values[values[:, column] < 0, column] = np.nan
    return values
