"""The whole of stage 04, and a booster's answers, for the competition's test set.

    python -m bench.stages --json              # an hour or less, 40 GB of disk in --folder
    python -m bench.stages --scale 0.05

1.77 million products, 3.1 million pictures, what eight networks list for each, 7.07 million
labelled products: candidates with the columns that all sources share, the mean of the networks and
its columns; then a LightGBM of 500 trees, fitted on a piece of these rows, scores them all. The
catalogue is drawn in the competition's shape (`bench/shape.py`).

Each of these runs in a process of its own and writes to disk, as the stages do. The bars: half an
hour for the columns, 16 GB for each; a ratio is what is allowed by what was measured.
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

MINUTES, MEMORY = 30.0, 16 * 1024.0  # allowed; MB
TAUGHT = 20_000  # rows that the booster learns from
FEATURES = Features(id_windows=(100, 1000, 50_000), id_neighbors=3)

BARS = {"stage_04_time": 1.0, "stage_04_memory": 1.0, "stage_05_memory": 1.0}


def predicted(scale: float, folder: Path) -> Callable[[], None]:
    """What stage 03 leaves; no part of what is measured."""
    _, query = shape.catalogues(scale)
    for number, dump in enumerate(shape.dumps(query, shape.truth(query))):
        (folder / f"dump{number}").mkdir()
        dump.save(folder / f"dump{number}")
    return lambda: None


def candidates(scale: float, folder: Path) -> Callable[[], int]:
    """Candidates and the shared columns of the test part; returns the number of rows."""
    labelled, query = shape.catalogues(scale)
    everything = Splits(
        np.zeros(len(labelled.label), np.int8),
        (np.arange(len(labelled.label)) % 4).astype(np.int8),
    )
    out = folder / "candidates"
    out.mkdir()

    def work() -> int:
        dumps = _dumps(folder)
        facts = build.build_candidates(
            out,
            PartInputs(FEATURES, "test", labelled, everything, query, shape.CLASSES, dumps),
            "fit",
        )
        return facts["rows"]

    return work


def averaged(scale: float, folder: Path) -> Callable[[], int]:
    """The mean of the networks and its columns; returns how many columns."""
    _, query = shape.catalogues(scale)
    out = folder / "mean"
    out.mkdir()

    def work() -> int:
        dumps = _dumps(folder)
        mean = network.weighted_mean(dumps, [1.0] * len(dumps), shape.CLASSES)
        facts = build.build_source(
            out, FEATURES, folder / "candidates", query, [mean], ["mean"], shape.CLASSES
        )
        return facts["columns"]

    return work


def _dumps(folder: Path) -> list[TopK]:
    return [TopK.load(folder / f"dump{number}") for number in range(shape.MODELS)]


def scored(scale: float, folder: Path, trees: int) -> Callable[[], int]:
    """Every row scored by a booster that is fitted before the clock starts; returns the rows."""
    from lib.stacking.oof import predict_mean

    tables = [FeatureTable.load(folder / name) for name in ("candidates", "mean")]
    product = np.load(folder / "candidates" / "product.npy")
    _, query = shape.catalogues(scale)
    right = shape.truth(query)[product] == np.load(folder / "candidates" / "cls.npy")
    _teach(folder / "booster", JoinedTables(tables), right.astype(np.int8), product, trees)

    cores = report.cores()

    def work() -> int:
        scores = predict_mean(folder / "booster", "lightgbm", tables, product, cores)
        np.save(folder / "scores.npy", scores)
        return len(scores)

    return work


def _teach(
    folder: Path, rows: JoinedTables, right: np.ndarray, product: np.ndarray, trees: int
) -> None:
    """A layer of one model, fitted on the first rows."""
    from lib.stacking.boosters import registry

    folder.mkdir()
    seen = LabelledRows(rows, right, product).take(np.arange(min(TAUGHT, rows.rows)))
    stack = Stack(n_estimators=trees, learning_rate=0.02)
    task = FitTask("lightgbm", seen, rows.names, rows.categorical, stack, seed=1, threads=2)
    registry.fit(task).save(folder / "fold-0.txt")
    (folder / "columns.json").write_text(json.dumps(rows.names))


def main() -> None:
    parser = report.parser("bench.stages", __doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the competition's size")
    parser.add_argument("--trees", type=int, default=500, help="of the booster (%(default)s)")
    parser.add_argument("--folder", help="where 40 GB are free (default: where temporary files go)")
    arguments = parser.parse_args()
    scale = arguments.scale
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        report.measured(predicted, scale, folder)
        runs = [report.measured(task, scale, folder) for task in (candidates, averaged)]
        runs.append(report.measured(scored, scale, folder, arguments.trees))
    rows, *_ = (run.result for run in runs)
    names = (
        "candidates, shared columns",
        "mean of networks, its columns",
        f"{arguments.trees} trees",
    )
    table = [Row(name, rows, "row", [run]) for name, run in zip(names, runs, strict=True)]
    drawn = "the real ids and classes" if shape.is_real() else "drawn ids and classes"
    report.show(f"{int(shape.TEST * scale):,} products, {rows:,} rows, {drawn}", table)
    minutes = sum(run.wall for run in runs[:2]) / 60
    ratios = {
        "stage_04_time": MINUTES / minutes,
        "stage_04_memory": MEMORY / max(run.peak for run in runs[:2]),
        "stage_05_memory": MEMORY / runs[2].peak,
    }
    report.finish("stages", ratios, BARS, arguments.json)


if __name__ == "__main__":
    main()
