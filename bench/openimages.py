"""Tables of boxes as typed columns by image, against pandas and polars on the same table.

    python -m bench.openimages --json

Generated rows in the schema of Open Images, as many as the training split of V4 has (14.6 million
boxes of 1.74 million images, 601 classes), one in a million of them bad. Each way reads the CSV,
numbers images and classes, leaves out rows that cannot be used, and sorts the columns by image.
Baselines: `pandas.read_csv` with the columns and types given, and `polars.read_csv`. All must give
the same sums. The peak of this project's way must stay below 4 GB.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from bench import report
from bench.report import Row
from lib.data.openimages.tables import COORDINATES, FLAG_COLUMNS, read_tables

BOXES, IMAGES, CLASSES = 14_610_229, 1_743_042, 601  # of V4's training split
BLOCK = 1 << 20  # rows that are generated at a time
BAD = 1_000_000  # one row in so many has a label that is unknown
MAX_PEAK = 4096  # MB
MIN_RATIOS = {
    "read_vs_pandas": 0.8,
    "read_vs_polars": 0.5,
    "memory_vs_pandas": 1.0,
    "memory_vs_polars": 1.5,
    "memory_vs_4_gb": 1.0,
}
LABELS = [f"/m/{row:05x}" for row in range(CLASSES)]
FLOATS = [*COORDINATES.values(), "Confidence"]
FLAGS = list(FLAG_COLUMNS.values())


def write_table(path: Path, num_boxes: int, num_images: int) -> None:
    """Write a table whose images have geometrically many boxes, of classes by a power law."""
    rng = np.random.default_rng(7)
    image_of = np.sort(rng.integers(0, num_images, num_boxes))
    weights = 1 / np.arange(1, CLASSES + 1)
    labels = pa.array([*LABELS, "/m/unknown"])
    options = arrow_csv.WriteOptions(quoting_style="none")
    writer = None
    for start in range(0, num_boxes, BLOCK):
        image = image_of[start : start + BLOCK]
        rows = len(image)
        label = rng.choice(CLASSES, rows, p=weights / weights.sum())
        label[(np.arange(start, start + rows) % BAD) == BAD // 2] = CLASSES
        low, size = rng.uniform(0, 0.5, (2, rows)), rng.uniform(0.01, 0.5, (2, rows))
        digits = np.char.add("", np.vectorize("{:016x}".format)(np.unique(image) * 2654435761))
        columns = {
            "ImageID": pa.array(digits).take(pa.array(np.unique(image, return_inverse=True)[1])),
            "Source": pa.array(["xclick"]).take(pa.array(np.zeros(rows, np.int64))),
            "LabelName": labels.take(pa.array(label)),
            "Confidence": np.ones(rows, np.int8),
            "XMin": np.round(low[0], 6),
            "XMax": np.round(low[0] + size[0], 6),
            "YMin": np.round(low[1], 6),
            "YMax": np.round(low[1] + size[1], 6),
            **{name: rng.integers(-1, 2, rows).astype(np.int8) for name in FLAGS},
        }
        table = pa.table(columns)
        if writer is None:
            writer = arrow_csv.CSVWriter(path, table.schema, write_options=options)
        writer.write_table(table)
    assert writer is not None
    writer.close()


Sums = tuple[int, int, int, float]  # boxes, images, classes, left edges


def by_read_tables(path: Path) -> Callable[[], Sums]:
    """Stage 01 of source = "openimages"."""
    rows = {label: row for row, label in enumerate(LABELS)}

    def work() -> Sums:
        tables = read_tables([path], [], rows)
        boxes = tables.boxes
        assert (np.diff(boxes["image"]) >= 0).all()
        classes = int(boxes["class_row"].sum(dtype=np.int64))
        edges = float(boxes["x_min"].sum(dtype=np.float64))
        return len(boxes["image"]), len(tables.ids), classes, edges

    return work


def by_pandas(path: Path) -> Callable[[], Sums]:
    """The baseline: the whole table in memory, with types given."""
    import pandas as pd

    types = {
        "ImageID": str,
        "LabelName": "category",
        **dict.fromkeys(FLOATS, np.float32),
        **dict.fromkeys(FLAGS, np.int8),
    }

    def work() -> Sums:
        table = pd.read_csv(path, usecols=list(types), dtype=types)
        rows = table["LabelName"].map({label: row for row, label in enumerate(LABELS)})
        table["class_row"] = rows.astype(np.float32)
        good = table["class_row"].notna()
        for name in COORDINATES.values():
            good &= table[name].between(0, 1)
        good &= (table["XMin"] < table["XMax"]) & (table["YMin"] < table["YMax"])
        table = table[good]
        image, ids = pd.factorize(table["ImageID"])
        table = table.assign(image=image).drop(columns=["ImageID", "LabelName"])
        table = table.sort_values("image", kind="stable")
        classes = int(table["class_row"].sum())
        return len(table), len(ids), classes, float(table["XMin"].astype(np.float64).sum())

    return work


def by_polars(path: Path) -> Callable[[], Sums]:
    """The baseline: the whole table in memory, by as many threads as cores."""
    pl = report.require("polars", "polars")
    types = {
        "ImageID": pl.String,
        "LabelName": pl.String,
        **dict.fromkeys(FLOATS, pl.Float32),
        **dict.fromkeys(FLAGS, pl.Int8),
    }
    classes = pl.DataFrame({"LabelName": LABELS, "class_row": np.arange(CLASSES, dtype=np.int16)})

    def work() -> Sums:
        table = pl.read_csv(path, columns=list(types), schema_overrides=types)
        table = table.join(classes, on="LabelName", how="inner", maintain_order="left")
        inside = [pl.col(name).is_between(0, 1) for name in COORDINATES.values()]
        table = table.filter(
            *inside, pl.col("XMin") < pl.col("XMax"), pl.col("YMin") < pl.col("YMax")
        )
        ids = table.select("ImageID").unique(maintain_order=True).with_row_index("image")
        table = table.join(ids, on="ImageID", maintain_order="left").drop("ImageID", "LabelName")
        table = table.sort("image", maintain_order=True)
        classes_sum = int(table["class_row"].cast(pl.Int64).sum())
        return len(table), len(ids), classes_sum, float(table["XMin"].cast(pl.Float64).sum())

    return work


def main() -> None:
    """Write the table, measure and print the report."""
    parser = report.parser("bench.openimages", __doc__)
    parser.add_argument("--boxes", type=int, default=BOXES, help="rows (%(default)s)")
    arguments = parser.parse_args()
    report.require("polars", "polars")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train-annotations-bbox.csv"
        write_table(path, arguments.boxes, round(arguments.boxes * IMAGES / BOXES))
        measure_all(path, arguments)


def measure_all(path: Path, arguments: argparse.Namespace) -> None:
    """Measure all ways on one table, check that they agree and print the report."""
    ways = {"pandas": by_pandas, "polars": by_polars, "read_tables": by_read_tables}
    tasks = {name: partial(report.measure, task, path) for name, task in ways.items()}
    runs = report.run_in_turns(tasks, arguments.runs)
    expected = runs["read_tables"][0].result
    for name, results in runs.items():
        if not np.allclose(results[0].result, expected, rtol=1e-6):
            sys.exit(f"{name}: {results[0].result} instead of {expected}")
    rows = {name: Row(name, arguments.boxes, "rows", runs[name]) for name in ways}
    ours = rows["read_tables"]
    size = path.stat().st_size / 1e9
    title = f"{expected[0]:,} usable boxes of {expected[1]:,} images, {size:.2f} GB"
    ratios = {
        "read_vs_pandas": report.ratio(rows["pandas"], ours),
        "read_vs_polars": report.ratio(rows["polars"], ours),
        "memory_vs_pandas": rows["pandas"].peak / ours.peak,
        "memory_vs_polars": rows["polars"].peak / ours.peak,
        "memory_vs_4_gb": MAX_PEAK / ours.peak,
    }
    report.print_report(
        "openimages", title, list(rows.values()), ratios, MIN_RATIOS, arguments.json
    )


if __name__ == "__main__":
    main()
