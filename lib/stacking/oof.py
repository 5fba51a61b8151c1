"""Layers of boosters: one model for each fold left out, scores for every row (C10, C12).

    <folder>/fold-0.txt ...    models in their native format, model k fitted without fold k
    <folder>/columns.json      names of the columns they read, in order
    <folder>/importances.json  by column: its share of the gain, mean over the models, best first
    <folder>/oof.npy           float32 [R]: row i scored by the one model that never saw its product
    <folder>/calibration.json  of rankers: the temperature of the softmax over a product's rows
    <folder>/rounds.json       with `stack.early_stopping_rounds`: rounds of every model, mean loss

With patience, model k is watched on fold k, whose labels it does not learn from. One whole number
is learnt there and no more: the number of rounds, one for all folds, with the least mean loss.
Models grow past it (`uncut-0.txt`, `curve-0.json` lie in the folder meanwhile) and are cut to it
before they are kept and score anything. So the out-of-fold scores are a little better than they
would be with a number chosen elsewhere, as are those of rankers by their temperature; figures
come from `locked`.

Folds run side by side, each on few threads: two OpenMP threads that wait for each other on a busy
machine cost ten times the work, two fits that never meet cost nothing.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import RANKERS, Stack
from lib.errors import UserError
from lib.features.table import JoinedTables, Table, score_features, target_encode
from lib.stacking import blend, rounds, softmax
from lib.stacking.boosters import registry
from lib.stacking.boosters.base import FitTask, LabelledRows
from lib.stacking.fold_models import FoldModels, paths, score, side_by_side, write_json
from lib.utils.files import atomic_write

__all__ = ["Table", "fit_layer", "predict_layer", "score_features", "target_encode"]


def fit_layer(
    folder: Path,
    booster: str,
    columns: Sequence[Table],
    target: np.ndarray,
    fold: np.ndarray,
    product: np.ndarray,
    stack: Stack,
    seed: int,
    threads: int = 1,
) -> dict[str, Any]:
    """Fit `booster` once for each fold on the rows of the others, and score every row.

    columns: tables over the same R rows, read side by side. target int8 [R] 0 or 1; fold int8 [R]
    0..K-1; product int32 [R] ascending. All folds share the seed. Scores are probabilities; those
    of rankers sum to 1 within a product, by a softmax whose temperature is fitted on the
    out-of-fold scores. Models that are there already are taken as they are: an interrupted call
    goes on.
    Raises UserError for a fold without rows, or whose others have no true or no false candidate,
    and with patience for one without a true candidate; ValueError where a product is in two
    folds, a row has no fold, or the tables differ in rows, and of rankers where a product has two
    true candidates.
    """
    joined = JoinedTables(columns)
    examples = LabelledRows(joined, target, product)
    watching = stack.early_stopping_rounds > 0 and registry.has_rounds(booster)
    folds = _checked_folds(examples, fold, watching)
    on_gpu = registry.uses_gpu(booster)
    facts: dict[str, Any] = {"rows": joined.rows, "columns": len(joined.names), "folds": folds}

    def task(k: int, own_threads: int) -> FitTask:
        return FitTask(
            booster,
            examples.take(np.flatnonzero(fold != k)),
            joined.names,
            joined.categorical,
            stack,
            seed,
            own_threads,
            gpu=on_gpu,
        )

    layer = FoldModels(folder, booster, threads, alone=on_gpu)
    if watching:
        watched = [examples.take(np.flatnonzero(fold == k)) for k in range(folds)]
        facts["rounds"] = layer.fit_watched(task, watched)
    else:
        layer.fit(task, folds)
    scores, importances = layer.out_of_fold(joined, fold, folds)
    if booster in RANKERS:
        temperature = softmax.fit_temperature(scores, product, target)
        write_json(folder / "calibration.json", {"temperature": temperature})
        scores = softmax.softmax(scores, product, temperature)
    write_json(folder / "columns.json", joined.names)
    write_json(folder / "importances.json", _shares(importances, joined.names))
    with atomic_write(folder / "oof.npy") as temporary, temporary.open("wb") as file:
        np.save(file, scores)
    facts["log_loss"] = round(rounds.row_loss(scores, target), 6)
    facts["accuracy"] = round(_accuracy(scores, target, product), 6)
    return facts


def predict_layer(
    folder: Path,
    booster: str,
    columns: Sequence[Table],
    product: np.ndarray,
    threads: int = 1,
) -> np.ndarray:
    """Mean over the fold models of their scores of other rows, float32 [R].

    product int32 [R] ascending. Reads the tables in pieces. Raises ValueError where they have
    other columns than the fit had, or another number of rows than `product`.
    """
    joined = JoinedTables(columns)
    fitted = json.loads((folder / "columns.json").read_text())
    if joined.names != fitted:
        differing = sorted(set(joined.names) ^ set(fitted)) or ["the order"]
        raise ValueError(f"{folder}: columns are not those of the fit: {', '.join(differing[:5])}")
    if len(product) != joined.rows:
        raise ValueError(f"{len(product)} products of {joined.rows} rows")
    models = paths(folder, registry.EXTENSIONS[booster])
    temperature = None
    if booster in RANKERS:
        temperature = json.loads((folder / "calibration.json").read_text())["temperature"]

    def one(k: int, own_threads: int) -> np.ndarray:
        scores = score(registry.load(booster, models[k], own_threads), joined)
        if temperature is None:
            return scores
        return softmax.softmax(scores, product, temperature)

    scores = side_by_side(one, len(models), threads, booster)
    return np.asarray(np.mean(scores, axis=0, dtype=np.float64), np.float32)


def _checked_folds(examples: LabelledRows, fold: np.ndarray, watching: bool) -> int:
    target, product = examples.target, examples.product
    rows = examples.source.rows
    if not len(target) == len(fold) == len(product) == rows:
        raise ValueError(f"{len(target)}, {len(fold)}, {len(product)} and {rows} rows")
    if rows == 0:
        raise UserError("stack: no candidate rows to train on; the part has no products")
    first, size = blend.runs(product)
    if (fold != np.repeat(fold[first], size)).any():
        raise ValueError("a product is in two folds")
    if fold.min() < 0:
        raise ValueError("a row has no fold")
    folds = int(fold.max()) + 1
    for k in range(folds):
        others = target[fold != k]
        if len(others) == rows or len(np.unique(others)) < 2:
            raise UserError(
                f"stack: fold {k} has no rows, or its others no true or no false candidate;"
                " use more products or fewer split.n_folds"
            )
        if watching and not target[fold == k].any():
            raise UserError(
                f"stack: fold {k} has no true candidate to watch; use more products, fewer"
                " split.n_folds, or stack.early_stopping_rounds = 0"
            )
    return folds


def _shares(importances: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Mean over the models of each column's share, highest first."""
    shares = [gain / gain.sum() if gain.sum() > 0 else gain for gain in importances]
    mean = np.mean(shares, axis=0)
    order = np.argsort(-mean, kind="stable")
    return {names[place]: round(float(mean[place]), 6) for place in order}


def _accuracy(scores: np.ndarray, target: np.ndarray, product: np.ndarray) -> float:
    """Share of the products whose first candidate is the true one."""
    products = len(blend.runs(product)[0])
    return float(target[blend.rank(scores, product) == 0].sum() / products)
