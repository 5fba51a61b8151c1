"""XGBoost's boosters: the binary one and the ranking one (C10)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from lib.stacking.boosters.base import BINS, FitTask, LabelledRows, chunks
from lib.stacking.rounds import watched_loss


class XGBoost:
    def __init__(self, model: xgboost.Booster, curve: tuple[float, ...] = ()) -> None:
        self.model, self.curve = model, curve
        kinds = model.feature_types or []
        self.coded = [place for place, kind in enumerate(kinds) if kind == "c"]

    def predict(self, x: np.ndarray) -> np.ndarray:
        known = _uncoded(x, self.coded)
        return self.model.inplace_predict(known, validate_features=False).astype(np.float32)

    def importances(self) -> np.ndarray:
        gain = self.model.get_score(importance_type="total_gain")
        return np.array([gain.get(label, 0.0) for label in self.model.feature_names or []])

    def cut(self, rounds: int) -> "XGBoost":
        return XGBoost(self.model[:rounds])

    def save(self, path: Path) -> None:
        path.write_bytes(self.model.save_raw("ubj"))


def fit(task: FitTask) -> XGBoost:
    """A fitted booster; rows are read four times, by chunks, and only their bins stay.

    The bins of several chunks are those of one: equal files whatever the size of a chunk.
    """
    data = _binned(task, task.seen, None)
    curve: dict[str, Any] = {}
    watching: dict[str, Any] = {}
    if task.watched is not None:
        loss = watched_loss(task)
        watching = {
            "evals": [(_binned(task, task.watched, data), "watched")],
            "custom_metric": lambda answers, _: ("loss", loss(answers)),
            "early_stopping_rounds": task.stack.early_stopping_rounds,
            "evals_result": curve,
            "verbose_eval": False,
        }
    model = xgboost.train(_parameters(task), data, task.stack.n_estimators, **watching)
    model.set_attr(best_iteration=None, best_score=None)  # of this fold; the layer's will hold
    return XGBoost(model, tuple(curve["watched"]["loss"]) if curve else ())


def load(path: Path, threads: int) -> XGBoost:
    model = xgboost.Booster({"nthread": threads})
    model.load_model(bytearray(path.read_bytes()))
    return XGBoost(model)


def has_cuda() -> bool:
    """Whether the installed library was built for GPUs."""
    return bool(xgboost.build_info()["USE_CUDA"])


def _parameters(task: FitTask) -> dict[str, Any]:
    stack = task.stack
    parameters = {
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
    if task.ranks:
        parameters["objective"] = "rank:ndcg"
    if task.gpu and has_cuda():
        parameters["device"] = "cuda"
    if task.stack.native_categories:
        # A class against all others is no split worth having, and sets of many fit noise.
        parameters |= {"max_cat_to_onehot": 1, "max_cat_threshold": 16}
    return parameters


def _binned(
    task: FitTask, examples: LabelledRows, like: xgboost.QuantileDMatrix | None
) -> xgboost.QuantileDMatrix:
    """The rows in bins, one byte a value (two where a category has more than 256 codes)."""
    coded = list(task.categorical) if task.stack.native_categories else []
    kinds = ["c" if place in set(coded) else "q" for place in range(len(task.names))]
    data = xgboost.QuantileDMatrix(
        _Chunks(examples, task.labels, kinds, coded),
        max_bin=BINS + 1,
        nthread=task.threads,
        missing=np.nan,
        ref=like,
        enable_categorical=bool(coded),
    )
    data.set_info(label=examples.target)
    if task.ranks:
        data.set_info(qid=examples.product)
    return data


class _Chunks(xgboost.DataIter):
    def __init__(
        self, examples: LabelledRows, labels: list[str], kinds: list[str], coded: list[int]
    ) -> None:
        super().__init__(release_data=True)
        self.source, self.labels, self.kinds, self.coded = examples.source, labels, kinds, coded
        self.left: Iterator[np.ndarray] = iter(())

    def reset(self) -> None:
        self.left = chunks(self.source)

    def next(self, input_data: Callable[..., None]) -> bool:
        x = next(self.left, None)
        if x is None:
            return False
        input_data(
            data=_uncoded(x, self.coded), feature_names=self.labels, feature_types=self.kinds
        )
        return True


def _uncoded(x: np.ndarray, coded: list[int]) -> np.ndarray:
    """With NaN for the codes below 0, which XGBoost takes for an error; x is left as it is."""
    if not coded:
        return x
    known = x.copy()
    for place in coded:
        known[known[:, place] < 0, place] = np.nan
    return known
