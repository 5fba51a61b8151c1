"""Fit a booster out-of-fold

    <folder>/fold-0.txt ...    models in their native format; model k is fitted without fold k
    <folder>/*.sha256          the digest of each, which is compared before a library parses it
    <folder>/columns.json      names of the columns that they read, in order
    <folder>/importances.json  by column: its share of the gain, mean over the models, best first
    <folder>/oof.npy           float32 [R]: each row scored by the one model without its fold
    <folder>/calibration.json  of rankers: temperature of the softmax over a product's rows
    <folder>/rounds.json       with early stopping: rounds of every model, mean loss after each

With `stack.early_stopping_rounds`, model k is evaluated on fold k, whose labels it is not fitted
on. One number is chosen there: the number of rounds, the same for all folds, with the least mean
loss. Models grow past it (`uncut-0.txt` and `curve-0.json` are in the folder meanwhile) and are
trimmed to it before they are stored and score anything. So the out-of-fold scores are slightly
better than they would be with a number chosen elsewhere, as are those of rankers by their
temperature; reported figures come from the locked part.

Each model is written when it is fitted, and not fitted again if it is there: an interrupted call
continues. Folds are fitted in parallel, each on few threads: two OpenMP threads that wait for each
other on a busy machine cost ten times the work, two fits side by side cost nothing.
"""

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from lib.config.schema import RANKERS, Stack
from lib.errors import UserError
from lib.features.table import JoinedTables, Table
from lib.pipeline.reading import read_json
from lib.stacking.boosters import model_file, registry
from lib.stacking.boosters.base import (
    Booster,
    FitTask,
    LabelledRows,
    RowSource,
    RowSubset,
    log_loss,
    read_chunks,
)
from lib.stacking.calibration import fit_temperature, softmax
from lib.utils.files import atomic_write, write_json
from lib.utils.groups import group_argmax, group_runs

Result = TypeVar("Result")


def fit_oof(
    folder: Path,
    booster: str,
    tables: Sequence[Table],
    target: np.ndarray,
    fold: np.ndarray,
    product: np.ndarray,
    stack: Stack,
    seed: int,
    threads: int = 1,
    allow_gpu: bool = True,
) -> dict[str, Any]:
    """Fit `booster` once for each fold on the rows of the others, and score every row.

    tables: columns over the same R rows, read side by side.
    target: int8 [R], 1 for the product's own class, else 0.
    fold: int8 [R], 0 to K - 1, the same for all rows of a product.
    product: int32 [R], ascending.
    seed: the same for all folds.
    allow_gpu: use a GPU if there is one and the library supports it.

    Writes the files of the module's docstring. Scores are probabilities; those of rankers sum to 1
    within a product, by a softmax whose temperature is fitted on the out-of-fold scores.
    Returns numbers for the manifest: rows, columns, folds, rounds, log loss, accuracy.
    Raises UserError for a fold without rows, or whose others have no true or no false candidate or
    are too few for a split, and with early stopping for one without a true candidate; ValueError
    where a product is in two folds, a row has no fold, or the tables differ in rows, and of rankers
    where a product has two true candidates.
    """
    source = JoinedTables(tables)
    rows = LabelledRows(source, target, product)
    early_stopping = stack.early_stopping_rounds > 0 and registry.has_rounds(booster)
    num_folds = _check_folds(rows, fold, early_stopping)
    _check_min_data_in_leaf(fold, stack.min_data_in_leaf)
    use_gpu = allow_gpu and registry.uses_gpu(booster)
    facts: dict[str, Any] = {
        "rows": source.rows,
        "columns": len(source.names),
        "folds": num_folds,
    }

    def task(k: int, fold_threads: int) -> FitTask:
        train = rows.take(np.flatnonzero(fold != k))
        return FitTask(
            booster,
            train,
            source.names,
            source.categorical,
            stack,
            seed,
            fold_threads,
            use_gpu=use_gpu,
        )

    models = FoldModels(folder, booster, num_folds, threads, sequential=use_gpu)
    if early_stopping:
        valid = [rows.take(np.flatnonzero(fold == k)) for k in range(num_folds)]
        facts["rounds"] = models.fit_early_stopping(task, valid)
    else:
        models.fit(task)
    scores, importances = models.predict_oof(source, fold)
    if booster in RANKERS:
        temperature = fit_temperature(scores, product, target)
        write_json(folder / "calibration.json", {"temperature": temperature})
        scores = softmax(scores, product, temperature)
    write_json(folder / "columns.json", source.names)
    write_json(folder / "importances.json", _mean_shares(importances, source.names))
    with atomic_write(folder / "oof.npy") as temporary, temporary.open("wb") as file:
        np.save(file, scores)
    facts["log_loss"] = round(log_loss(scores, target), 6)
    facts["accuracy"] = round(float(target[group_argmax(scores, product)].mean()), 6)
    return facts


