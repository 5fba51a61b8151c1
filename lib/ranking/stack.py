"""Layers of boosters: one model for each fold left out, scores for every row (C10, C12).

    <folder>/fold-0.txt ...   models in their native format, model k fitted without fold k
    <folder>/columns.json     names of the columns they read, in order
    <folder>/oof.npy          float32 [R]: row i scored by the one model that never saw its product

Folds run side by side, each on few threads: two OpenMP threads that wait for each other on a busy
machine cost ten times the work, two fits that never meet cost nothing.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from lib.artifacts import replacing
from lib.config import Stack
from lib.errors import UserError
from lib.ranking import blend, boosters
from lib.ranking.features import Columns

CHUNK = 1 << 16  # rows scored at a time
Result = TypeVar("Result")


@dataclass(frozen=True)
class PriorColumns:
    """Columns whose class codes are read as the global prior of that class (L3, C12).

    The codes are replaced when rows are read, so that a large memory-mapped table stays on disk.
    key int64 [R], ascending: run of the product and candidate class in one number; prior float32
    [R]: of that class, as the row may see it; run int64 [R].
    """

    coded: Columns
    run: np.ndarray
    key: np.ndarray
    prior: np.ndarray

    @property
    def names(self) -> list[str]:
        of_class = set(self.coded.categorical)
        return [f"{name}_prior" if name in of_class else name for name in self.coded.names]

    @property
    def categorical(self) -> list[str]:
        return []

    def __len__(self) -> int:
        return len(self.coded.values)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows int64 [r] into `out` float32 [r, F]."""
        out[:] = self.coded.values[rows]
        run = self.run[rows]
        for name in self.coded.categorical:
            place = self.coded.names.index(name)
            out[:, place] = self._of_class(run, out[:, place])

    def _of_class(self, run: np.ndarray, code: np.ndarray) -> np.ndarray:
        key = run * _CODES + np.where(code >= 0, code, _CODES - 1).astype(np.int64)
        at = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return np.where(self.key[at] == key, self.prior[at], np.nan)


