"""The models of a layer, one for each fold left out: fitted, cut and asked side by side (C10).

Every model is written when it is done and taken as it is when it is there, so that an interrupted
call goes on. `stack` says what the files are.
"""

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from lib.stacking import rounds
from lib.stacking.boosters import registry
from lib.stacking.boosters.base import FitTask, LabelledRows, RowSource, RowSubset, chunks
from lib.utils.files import atomic_write

Result = TypeVar("Result")


@dataclass(frozen=True)
class FoldModels:
    """The models of a layer in their folder; model k is fitted without fold k.

    alone: one fit at a time, for each would take the whole of a GPU's memory.
    """

    folder: Path
    booster: str
    threads: int
    alone: bool = False

    def path(self, stem: str) -> Path:
        return self.folder / f"{stem}.{registry.EXTENSIONS[self.booster]}"

    def fit(self, task: Callable[[int, int], FitTask], folds: int) -> None:
        def one(k: int, own_threads: int) -> None:
            if not self.path(f"fold-{k}").exists():
                self.save(f"fold-{k}", registry.fit(task(k, own_threads)))

        side_by_side(one, folds, self.threads, self.booster, self.alone)

    def fit_watched(
        self, task: Callable[[int, int], FitTask], watched: Sequence[LabelledRows]
    ) -> int:
        """Fit, choose the number of rounds for all folds, cut; the number."""
        chosen = self.folder / "rounds.json"
        if not chosen.exists():
            curves = self._uncut(task, watched)
            count, mean = rounds.best(curves)
            # Six digits: another number of threads adds losses up in another order.
            losses = [round(loss, 6) for loss in mean]
            write_json(chosen, {"rounds": count, "loss": losses})
        count = json.loads(chosen.read_text())["rounds"]
        for k in range(len(watched)):
            if not self.path(f"fold-{k}").exists():
                uncut = registry.load(self.booster, self.path(f"uncut-{k}"), self.threads)
                self.save(f"fold-{k}", uncut.cut(count))
        for k in range(len(watched)):
            self.path(f"uncut-{k}").unlink(missing_ok=True)
            (self.folder / f"curve-{k}.json").unlink(missing_ok=True)
        return count

    def _uncut(
        self, task: Callable[[int, int], FitTask], watched: Sequence[LabelledRows]
    ) -> list[list[float]]:
        """Models that grew until patience ended; the loss of each after each round."""

        def one(k: int, own_threads: int) -> list[float]:
            curve = self.folder / f"curve-{k}.json"
            if not self.path(f"uncut-{k}").exists():
                model = registry.fit(replace(task(k, own_threads), watched=watched[k]))
                write_json(curve, model.curve)
                self.save(f"uncut-{k}", model)  # last: where it is, its curve is
            return json.loads(curve.read_text())

        return side_by_side(one, len(watched), self.threads, self.booster, self.alone)

    def save(self, stem: str, model: registry.Booster) -> None:
        with atomic_write(self.path(stem)) as temporary:
            model.save(temporary)

    def out_of_fold(
        self, source: RowSource, fold: np.ndarray, folds: int
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Each row as the model without its fold answers, float32 [R]; importances by model."""
        scores = np.full(source.rows, np.nan, np.float32)

        def one(k: int, own_threads: int) -> np.ndarray:
            # Read back, so that an interrupted and an uninterrupted call score with the same thing.
            model = registry.load(self.booster, self.path(f"fold-{k}"), own_threads)
            rows = np.flatnonzero(fold == k)
            scores[rows] = score(model, RowSubset(source, rows))
            return model.importances()

        return scores, side_by_side(one, folds, self.threads, self.booster)


def paths(folder: Path, extension: str) -> list[Path]:
    """The models of a layer by number of their fold, which is not the order of their names."""
    numbered = {
        int(found.group(1)): path
        for path in folder.iterdir()
        if (found := re.fullmatch(rf"fold-(\d+)\.{extension}", path.name))
    }
    if not numbered or sorted(numbered) != list(range(len(numbered))):
        raise ValueError(f"{folder}: models of folds {sorted(numbered)}")
    return [numbered[k] for k in range(len(numbered))]


def score(model: registry.Booster, source: RowSource) -> np.ndarray:
    """What the model answers for every row of the source, read by chunks: float32 [R]."""
    scores = np.empty(source.rows, np.float32)
    at = 0
    for x in chunks(source):
        scores[at : at + len(x)] = model.predict(x)
        at += len(x)
    return scores


def side_by_side(
    one: Callable[[int, int], Result], count: int, threads: int, title: str, alone: bool = False
) -> list[Result]:
    """`one(k, threads of its own)` for each k, as many at a time as there are threads, or alone."""
    workers = 1 if alone else max(1, min(count, threads))
    with ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(one, k, max(1, threads // workers)) for k in range(count)]
        try:
            for task in tqdm(as_completed(tasks), title, count, leave=False, disable=None):
                task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [task.result() for task in tasks]


def write_json(path: Path, value: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1))