@dataclass(frozen=True)
class FoldModels:
    """The models of a booster in their folder; model k is fitted without fold k.

    sequential: one fit at a time, because each would take the whole of a GPU's memory.
    """

    folder: Path
    booster: str
    num_folds: int
    threads: int
    sequential: bool = False

    def path(self, stem: str) -> Path:
        """The file of a model."""
        return self.folder / f"{stem}.{registry.extension(self.booster)}"

    def fit(self, task: Callable[[int, int], FitTask]) -> None:
        """Fit the models that are missing. task: of a fold and its number of threads."""

        def fit_fold(k: int, threads: int) -> None:
            if not model_file.is_intact(self.path(f"fold-{k}")):
                start = time.perf_counter()
                self.save(f"fold-{k}", registry.fit(task(k, threads)))
                write_json(self.folder / f"_time-{k}.json", time.perf_counter() - start)

        run_in_threads(fit_fold, self.num_folds, self.threads, self.booster, self.sequential)

    def fit_early_stopping(
        self, task: Callable[[int, int], FitTask], valid: Sequence[LabelledRows]
    ) -> int:
        """Fit, choose one number of rounds for all folds, and trim to it; returns the number."""
        rounds_file = self.folder / "rounds.json"
        if not rounds_file.exists():
            num_rounds, loss = best_num_rounds(self._fit_untrimmed(task, valid))
            # Six digits: another number of threads adds losses up in another order.
            losses = [round(value, 6) for value in loss]
            write_json(rounds_file, {"rounds": num_rounds, "loss": losses})
        num_rounds = read_json(rounds_file, "rounds")["rounds"]
        for k in range(self.num_folds):
            if not model_file.is_intact(self.path(f"fold-{k}")):
                untrimmed = registry.load(self.booster, self.path(f"uncut-{k}"), self.threads)
                self.save(f"fold-{k}", untrimmed.trim(num_rounds))
        for k in range(self.num_folds):
            model_file.remove(self.path(f"uncut-{k}"))
            (self.folder / f"curve-{k}.json").unlink(missing_ok=True)
        return num_rounds

    def _fit_untrimmed(
        self, task: Callable[[int, int], FitTask], valid: Sequence[LabelledRows]
    ) -> list[list[float]]:
        """Models that grew until their own early stop; the loss of each after each round."""

        def fit_fold(k: int, threads: int) -> list[float]:
            history = self.folder / f"curve-{k}.json"
            if not model_file.is_intact(self.path(f"uncut-{k}")):
                model = registry.fit(replace(task(k, threads), valid=valid[k]))
                write_json(history, model.eval_history)
                self.save(f"uncut-{k}", model)  # last: where the model is, its history is
            return read_json(history)

        return run_in_threads(fit_fold, self.num_folds, self.threads, self.booster, self.sequential)

    def save(self, stem: str, model: Booster) -> None:
        """Write a model so that its file is complete or absent."""
        registry.save(model, self.path(stem))

    def predict_oof(
        self, source: RowSource, fold: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Each row's score by the model without its fold, float32 [R]; importances by model."""
        scores = np.full(source.rows, np.nan, np.float32)

        def predict_fold(k: int, threads: int) -> np.ndarray:
            # Read back, so that an interrupted and an uninterrupted call score with the same model.
            model = registry.load(self.booster, self.path(f"fold-{k}"), threads)
            rows = np.flatnonzero(fold == k)
            scores[rows] = predict_rows(model, RowSubset(source, rows))
            return model.importances()

        return scores, run_in_threads(predict_fold, self.num_folds, self.threads, self.booster)


def best_num_rounds(histories: Sequence[Sequence[float]]) -> tuple[int, list[float]]:
    """The number of rounds with the least mean loss, and that mean after each round.

    histories: of each fold's model, the loss after each round on the fold that it is not fitted on.
        They are cut to the shortest, so that every mean is over all folds. The first of equals
        wins.

    Raises ValueError for an empty history.
    """
    shortest = min(len(history) for history in histories)
    if shortest == 0:
        raise ValueError("a history has no rounds")
    mean = np.mean([history[:shortest] for history in histories], axis=0)
    return int(mean.argmin()) + 1, mean.tolist()


def predict_rows(model: Booster, source: RowSource) -> np.ndarray:
    """The model's score of every row of the source, read by chunks: float32 [R]."""
    scores = np.empty(source.rows, np.float32)
    start = 0
    for x in read_chunks(source):
        scores[start : start + len(x)] = model.predict(x)
        start += len(x)
    return scores


def run_in_threads(
    work: Callable[[int, int], Result],
    count: int,
    threads: int,
    title: str,
    sequential: bool = False,
) -> list[Result]:
    """`work(k, its number of threads)` for each k, as many at once as there are threads, or one."""
    workers = 1 if sequential else max(1, min(count, threads))
    with ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(work, k, max(1, threads // workers)) for k in range(count)]
        try:
            for task in tqdm(as_completed(tasks), title, count, leave=False, disable=None):
                task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [task.result() for task in tasks]


def model_paths(folder: Path, extension: str) -> list[Path]:
    """The models of a folder by number of their fold, which is not the order of their names."""
    numbered = {
        int(match.group(1)): path
        for path in folder.iterdir()
        if (match := re.fullmatch(rf"fold-(\d+)\.{extension}", path.name))
    }
    if not numbered or sorted(numbered) != list(range(len(numbered))):
        raise ValueError(f"{folder}: models of folds {sorted(numbered)}")
    return [numbered[k] for k in range(len(numbered))]


def _check_folds(rows: LabelledRows, fold: np.ndarray, early_stopping: bool) -> int:
    """The number of folds."""
    target, product, num_rows = rows.target, rows.product, rows.source.rows
    if not len(target) == len(fold) == len(product) == num_rows:
        raise ValueError(f"{len(target)}, {len(fold)}, {len(product)} and {num_rows} rows")
    if num_rows == 0:
        raise UserError("stack: no candidate rows to train on; the part has no products")
    starts, sizes = group_runs(product)
    if (fold != np.repeat(fold[starts], sizes)).any():
        raise ValueError("a product is in two folds")
    if fold.min() < 0:
        raise ValueError("a row has no fold")
    num_folds = int(fold.max()) + 1
    for k in range(num_folds):
        others = target[fold != k]
        if len(others) == num_rows or len(np.unique(others)) < 2:
            raise UserError(
                f"stack: fold {k} has no rows, or the others have no true or no false candidate;"
                " use more products or fewer split.n_folds"
            )
        if early_stopping and not target[fold == k].any():
            raise UserError(
                f"stack: fold {k} has no true candidate for early stopping; use more products,"
                " fewer split.n_folds, or stack.early_stopping_rounds = 0"
            )
    return num_folds


def _check_min_data_in_leaf(fold: np.ndarray, min_data_in_leaf: int) -> None:
    """No tree could split, and all rows would have one score."""
    most = (len(fold) - int(np.bincount(fold).max())) // 2
    if min_data_in_leaf > most:
        raise UserError(
            f"stack.min_data_in_leaf = {min_data_in_leaf}: at most {most} here, half of the rows"
            " that a model is fitted on"
        )


def _mean_shares(importances: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Mean over the models of each column's share, highest first."""
    shares = [gain / gain.sum() if gain.sum() > 0 else gain for gain in importances]
    mean = np.mean(shares, axis=0)
    order = np.argsort(-mean, kind="stable")
    return {names[column]: round(float(mean[column]), 6) for column in order}
