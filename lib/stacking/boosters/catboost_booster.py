"""CatBoost."""

import re
from pathlib import Path

import catboost
import numpy as np

from lib.stacking.boosters.base import BINS, FitTask, LabelledRows, subsample, to_array

EXTENSION = "cbm"
HAS_ROUNDS = True


class CatBoost:
    """A fitted CatBoost model; a `Booster`."""

    def __init__(
        self,
        model: catboost.CatBoostClassifier,
        threads: int,
        eval_history: tuple[float, ...] = (),
    ) -> None:
        self.model, self.threads, self.eval_history = model, threads, eval_history

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probability of the positive class, float32 [R].

        x: float32 [R, F].
        """
        probs = self.model.predict_proba(x, thread_count=self.threads)
        return probs[:, 1].astype(np.float32)

    def importances(self) -> np.ndarray:
        """How much a prediction changes with each column, float64 [F]."""
        return np.asarray(self.model.get_feature_importance(type="PredictionValuesChange"))

    def trim(self, num_rounds: int) -> "CatBoost":
        """The model as it was after its first rounds."""
        trimmed = self.model.copy()
        trimmed.shrink(num_rounds)
        return CatBoost(trimmed, self.threads)

    def save(self, path: Path) -> None:
        """Write CatBoost's binary format, without what differs between two equal fits."""
        metadata = self.model.get_metadata()
        metadata["model_guid"] = metadata["train_finish_time"] = ""
        parameters = re.sub(r'"thread_count":\d+', '"thread_count":1', metadata["params"])
        metadata["params"] = parameters.replace('"task_type":"GPU"', '"task_type":"CPU"')
        path.write_bytes(self.model._serialize_model())  # save_model hides that a write failed


def fit(task: FitTask) -> CatBoost:
    """Fit one model on `base.MAX_ARRAY_ROWS` rows at most: the library needs them in memory.

    Class ids are numbers to it, whatever `stack.native_categories` is: as categories they take nine
    times as long on 41 columns of 126 classes, and the scores are no better.
    """
    stack = task.stack
    model = catboost.CatBoostClassifier(
        iterations=stack.n_estimators,
        depth=min(10, max(1, round(float(np.log2(stack.num_leaves))) + 1)),
        learning_rate=stack.learning_rate,
        border_count=BINS,
        boosting_type="Plain",
        bootstrap_type="Bernoulli",
        subsample=0.7,
        random_seed=task.seed,
        thread_count=task.threads,
        task_type="GPU" if task.use_gpu else None,
        allow_writing_files=False,  # else it writes a folder catboost_info to the working directory
        verbose=False,
    )
    if task.valid is None:
        model.fit(_pool(task, task.train))
        return CatBoost(model, task.threads)
    model.fit(
        _pool(task, task.train),
        eval_set=_pool(task, task.valid),
        early_stopping_rounds=stack.early_stopping_rounds,
        use_best_model=False,
    )
    history = model.get_evals_result()["validation"]["Logloss"]
    return CatBoost(model, task.threads, tuple(history))


def load(data: bytes, threads: int) -> CatBoost:
    """The model of the bytes that `CatBoost.save` wrote."""
    model = catboost.CatBoostClassifier()
    model.load_model(blob=data, format="cbm")
    return CatBoost(model, threads)


def supports_gpu() -> bool:
    """Every build of the library can fit on a GPU."""
    return True


def _pool(task: FitTask, rows: LabelledRows) -> catboost.Pool:
    drawn = subsample(rows, task.seed)
    # Without names CatBoost calls the columns 0..F-1 and takes any array of that width later.
    return catboost.Pool(
        to_array(drawn.source),
        drawn.target,
        feature_names=task.feature_names,
        thread_count=task.threads,
    )
