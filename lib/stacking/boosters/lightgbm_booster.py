"""LightGBM: parameters (`make_params`), four binary boosters and a ranker."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Stack
from lib.stacking.boosters import base
from lib.stacking.boosters.base import BINS, FitTask, LabelledRows, RowSource, eval_loss
from lib.stacking.boosters.light_import import without_sklearn
from lib.utils.groups import group_runs

with without_sklearn():
    import lightgbm

EXTENSION = "txt"
HAS_ROUNDS = True

# LightGBM warns of every -1 in a categorical column; it reads our "no class" as missing, as it
# should. Its own verbosity setting holds on the main thread only.
_logger = logging.getLogger("lightgbm.native")
_logger.setLevel(logging.ERROR)
lightgbm.register_logger(_logger)


class LightGBM:
    """A fitted LightGBM model; a `Booster`."""

    def __init__(
        self, model: lightgbm.Booster, threads: int, eval_history: tuple[float, ...] = ()
    ) -> None:
        self.model, self.threads, self.eval_history = model, threads, eval_history

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probability of the positive class, or the ranker's score: float32 [R].

        x: float32 [R, F].
        """
        scores = self.model.predict(x, num_iteration=-1, num_threads=self.threads)
        return np.asarray(scores, np.float32)

    def importances(self) -> np.ndarray:
        """Total gain of the splits on each column, float64 [F]."""
        return self.model.feature_importance("gain", iteration=-1)

    def trim(self, num_rounds: int) -> "LightGBM":
        """The model as it was after its first rounds."""
        text = self.model.model_to_string(num_iteration=num_rounds)
        return LightGBM(lightgbm.Booster(model_str=text), self.threads)

    def save(self, path: Path) -> None:
        """Write LightGBM's text format, without the number of threads."""
        text = self.model.model_to_string(num_iteration=-1)
        path.write_text(re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", text))


def fit(task: FitTask) -> LightGBM:
    """Fit one model; rows are read twice, by chunks, and only their bins stay in memory.

    Bins come from the same 200,000 rows that the library draws of an array in memory: equal files
    to those of an array, whatever the size of a chunk.
    """
    params = make_params(task)
    data = _bin_rows(task, task.train, params, None)
    history: dict[str, Any] = {}
    early_stopping: dict[str, Any] = {}
    if task.valid is not None:
        loss = eval_loss(task)
        early_stopping = {
            "valid_sets": [_bin_rows(task, task.valid, params, data)],
            "valid_names": ["valid"],
            "feval": lambda prediction, _: ("loss", loss(prediction), False),
            "callbacks": [
                lightgbm.early_stopping(task.stack.early_stopping_rounds, verbose=False),
                lightgbm.record_evaluation(history),
            ],
            "keep_training_booster": True,  # else it is trimmed to the best round of this fold
        }
    model = lightgbm.train(params, data, task.stack.n_estimators, **early_stopping)
    untrimmed = lightgbm.Booster(model_str=model.model_to_string(num_iteration=-1))
    return LightGBM(untrimmed, task.threads, tuple(history["valid"]["loss"]) if history else ())


def load(data: bytes, threads: int) -> LightGBM:
    """The model of the bytes that `LightGBM.save` wrote."""
    return LightGBM(lightgbm.Booster(model_str=data.decode()), threads)


def supports_gpu() -> bool:
    """The installed library is built for CPUs."""
    return False


def make_params(task: FitTask) -> dict[str, Any]:
    """The library's parameters for a fit."""
    stack = task.stack
    return {
        "objective": "binary",
        "metric": "None",
        "num_leaves": stack.num_leaves,
        "learning_rate": stack.learning_rate,
        "min_data_in_leaf": stack.min_data_in_leaf,
        "max_bin": BINS,
        # Splits on sets of thousands of classes fit noise and take time: small sets, well filled.
        "max_cat_threshold": 16,
        "cat_smooth": 30.0,
        "cat_l2": 30.0,
        "min_data_per_group": 200,
        "deterministic": True,
        "force_col_wise": True,
        "seed": task.seed,
        "data_random_seed": task.seed,  # streamed rows do not inherit the seed above
        "num_threads": task.threads,
        "verbosity": -1,
        **VARIANTS[task.booster](stack),
    }


def _default(stack: Stack) -> dict[str, Any]:
    return {"feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1}


def _deep(stack: Stack) -> dict[str, Any]:
    return {
        "num_leaves": 2 * stack.num_leaves,
        "learning_rate": 0.5 * stack.learning_rate,
        "feature_fraction": 0.4,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
    }


def _random_thresholds(stack: Stack) -> dict[str, Any]:
    return {"extra_trees": True, "feature_fraction": 0.6, "lambda_l2": 1.0, "path_smooth": 1.0}


def _shallow(stack: Stack) -> dict[str, Any]:
    return {
        "num_leaves": max(4, stack.num_leaves // 4),
        "max_depth": 4,
        "lambda_l2": 20.0,
        "min_data_in_leaf": 5 * stack.min_data_in_leaf,
        "feature_fraction": 0.8,
    }


def _ranker(stack: Stack) -> dict[str, Any]:
    return {**_default(stack), "objective": "lambdarank"}


VARIANTS: dict[str, Callable[[Stack], dict[str, Any]]] = {
    "lightgbm": _default,
    "lgbm_deep": _deep,
    "lgbm_extra": _random_thresholds,
    "lgbm_shallow": _shallow,
    "lambdarank": _ranker,
}


def _bin_rows(
    task: FitTask,
    rows: LabelledRows,
    params: dict[str, Any],
    reference: lightgbm.Dataset | None,
) -> lightgbm.Dataset:
    """The rows in bins, one byte a value or less."""
    return _Dataset(
        _Rows(rows.source),
        rows.target,
        reference=reference,
        group=group_runs(rows.product)[1] if task.is_ranker else None,
        feature_name=task.feature_names,
        categorical_feature=list(task.categorical),
        params=params,
    )


class _Dataset(lightgbm.Dataset):
    """A dataset that bins streamed rows with our number of threads, and without log lines.

    The library bins streamed rows with the parameters of `get_params`, which lacks these two.
    """

    def get_params(self) -> dict[str, Any]:
        added = {key: (self.params or {})[key] for key in ("num_threads", "verbosity")}
        return super().get_params() | added


class _Rows(lightgbm.Sequence):
    """Rows of a source: the library reads its sample one by one, in order, then slices."""

    def __init__(self, source: RowSource) -> None:
        self.source = source
        self.batch_size = base.CHUNK
        self.start, self.block = 0, np.empty((0, 0), np.float32)

    def __len__(self) -> int:
        return self.source.rows

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, slice):
            return self._read(index.start, index.stop)
        if not 0 <= index - self.start < len(self.block):
            self.start, self.block = index, self._read(index, index + self.batch_size)
        return self.block[index - self.start].astype(np.float64)  # the dtype of its samples

    def _read(self, start: int, stop: int) -> np.ndarray:
        return self.source.read(np.arange(start, min(stop, len(self))))
