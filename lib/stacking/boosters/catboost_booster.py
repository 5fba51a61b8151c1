"""CatBoost (C10)."""

import re
from pathlib import Path

import catboost
import numpy as np

from lib.stacking.boosters.base import BINS, FitTask, LabelledRows, bounded, dense


class CatBoost:
    def __init__(
        self,
        model: catboost.CatBoostClassifier,
        threads: int,
        curve: tuple[float, ...] = (),
    ) -> None:
        self.model, self.threads, self.curve = model, threads, curve

    def predict(self, x: np.ndarray) -> np.ndarray:
        scores = self.model.predict_proba(x, thread_count=self.threads)
        return scores[:, 1].astype(np.float32)

    def importances(self) -> np.ndarray:
        """How much a prediction changes with the column, CatBoost's own kin of the gain."""
        return np.asarray(self.model.get_feature_importance(type="PredictionValuesChange"))

    def cut(self, rounds: int) -> "CatBoost":
        cut = self.model.copy()
        cut.shrink(rounds)
        return CatBoost(cut, self.threads)

    def save(self, path: Path) -> None:
        facts = self.model.get_metadata()
        facts["model_guid"] = facts["train_finish_time"] = ""
        parameters = re.sub(r'"thread_count":\d+', '"thread_count":1', facts["params"])
        facts["params"] = parameters.replace('"task_type":"GPU"', '"task_type":"CPU"')
        self.model.save_model(str(path), format="cbm")


def fit(task: FitTask) -> CatBoost:
    """A fitted booster, of `task.DENSE_ROWS` rows at most: the library wants them in memory.

    Class codes are numbers to it, whatever `stack.native_categories` says: as categories they take
    nine times as long on 41 columns of 126 classes, and the scores are no better.
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
        task_type="GPU" if task.gpu else None,
        allow_writing_files=False,  # else it leaves a folder catboost_info where it is called
        verbose=False,
    )
    if task.watched is None:
        model.fit(_pool(task, task.seen))
        return CatBoost(model, task.threads)
    model.fit(
        _pool(task, task.seen),
        eval_set=_pool(task, task.watched),
        early_stopping_rounds=stack.early_stopping_rounds,
        use_best_model=False,
    )
    curve = model.get_evals_result()["validation"]["Logloss"]
    return CatBoost(model, task.threads, tuple(curve))


def load(path: Path, threads: int) -> CatBoost:
    model = catboost.CatBoostClassifier()
    model.load_model(str(path), format="cbm")
    return CatBoost(model, threads)


def _pool(task: FitTask, examples: LabelledRows) -> catboost.Pool:
    few = bounded(examples, task.seed)
    # Without names CatBoost calls the columns 0..F-1 and takes any array of that width later.
    return catboost.Pool(
        dense(few.source), few.target, feature_names=task.labels, thread_count=task.threads
    )
