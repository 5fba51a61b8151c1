"""Stage 05: boosters fitted and asked on rows that lie on disk, beside the bare libraries.

    python -m bench.boosters --json

2 million candidate rows of 100 columns, ten of them class codes, in a memory-mapped file as stage
04 writes it. Fitting reads it by chunks; the baseline is the bare library, with the same
parameters, on an array that is in memory already. Scores come from 500 trees; the baseline is one
call of the bare library's `predict` on an array in memory. Peak memory is that of the whole
process: of ours, the pages of the file that happen to be mapped count too.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import lightgbm
import numpy as np
import xgboost

from bench import report
from bench.report import Measured, Row
from lib.config.schema import Stack
from lib.features.table import FeatureTable, JoinedTables
from lib.stacking import oof
from lib.stacking.boosters import lightgbm_booster, registry, xgboost_booster
from lib.stacking.boosters.base import BINS, Booster, FitTask, LabelledRows
from lib.utils.files import write_json

COLUMNS, CODED, CLASSES, CANDIDATES = 100, 10, 5_270, 12
DIALS = Stack(learning_rate=0.05)
FEW_ROWS = 60_000  # that the trees which score are fitted on
CHUNK = 1 << 17

BARS = {
    "lightgbm_fit_vs_bare": 0.83,  # 1 / 1.2
    "xgboost_fit_vs_bare": 0.83,
    "lightgbm_predict_vs_bare": 0.9,
    "xgboost_predict_vs_bare": 0.9,
}


@dataclass(frozen=True)
class Size:
    """Of everything that is measured; folder: of the table."""

    folder: Path
    rows: int
    trees: int
    asked_trees: int
    threads: int


def write(folder: Path, rows: int) -> None:
    """columns.npy, target.npy and product.npy of candidates whose truth three columns tell of."""
    rng = np.random.default_rng(1)
    x = np.lib.format.open_memmap(
        folder / "columns.npy", mode="w+", dtype=np.float32, shape=(rows, COLUMNS)
    )
    target = np.empty(rows, np.int8)
    for start in range(0, rows, CHUNK):
        own = rng.random((min(CHUNK, rows - start), COLUMNS), np.float32)
        own[:, COLUMNS // 2 : -CODED][own[:, COLUMNS // 2 : -CODED] < 0.3] = np.nan
        own[:, -CODED:] = np.floor(CLASSES * own[:, -CODED:] ** 4)
        odds = 6 * own[:, 0] + 3 * own[:, 1] * own[:, 2] + (own[:, -1] < 5) - 7
        target[start : start + len(own)] = rng.random(len(own)) < 1 / (1 + np.exp(-odds))
        x[start : start + len(own)] = own
    x.flush()
    np.save(folder / "target.npy", target)
    np.save(folder / "product.npy", (np.arange(rows) // CANDIDATES).astype(np.int32))


def table(folder: Path) -> FeatureTable:
    names = [f"column_{place}" for place in range(COLUMNS)]
    return FeatureTable(np.load(folder / "columns.npy", mmap_mode="r"), names, names[-CODED:])


def task(name: str, size: Size, trees: int) -> FitTask:
    joined = JoinedTables([table(size.folder)])
    target, product = (np.load(size.folder / f"{part}.npy") for part in ("target", "product"))
    seen = LabelledRows(joined, target, product)
    dials = replace(DIALS, n_estimators=trees)
    return FitTask(name, seen, joined.names, joined.categorical, dials, 1, size.threads)


def streamed(name: str, size: Size) -> Callable[[], bytes]:
    """The fit of stage 05."""
    own = task(name, size, size.trees)
    few = replace(own, train=own.train.take(np.arange(2000)), stack=replace(DIALS, n_estimators=1))
    registry.fit(few)  # what is loaded and compiled before the clock starts
    return lambda: answers(registry.fit(own), size)


def bare(name: str, size: Size) -> Callable[[], bytes]:
    """The library alone, on an array."""
    own = task(name, size, size.trees)
    x, target = np.load(size.folder / "columns.npy"), own.train.target
    params = {"lightgbm": lightgbm_booster, "xgboost": xgboost_booster}[name].make_params(own)

    def of_lightgbm() -> Booster:
        data = lightgbm.Dataset(
            x,
            target,
            feature_name=own.feature_names,
            categorical_feature=list(own.categorical),
            params=params,
        )
        return lightgbm_booster.LightGBM(lightgbm.train(params, data, size.trees), own.threads)

    def of_xgboost() -> Booster:
        data = xgboost.QuantileDMatrix(
            x, target, feature_names=own.feature_names, max_bin=BINS + 1, nthread=own.threads
        )
        return xgboost_booster.XGBoost(xgboost.train(params, data, size.trees))

    work = of_lightgbm if name == "lightgbm" else of_xgboost
    return lambda: answers(work(), size)


def answers(model: Booster, size: Size) -> bytes:
    """Of the first rows, to compare two fits by."""
    return model.predict(np.array(table(size.folder).values[:1000])).tobytes()


def fit_few(name: str, size: Size) -> None:
    """A layer of one model with many trees, in a folder of its own."""
    own = task(name, size, size.asked_trees)
    rows = np.arange(min(FEW_ROWS, size.rows))
    layer = size.folder / name
    layer.mkdir()
    model = registry.fit(replace(own, train=own.train.take(rows)))
    model.save(layer / f"fold-0.{registry.extension(name)}")
    write_json(layer / "columns.json", list(own.column_names))


def scored(name: str, size: Size) -> Callable[[], float]:
    """The scoring of stage 05, from the file; sum of the scores."""
    folder, product = size.folder, np.load(size.folder / "product.npy")

    def work() -> float:
        scores = oof.predict_mean(folder / name, name, [table(folder)], product, size.threads)
        return float(scores.sum(dtype=np.float64))

    return work


def asked(name: str, size: Size) -> Callable[[], float]:
    """The library alone: the model from its file, one call for an array."""
    x = np.load(size.folder / "columns.npy")
    path = size.folder / name / f"fold-0.{registry.extension(name)}"

    def of_lightgbm() -> np.ndarray:
        model = lightgbm.Booster(model_file=str(path))
        return np.asarray(model.predict(x, num_threads=size.threads))

    def of_xgboost() -> np.ndarray:
        model = xgboost.Booster({"nthread": size.threads})
        model.load_model(str(path))
        return model.inplace_predict(x, validate_features=False)

    work = of_lightgbm if name == "lightgbm" else of_xgboost
    return lambda: float(work().astype(np.float32).sum(dtype=np.float64))


def compared(name: str, size: Size, runs: int) -> tuple[list[Row], dict[str, float]]:
    """The rows of one library, and its ratios."""
    fit_few(name, size)
    works = {
        f"{name}, bare fit": bare,
        f"{name}, fit": streamed,
        f"{name}, bare predict": asked,
        f"{name}, predict_mean": scored,
    }
    calls: dict[str, Callable[[], Measured]] = {
        title: partial(report.measured, work, name, size) for title, work in works.items()
    }
    done = report.turns(calls, runs)
    rows = [Row(title, size.rows, "row", own) for title, own in done.items()]
    results = [row.runs[0].result for row in rows]
    if results[0] != results[1] or not np.isclose(results[2], results[3], rtol=1e-6):
        raise SystemExit(f"{name} gives other answers than the bare library")
    return rows, {
        f"{name}_fit_vs_bare": report.ratio(rows[0], rows[1]),
        f"{name}_predict_vs_bare": report.ratio(rows[2], rows[3]),
    }


def main() -> None:
    parser = report.parser("bench.boosters", __doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the table (%(default)s)")
    parser.add_argument("--trees", type=int, default=100, help="that are fitted (%(default)s)")
    parser.add_argument("--asked", type=int, default=500, help="trees that score (%(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    rows: list[Row] = []
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-boosters-") as folder:
        size = Size(Path(folder), given.rows, given.trees, given.asked, given.threads)
        write(size.folder, size.rows)
        for name in ("lightgbm", "xgboost"):
            own, own_ratios = compared(name, size, given.runs)
            rows, ratios = rows + own, ratios | own_ratios
    title = f"{size.rows:,} rows of {COLUMNS} columns, {size.trees} trees fitted"
    report.show(f"{title}, {size.asked_trees} asked, {size.threads} threads", rows)
    report.finish("boosters", ratios, BARS, given.json)


if __name__ == "__main__":
    main()
