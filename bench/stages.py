"""Stage 04 and the prediction of a booster for the competition's test set.

    python -m bench.stages --json              # at most an hour, 40 GB of disk in --folder
    python -m bench.stages --scale 0.05

1.77 million products, 3.1 million images, the top classes of eight networks for each, 7.07 million
labelled products: candidates with the features that all sources share, the mean of the networks and
its features; then a LightGBM of 500 trees, fitted on a part of the rows, predicts all of them. The
catalog is generated in the competition's shape (`bench/shape.py`) and lies in the folders of an
experiment, so that the functions of the stages are measured as they are.

Each part runs once, whatever `--runs`, in its own process and writes to disk, as the stages do.
Limits: half an hour for the features, 16 GB for each part; a ratio is limit / measurement.
`bench.growth` measures stage 04 for a growing number of test products.
"""

import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import report, shape
from bench.report import Row
from lib.config.data import Data
from lib.config.model import Model
from lib.config.schema import Config, Features, Run, Stack
from lib.data.catalog import write_table
from lib.features.table import FeatureTable, JoinedTables
from lib.inference.topk import write_chunks
from lib.pipeline.experiment import Experiment
from lib.stacking.boosters.base import FitTask, LabelledRows
from lib.stages import features as features_stage
from lib.stages import stack as stack_stage

MAX_MINUTES, MAX_MB = 30.0, 16 * 1024.0
FIT_ROWS = 20_000  # that the booster is fitted on
FEATURES = Features(id_windows=(100, 1000, 50_000), id_neighbors=3)

MIN_RATIOS = {"stage_04_time": 1.0, "stage_04_memory": 1.0, "stage_05_memory": 1.0}


def experiment_in(folder: Path) -> Experiment:
    """The experiment whose artifacts are in `folder`/bench."""
    return Experiment(
        Config(
            name="bench",
            work=str(folder),
            data=Data(source="bson", train="train.bson", test="test.bson"),
            models={f"network{number}": Model() for number in range(shape.NUM_MODELS)},
            features=FEATURES,
            stack=Stack(sources=("mean",), l2=("lightgbm",), l3=()),
            run=Run(threads=report.cores()),
        )
    )


def write_experiment(
    scale: float, test_scale: float, times: int, folder: Path
) -> Callable[[], None]:
    """Write what stage 04 reads, of stages 01 and 03; not part of the measurement.

    scale: of the labelled catalog; test_scale: of the test catalog, whose products stand in it
    `times` times.
    """
    experiment = experiment_in(folder)
    labelled, query = shape.make_catalogs(scale, test_scale)
    for side, catalog, repeats in (("train", labelled, 1), ("test", query, times)):
        experiment.path(f"extract/{side}").mkdir(parents=True)
        shape.save_catalog(catalog, experiment.path(f"extract/{side}"), repeats)
    for name in ("ids", "splits", "categories"):
        experiment.path(f"extract/{name}").mkdir()
    (experiment.path("extract/ids") / "ids.json").write_text('{"comparable": true}')
    products = len(labelled.label)
    write_table(
        experiment.path("extract/splits") / "splits.arrow",
        {
            "part": np.zeros(products, np.int8),
            "fold": (np.arange(products) % 4).astype(np.int8),
        },
    )
    names = [str(number) for number in range(shape.CLASSES)]
    write_table(
        experiment.path("extract/categories") / "categories.arrow",
        {"category_id": np.arange(shape.CLASSES)} | {f"level{n}": names for n in (1, 2, 3)},
    )
    topks = shape.topks(query, shape.true_classes(query))
    for number, topk in enumerate(topks):
        out = experiment.path(f"predictions/network{number}/test")
        out.mkdir(parents=True)
        chunk = {"class": topk.classes, "prob": topk.probs, "rest": topk.rest}
        images = np.arange(len(topk.image) * times)
        write_chunks(out, "tta", images, topk.classes.shape[1], [chunk] * times)
    return lambda: None


def candidates(folder: Path) -> Callable[[], int]:
    """Candidates and their shared features of the test part; returns the number of rows."""
    experiment = experiment_in(folder)
    out = experiment.path("features/candidates/test")
    out.mkdir(parents=True)
    return lambda: features_stage.build_candidates(experiment, "test", out)["rows"]


def mean_features(folder: Path) -> Callable[[], int]:
    """The mean of the networks and its features; returns the number of features."""
    experiment = experiment_in(folder)
    out = experiment.path("features/mean/test")
    out.mkdir(parents=True)
    return lambda: features_stage.build_source(experiment, "mean", "test", out)["columns"]


def predict_scores(scale: float, folder: Path, trees: int) -> Callable[[], int]:
    """Scores of every row by a booster that is already fitted; returns the number of rows."""
    experiment = experiment_in(folder)
    paths = [experiment.path(f"features/{name}/test") for name in ("candidates", "mean")]
    tables = [FeatureTable.load(path) for path in paths]
    product, class_id = (np.load(paths[0] / f"{name}.npy") for name in ("product", "class_id"))
    _, query = shape.make_catalogs(scale)
    correct = (shape.true_classes(query)[product] == class_id).astype(np.int8)
    booster = experiment.path("stack/mean/l2/lightgbm")
    _fit_layer(booster, JoinedTables(tables), correct, product, trees)
    out = experiment.path("scores/mean/l2/test")
    out.mkdir(parents=True)
    logging.disable(logging.WARNING)  # those of columns compare with rows that are not there
    return lambda: stack_stage.score_part(experiment, "mean", "l2", "test", out)["rows"]


def _fit_layer(
    folder: Path, rows: JoinedTables, correct: np.ndarray, product: np.ndarray, trees: int
) -> None:
    """Fit a layer of one model on the first rows."""
    from lib.stacking.boosters import registry

    folder.mkdir(parents=True)
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
        report.measure(write_experiment, scale, scale, 1, folder)
        runs = [report.measure(task, folder) for task in (candidates, mean_features)]
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
