"""Stage 04 and the prediction of a booster for the competition's test set.

    python -m bench.stages --json              # at most an hour, 40 GB of disk in --folder
    python -m bench.stages --scale 0.05

1.77 million products, 3.1 million images, the top classes of eight networks for each, 7.07 million
labelled products: candidates with the features that all sources share, the mean of the networks and
its features; then a LightGBM of 500 trees, fitted on a part of the rows, predicts all of them. The
catalog is generated in the competition's shape (`bench/shape.py`).

Each part runs once, whatever `--runs`, in its own process and writes to disk, as the stages do.
Limits: half an hour for the features, 16 GB for each part; a ratio is limit / measurement.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import report, shape
from bench.report import Row
from lib.config.schema import Features, Stack
from lib.data.catalog import Splits
from lib.features import build, network
from lib.features.table import FeatureTable, JoinedTables
from lib.features.visibility import PartInputs
from lib.inference.topk import TopK
from lib.stacking.boosters.base import FitTask, LabelledRows

MAX_MINUTES, MAX_MB = 30.0, 16 * 1024.0
FIT_ROWS = 20_000  # that the booster is fitted on
FEATURES = Features(id_windows=(100, 1000, 50_000), id_neighbors=3)

MIN_RATIOS = {"stage_04_time": 1.0, "stage_04_memory": 1.0, "stage_05_memory": 1.0}


def write_topks(scale: float, folder: Path) -> Callable[[], None]:
    """Write the predictions of stage 03; not part of the measurement."""
    _, query = shape.make_catalogs(scale)
    for number, topk in enumerate(shape.topks(query, shape.true_classes(query))):
        (folder / f"topk{number}").mkdir()
        topk.save(folder / f"topk{number}")
    return lambda: None


def candidates(scale: float, folder: Path) -> Callable[[], int]:
    """Candidates and their shared features of the test part; returns the number of rows."""
    labelled, query = shape.make_catalogs(scale)
    splits = Splits(
        np.zeros(len(labelled.label), np.int8),
        (np.arange(len(labelled.label)) % 4).astype(np.int8),
    )
    out = folder / "candidates"
    out.mkdir()

    def work() -> int:
        topks = _read_topks(folder)
        facts = build.build_candidates(
            out,
            PartInputs(FEATURES, "test", labelled, splits, query, shape.CLASSES, topks),
            "fit",
        )
        return facts["rows"]

    return work


def mean_features(scale: float, folder: Path) -> Callable[[], int]:
    """The mean of the networks and its features; returns the number of features."""
    _, query = shape.make_catalogs(scale)
    out = folder / "mean"
    out.mkdir()

    def work() -> int:
        topks = _read_topks(folder)
        mean = network.weighted_mean(topks, [1.0] * len(topks), shape.CLASSES)
        facts = build.build_source(
            out, FEATURES, folder / "candidates", query, [mean], ["mean"], shape.CLASSES
        )
        return facts["columns"]

    return work


def _read_topks(folder: Path) -> list[TopK]:
    """The predictions of `write_topks`."""
    return [TopK.load(folder / f"topk{number}") for number in range(shape.NUM_MODELS)]


def predict_scores(scale: float, folder: Path, trees: int) -> Callable[[], int]:
    """Scores of every row by a booster that is already fitted; returns the number of rows."""
    from lib.stacking.oof import predict_mean

    tables = [FeatureTable.load(folder / name) for name in ("candidates", "mean")]
    product = np.load(folder / "candidates" / "product.npy")
    _, query = shape.make_catalogs(scale)
    correct = shape.true_classes(query)[product] == np.load(folder / "candidates" / "class_id.npy")
    _fit_layer(folder / "booster", JoinedTables(tables), correct.astype(np.int8), product, trees)

    cores = report.cores()

    def work() -> int:
        scores = predict_mean(folder / "booster", "lightgbm", tables, product, cores)
        np.save(folder / "scores.npy", scores)
        return len(scores)

    return work


def _fit_layer(
    folder: Path, rows: JoinedTables, correct: np.ndarray, product: np.ndarray, trees: int
) -> None:
    """Fit a layer of one model on the first rows."""
    from lib.stacking.boosters import registry

    folder.mkdir()
    labelled_rows = LabelledRows(rows, correct, product).take(np.arange(min(FIT_ROWS, rows.rows)))
    stack = Stack(n_estimators=trees, learning_rate=0.02)
    task = FitTask(
        "lightgbm", labelled_rows, rows.names, rows.categorical, stack, seed=1, threads=2
    )
    registry.save(registry.fit(task), folder / "fold-0.txt")
    (folder / "columns.json").write_text(json.dumps(rows.names))


def main() -> None:
    """Measure the three parts and print the report."""
    parser = report.parser("bench.stages", __doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the competition's size (%(default)s)"
    )
    parser.add_argument("--trees", type=int, default=500, help="of the booster (%(default)s)")
    parser.add_argument("--folder", help="where 40 GB are free (default: where temporary files go)")
    arguments = parser.parse_args()
    scale = arguments.scale
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        report.measure(write_topks, scale, folder)
        runs = [report.measure(task, scale, folder) for task in (candidates, mean_features)]
        runs.append(report.measure(predict_scores, scale, folder, arguments.trees))
    rows, *_ = (run.result for run in runs)
    names = (
        "candidates, shared features",
        "mean of networks, features",
        f"{arguments.trees} trees",
    )
    table = [Row(name, rows, "row", [run]) for name, run in zip(names, runs, strict=True)]
    title = f"{int(shape.TEST * scale):,} products, {rows:,} rows, {shape.describe_ids()}"
    minutes = sum(run.wall for run in runs[:2]) / 60
    ratios = {
        "stage_04_time": MAX_MINUTES / minutes,
        "stage_04_memory": MAX_MB / max(run.peak for run in runs[:2]),
        "stage_05_memory": MAX_MB / runs[2].peak,
    }
    report.print_report("stages", title, table, ratios, MIN_RATIOS, arguments.json)


if __name__ == "__main__":
    main()