Table = Columns | PriorColumns
_CODES = 1 << 16  # more than int16 has class codes; the last one is never a class


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
    0..K-1; product int32 [R] ascending. All folds share the seed. Models that are there already
    are taken as they are: an interrupted call goes on.
    Raises UserError for a fold without rows, or whose others have no true or no false candidate;
    ValueError where a product is in two folds, a row has no fold, or the tables differ in rows.
    """
    folds = _checked_folds(columns, target, fold, product)
    names, categorical = _joined(columns)
    scores = np.full(len(fold), np.nan, np.float32)

    def one(k: int, own_threads: int) -> None:
        path = folder / f"fold-{k}.{boosters.EXTENSIONS[booster]}"
        if not path.exists():
            others = np.flatnonzero(fold != k)
            x, y = _read(columns, others), target[others]
            model = boosters.fit(booster, x, y, names, categorical, stack, seed, own_threads)
            with replacing(path) as temporary:
                model.save(temporary)
        # Read back, so that an interrupted and an uninterrupted call score with the same thing.
        model = boosters.load(booster, path, own_threads)
        rows = np.flatnonzero(fold == k)
        scores[rows] = _score(model, columns, rows)

    _side_by_side(one, folds, threads, booster)
    with replacing(folder / "columns.json") as temporary:
        temporary.write_text(json.dumps(names, indent=1))
    with replacing(folder / "oof.npy") as temporary, temporary.open("wb") as file:
        np.save(file, scores)
    return {
        "rows": len(scores),
        "columns": len(names),
        "folds": folds,
        "log_loss": round(_log_loss(scores, target), 6),
        "accuracy": round(_accuracy(scores, target, product), 6),
    }


def predict_layer(
    folder: Path, booster: str, columns: Sequence[Table], threads: int = 1
) -> np.ndarray:
    """Mean over the fold models of their scores of other rows, float32 [R].

    Reads the tables in pieces. Raises ValueError where they have other columns than the fit had.
    """
    names, _ = _joined(columns)
    fitted = json.loads((folder / "columns.json").read_text())
    if names != fitted:
        differing = sorted(set(names) ^ set(fitted)) or ["the order"]
        raise ValueError(f"{folder}: columns are not those of the fit: {', '.join(differing[:5])}")
    paths = _models(folder, boosters.EXTENSIONS[booster])
    rows = np.arange(_rows(columns))

    def one(k: int, own_threads: int) -> np.ndarray:
        return _score(boosters.load(booster, paths[k], own_threads), columns, rows)

    scores = _side_by_side(one, len(paths), threads, booster)
    return np.asarray(np.mean(scores, axis=0, dtype=np.float64), np.float32)


def layer_columns(scores: Mapping[str, np.ndarray], product: np.ndarray) -> Columns:
    """What L3 sees of the layer below: each booster's score, its share and rank in the product.

    scores: float32 [R] by booster, out-of-fold where they train. Raises ValueError for unscored
    rows: a NaN there would mean that some rows were never predicted.
    """
    values = np.empty((len(product), 3 * len(scores)), np.float32)
    names = []
    for place, (booster, score) in enumerate(scores.items()):
        if np.isnan(score).any():
            raise ValueError(f"{booster}: {int(np.isnan(score).sum())} rows are unscored")
        values[:, 3 * place] = score
        values[:, 3 * place + 1] = blend.normalise(score, product)
        values[:, 3 * place + 2] = blend.rank(score, product)
        names += [f"{booster}_score", f"{booster}_share", f"{booster}_rank"]
    return Columns(values, names, [])


def categories_as_priors(columns: Columns, common: Columns, product: np.ndarray) -> PriorColumns:
    """`columns` with each class code replaced by the global prior of that class (C12).

    common: the candidates' own columns over the same rows; they hold the prior of every candidate
    as that row may see it (other folds only, where the row trains), and every class of the raw
    columns is a candidate of its product, but for a few of the mean's, which get NaN, like -1.
    product int32 [R]. Raises ValueError for rows that are not sorted by (product, class).
    """
    if not len(columns.values) == len(common.values) == len(product):
        raise ValueError(f"{len(columns.values)}, {len(common.values)}, {len(product)} rows")
    _, size = blend.runs(product)
    run = np.repeat(np.arange(len(size)), size)
    key = run * _CODES + _column(common, "candidate_class").astype(np.int64)
    if (np.diff(key) <= 0).any():
        raise ValueError("rows are not sorted by (product, class)")
    return PriorColumns(columns, run, key, _column(common, "global_prior"))


def _column(columns: Columns, name: str) -> np.ndarray:
    return np.array(columns.values[:, columns.names.index(name)])


def _checked_folds(
    columns: Sequence[Table], target: np.ndarray, fold: np.ndarray, product: np.ndarray
) -> int:
    rows = _rows(columns)
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
                " use more products or fewer split.folds"
            )
    return folds


def _rows(columns: Sequence[Table]) -> int:
    rows = {len(table.values) if isinstance(table, Columns) else len(table) for table in columns}
    if len(rows) != 1:
        raise ValueError(f"tables of {sorted(rows)} rows")
    return rows.pop()


def _joined(columns: Sequence[Table]) -> tuple[list[str], list[int]]:
    """Names of all columns side by side, and the places of the categorical ones."""
    names = [name for table in columns for name in table.names]
    of_class = [name in table.categorical for table in columns for name in table.names]
    return names, [place for place, is_class in enumerate(of_class) if is_class]


def _read(columns: Sequence[Table], rows: np.ndarray) -> np.ndarray:
    """float32 [rows, F]: the tables side by side."""
    widths = [len(table.names) for table in columns]
    x = np.empty((len(rows), sum(widths)), np.float32)
    at = 0
    for table, width in zip(columns, widths, strict=True):
        if isinstance(table, PriorColumns):
            table.read(rows, x[:, at : at + width])
        else:
            x[:, at : at + width] = table.values[rows]
        at += width
    return x


def _score(model: boosters.Booster, columns: Sequence[Table], rows: np.ndarray) -> np.ndarray:
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        scores[start : start + CHUNK] = model.predict(_read(columns, some))
    return scores


def _models(folder: Path, extension: str) -> list[Path]:
    """The models of a layer by number of their fold, which is not the order of their names."""
    numbered = {
        int(found.group(1)): path
        for path in folder.iterdir()
        if (found := re.fullmatch(rf"fold-(\d+)\.{extension}", path.name))
    }
    if not numbered or sorted(numbered) != list(range(len(numbered))):
        raise ValueError(f"{folder}: models of folds {sorted(numbered)}")
    return [numbered[k] for k in range(len(numbered))]


def _side_by_side(
    one: Callable[[int, int], Result], count: int, threads: int, title: str
) -> list[Result]:
    """`one(k, threads of its own)` for each k, as many at a time as there are threads."""
    workers = max(1, min(count, threads))
    with ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(one, k, max(1, threads // workers)) for k in range(count)]
        try:
            for task in tqdm(as_completed(tasks), title, count, leave=False, disable=None):
                task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [task.result() for task in tasks]


def _log_loss(scores: np.ndarray, target: np.ndarray) -> float:
    right = np.where(target == 1, scores, 1 - scores).astype(np.float64)
    return float(-np.log(np.maximum(right, 1e-7)).mean())


def _accuracy(scores: np.ndarray, target: np.ndarray, product: np.ndarray) -> float:
    """Share of the products whose first candidate is the true one."""
    products = len(blend.runs(product)[0])
    return float(target[blend.rank(scores, product) == 0].sum() / products)
