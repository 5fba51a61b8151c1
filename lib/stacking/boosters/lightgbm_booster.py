"""LightGBM's boosters: binary ones of four temperaments, and the ranking one (C10, C12)."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from lib.config.schema import Stack
from lib.stacking import blend
from lib.stacking.boosters import base as tasks
from lib.stacking.boosters.base import BINS, FitTask, LabelledRows, RowSource
from lib.stacking.rounds import watched_loss

# Through logging, not print: LightGBM warns of every -1 in a categorical column, our "no class",
# which it reads as missing just as it should.
_quiet = logging.getLogger("lightgbm.native")
_quiet.setLevel(logging.ERROR)
lightgbm.register_logger(_quiet)


class LightGBM:
    def __init__(
        self, model: lightgbm.Booster, threads: int, curve: tuple[float, ...] = ()
    ) -> None:
        self.model, self.threads, self.curve = model, threads, curve

    def predict(self, x: np.ndarray) -> np.ndarray:
        scores = self.model.predict(x, num_iteration=-1, num_threads=self.threads)
        return np.asarray(scores, np.float32)

    def importances(self) -> np.ndarray:
        return self.model.feature_importance("gain", iteration=-1)

    def cut(self, rounds: int) -> "LightGBM":
        text = self.model.model_to_string(num_iteration=rounds)
        return LightGBM(lightgbm.Booster(model_str=text), self.threads)

    def save(self, path: Path) -> None:
        text = self.model.model_to_string(num_iteration=-1)
        path.write_text(re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", text))


def fit(task: FitTask) -> LightGBM:
    """A fitted booster; rows are read twice, by chunks, and only their bins stay.

    Bins come from the same 200,000 rows that the library draws of an array in memory: equal files
    to those of an array, whatever the size of a chunk.
    """
    parameters = _parameters(task)
    data = _binned(task, task.seen, parameters, None)
    curve: dict[str, Any] = {}
    watching: dict[str, Any] = {}
    if task.watched is not None:
        loss = watched_loss(task)
        watching = {
            "valid_sets": [_binned(task, task.watched, parameters, data)],
            "valid_names": ["watched"],
            "feval": lambda answers, _: ("loss", loss(answers), False),
            "callbacks": [
                lightgbm.early_stopping(task.stack.early_stopping_rounds, verbose=False),
                lightgbm.record_evaluation(curve),
            ],
            "keep_training_booster": True,  # else it comes cut to the best round of this fold
        }
    model = lightgbm.train(parameters, data, task.stack.n_estimators, **watching)
    grown = lightgbm.Booster(model_str=model.model_to_string(num_iteration=-1))
    return LightGBM(grown, task.threads, tuple(curve["watched"]["loss"]) if curve else ())


def load(path: Path, threads: int) -> LightGBM:
    return LightGBM(lightgbm.Booster(model_str=path.read_text()), threads)


def _parameters(task: FitTask) -> dict[str, Any]:
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
        **KINDS[task.booster](stack),
    }


def _plain(stack: Stack) -> dict[str, Any]:
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


def _ranking(stack: Stack) -> dict[str, Any]:
    return {**_plain(stack), "objective": "lambdarank"}


KINDS: dict[str, Callable[[Stack], dict[str, Any]]] = {
    "lightgbm": _plain,
    "lgbm_1": _deep,
    "lgbm_2": _random_thresholds,
    "lgbm_3": _shallow,
    "lambdarank": _ranking,
}


def _binned(
    task: FitTask, examples: LabelledRows, parameters: dict[str, Any], like: lightgbm.Dataset | None
) -> lightgbm.Dataset:
    """The rows in bins, a byte a value or less."""
    return _Dataset(
        _Rows(examples.source),
        examples.target,
        reference=like,
        group=blend.runs(examples.product)[1] if task.ranks else None,
        feature_name=task.labels,
        categorical_feature=list(task.categorical),
        params=parameters,
    )


class _Dataset(lightgbm.Dataset):
    """Rows that are streamed are binned by the parameters that the library names in `get_params`.

    It leaves out those two: binning would use every core and speak.
    """

    def get_params(self) -> dict[str, Any]:
        own = self.params or {}
        return super().get_params() | {key: own[key] for key in ("num_threads", "verbosity")}


class _Rows(lightgbm.Sequence):
    """The library asks for the rows of its sample one by one, in order, then for slices."""

    def __init__(self, source: RowSource) -> None:
        self.source = source
        self.batch_size = tasks.CHUNK
        self.start, self.block = 0, np.empty((0, 0), np.float32)

    def __len__(self) -> int:
        return self.source.rows

    def __getitem__(self, wanted: Any) -> np.ndarray:
        if isinstance(wanted, slice):
            return self._read(wanted.start, wanted.stop)
        if not 0 <= wanted - self.start < len(self.block):
            self.start, self.block = wanted, self._read(wanted, wanted + self.batch_size)
        return self.block[wanted - self.start].astype(np.float64)  # as the library asks of samples

    def _read(self, start: int, stop: int) -> np.ndarray:
        return self.source.read(np.arange(start, min(stop, len(self))))
