"""Stage 05: fit and predict with boosters on rows on disk, against the bare libraries in memory.

    python -m bench.boosters --json

2 million candidate rows of 100 columns, ten of them class ids, in a memory-mapped file as stage 04
writes it. Fitting reads the file in chunks; the baseline is the bare library with the same
parameters on an array in memory. Prediction uses 500 trees; the baseline is one `predict` call of
the bare library on an array in memory. Peak memory is that of the whole process and includes the
mapped pages of the file.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import lightgbm
import numpy as np
import xgboost

from bench import report
from bench.report import Measurement, Row
from lib.config.schema import Stack
from lib.features.table import FeatureTable, JoinedTables
from lib.stacking.boosters import lightgbm_booster, registry, xgboost_booster
from lib.stacking.boosters.base import BINS, Booster, FitTask, LabelledRows
from lib.stacking.fold_mean import FoldMean
from lib.utils.files import write_json

COLUMNS, CATEGORICAL, CLASSES, CANDIDATES = 100, 10, 5_270, 12
SETTINGS = Stack(learning_rate=0.05)
FIT_ROWS = 60_000  # for the model whose prediction is measured
CHUNK = 1 << 17

MIN_RATIOS = {
    "lightgbm_fit_vs_bare": 0.83,  # 1 / 1.2
    "xgboost_fit_vs_bare": 0.83,
    "lightgbm_predict_vs_bare": 0.9,
    "xgboost_predict_vs_bare": 0.9,
}


@dataclass(frozen=True)
class Size:
    """The size of every measurement, and the folder of the feature table."""

    folder: Path
    rows: int
    trees: int
    predict_trees: int
    threads: int


def write_table(folder: Path, rows: int) -> None:
    """Write columns.npy, target.npy and product.npy; the target depends on a few columns."""
    rng = np.random.default_rng(1)
    x = np.lib.format.open_memmap(
        folder / "columns.npy", mode="w+", dtype=np.float32, shape=(rows, COLUMNS)
    )
    target = np.empty(rows, np.int8)
    for start in range(0, rows, CHUNK):
        chunk = rng.random((min(CHUNK, rows - start), COLUMNS), np.float32)
        sparse = chunk[:, COLUMNS // 2 : -CATEGORICAL]
        sparse[sparse < 0.3] = np.nan
        chunk[:, -CATEGORICAL:] = np.floor(CLASSES * chunk[:, -CATEGORICAL:] ** 4)
        logits = 6 * chunk[:, 0] + 3 * chunk[:, 1] * chunk[:, 2] + (chunk[:, -1] < 5) - 7
        target[start : start + len(chunk)] = rng.random(len(chunk)) < 1 / (1 + np.exp(-logits))
        x[start : start + len(chunk)] = chunk
    x.flush()
    np.save(folder / "target.npy", target)
    np.save(folder / "product.npy", (np.arange(rows) // CANDIDATES).astype(np.int32))


def read_table(folder: Path) -> FeatureTable:
    """The feature table, mapped into memory."""
    names = [f"column_{number}" for number in range(COLUMNS)]
    return FeatureTable(np.load(folder / "columns.npy", mmap_mode="r"), names, names[-CATEGORICAL:])


def fit_task(name: str, size: Size, trees: int) -> FitTask:
    """The task of fitting the booster `name` on all rows."""
    joined = JoinedTables([read_table(size.folder)])
    target, product = (np.load(size.folder / f"{part}.npy") for part in ("target", "product"))
    rows = LabelledRows(joined, target, product)
    settings = replace(SETTINGS, n_estimators=trees)
    return FitTask(name, rows, joined.names, joined.categorical, settings, 1, size.threads)


def fit_streamed(name: str, size: Size) -> Callable[[], bytes]:
    """The fit of stage 05; returns predictions to compare."""
    task = fit_task(name, size, size.trees)
    first_rows = task.train.take(np.arange(2000))
    registry.fit(  # load and compile first
        replace(task, train=first_rows, stack=replace(SETTINGS, n_estimators=1))
    )
    return lambda: predictions(registry.fit(task), size)


def fit_bare(name: str, size: Size) -> Callable[[], bytes]:
    """The baseline: the bare library on an array."""
    task = fit_task(name, size, size.trees)
    x, target = np.load(size.folder / "columns.npy"), task.train.target
    params = {"lightgbm": lightgbm_booster, "xgboost": xgboost_booster}[name].make_params(task)

    def fit_lightgbm() -> Booster:
        """`lightgbm.train` on the array."""
        data = lightgbm.Dataset(
            x,
            target,
            feature_name=task.feature_names,
            categorical_feature=list(task.categorical),
            params=params,
        )
        return lightgbm_booster.LightGBM(lightgbm.train(params, data, size.trees), task.threads)

    def fit_xgboost() -> Booster:
        """`xgboost.train` on the array."""
        data = xgboost.QuantileDMatrix(
            x, target, feature_names=task.feature_names, max_bin=BINS + 1, nthread=task.threads
        )
        return xgboost_booster.XGBoost(xgboost.train(params, data, size.trees))

    work = fit_lightgbm if name == "lightgbm" else fit_xgboost
    return lambda: predictions(work(), size)


def predictions(model: Booster, size: Size) -> bytes:
    """Predictions for the first rows, to compare two fits."""
    return model.predict(np.array(read_table(size.folder).values[:1000])).tobytes()


def fit_layer(name: str, size: Size) -> None:
    """Write a layer of one model with many trees to its own folder."""
    task = fit_task(name, size, size.predict_trees)
    rows = np.arange(min(FIT_ROWS, size.rows))
    layer = size.folder / name
    layer.mkdir()
    model = registry.fit(replace(task, train=task.train.take(rows)))
    registry.save(model, layer / f"fold-0.{registry.extension(name)}")
    write_json(layer / "columns.json", list(task.column_names))


def predict_streamed(name: str, size: Size) -> Callable[[], float]:
    """The prediction of stage 05 from the file; returns the sum of the scores."""
    folder, product = size.folder, np.load(size.folder / "product.npy")

    def work() -> float:
        scores = FoldMean.load(folder / name, name, size.threads).predict(
            [read_table(folder)], product
        )
        return float(scores.sum(dtype=np.float64))

    return work


def predict_bare(name: str, size: Size) -> Callable[[], float]:
    """The baseline: the model from its file, one call of the library on an array."""
    x = np.load(size.folder / "columns.npy")
    path = size.folder / name / f"fold-0.{registry.extension(name)}"

    def predict_lightgbm() -> np.ndarray:
        """One `predict` call."""
        model = lightgbm.Booster(model_file=str(path))
        return np.asarray(model.predict(x, num_threads=size.threads))

    def predict_xgboost() -> np.ndarray:
        """One `inplace_predict` call."""
        model = xgboost.Booster({"nthread": size.threads})
        model.load_model(str(path))
        return model.inplace_predict(x, validate_features=False)

    work = predict_lightgbm if name == "lightgbm" else predict_xgboost
    return lambda: float(work().astype(np.float32).sum(dtype=np.float64))


def compare(name: str, size: Size, runs: int) -> tuple[list[Row], dict[str, float]]:
    """Table rows and ratios of one library. Exits if the predictions differ."""
    fit_layer(name, size)
    tasks = {
        f"{name}, bare fit": fit_bare,
        f"{name}, fit": fit_streamed,
        f"{name}, bare predict": predict_bare,
        f"{name}, predict_mean": predict_streamed,
    }
    calls: dict[str, Callable[[], Measurement]] = {
        title: partial(report.measure, task, name, size) for title, task in tasks.items()
    }
    measurements = report.run_in_turns(calls, runs)
    rows = [Row(title, size.rows, "row", repeats) for title, repeats in measurements.items()]
    results = [row.runs[0].result for row in rows]
    if results[0] != results[1] or not np.isclose(results[2], results[3], rtol=1e-6):
        raise SystemExit(f"{name} differs from the bare library")
    return rows, {
        f"{name}_fit_vs_bare": report.ratio(rows[0], rows[1]),
        f"{name}_predict_vs_bare": report.ratio(rows[2], rows[3]),
    }


def main() -> None:
    """Measure both libraries and print the report."""
    parser = report.parser("bench.boosters", __doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the table (%(default)s)")
    parser.add_argument("--trees", type=int, default=100, help="to fit (%(default)s)")
    parser.add_argument(
        "--predict-trees",
        type=int,
        default=500,
        help="trees of the model that predicts (%(default)s)",
    )
    parser.add_argument("--threads", type=int, default=report.cores(), help="(%(default)s)")
    arguments = parser.parse_args()
    rows: list[Row] = []
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-boosters-") as folder:
        size = Size(
            Path(folder),
            arguments.rows,
            arguments.trees,
            arguments.predict_trees,
            arguments.threads,
        )
        write_table(size.folder, size.rows)
        for name in ("lightgbm", "xgboost"):
            library_rows, library_ratios = compare(name, size, arguments.runs)
            rows, ratios = rows + library_rows, ratios | library_ratios
    title = f"{size.rows:,} rows of {COLUMNS} columns, {size.trees} trees fitted"
    title += f", {size.predict_trees} predicting, {size.threads} threads"
    report.print_report("boosters", title, rows, ratios, MIN_RATIOS, arguments.json)


if __name__ == "__main__":
    main()
