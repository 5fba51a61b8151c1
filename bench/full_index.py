"""The index at the competition's size: 12.4 million images to open, to store and to train from.

    python -m bench.full_index --json

Writes as many records as the competition has, each image of one pixel, as BSON; stage 01 indexes
them; one epoch is read in training order. Baselines are limits: one second to open the index, 600
MB on disk, 50 MB that a reader's resident memory may grow in an epoch.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bench import generate, report
from lib.config.model import Augment
from lib.data.catalog import Categories, read_catalog
from lib.data.image_reader import ImageReader
from lib.data.shuffle import EpochOrder
from lib.data.sources.bson_file import index_bson
from lib.runtime import workers
from lib.training.loaders.augment import RandomAugment

PRODUCTS, IMAGES = 7_069_896, 12_371_293
MAX_SECONDS = 1.0  # to open the index
MAX_DISK_MB, MAX_GROWTH_MB = 600.0, 50.0
SIDE = 2  # pixels
BATCH = 512  # images
BATCHES_PER_CALL = 250  # of the reader

MIN_RATIOS = {"full_index_opens": 1.0, "full_index_disk": 1.0, "full_index_growth": 1.0}


def build(folder: Path, products: int, images: int) -> report.Measurement:
    """Write the BSON file and measure the indexing."""
    generate.write_small_bson(folder / "train.bson", products, images)
    (folder / "index").mkdir()
    return report.measure(index_task, folder)


def index_task(folder: Path) -> Callable[[], dict[str, Any]]:
    """Stage 01 with two processes; returns its counts."""
    ids = np.arange(generate.CATEGORIES) + 1_000_000
    classes = Categories(ids, [("", "", "")] * len(ids))
    source = folder / "train.bson"
    return lambda: index_bson(folder / "index", source, classes, True, 0.0, processes=2)


def open_task(folder: Path) -> Callable[[], int]:
    """Open the index and a reader on it."""

    def work() -> int:
        with ImageReader(read_catalog(folder / "index", folder / "train.bson"), (2, 2), 1):
            return 0

    return work


def epoch_task(folder: Path) -> Callable[[], tuple[float, float]]:
    """Read an epoch as training does; returns resident MB after the first call and at most."""
    workers.tune_malloc()

    def work() -> tuple[float, float]:
        catalog = read_catalog(folder / "index", folder / "train.bson")
        size = SIDE, SIDE
        augmenter = RandomAugment(Augment(), size, size, flip=True)
        with ImageReader(catalog, size, 2) as reader:
            order = EpochOrder(np.arange(len(catalog.length)), 1, 0)
            initial = peak = 0.0
            rows_per_call = BATCHES_PER_CALL * BATCH
            for first in tqdm(range(0, len(order), rows_per_call), desc="epoch", disable=None):
                rows = order.slice(first, first + rows_per_call)
                seeds = np.random.SeedSequence([1, 0, first])
                for _ in reader.batches(rows, BATCH, augmenter, seeds):
                    pass
                peak = max(peak, report.resident_mb())
                initial = initial or peak
            if reader.corrupt.any():
                raise SystemExit("images could not be read")
        return initial, peak

    return work


def main() -> None:
    """Write the records, measure and print the report."""
    parser = report.parser("bench.full_index", __doc__)
    parser.add_argument("--products", type=int, default=PRODUCTS, help="(%(default)s)")
    parser.add_argument("--images", type=int, default=IMAGES, help="(%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        indexing = build(folder, arguments.products, arguments.images)
        seconds = time.perf_counter() - start
        print(f"wrote and indexed the records in {seconds:.0f} s: {indexing.result}")
        measure_reading(folder, indexing, arguments)


def measure_reading(
    folder: Path, indexing: report.Measurement, arguments: argparse.Namespace
) -> None:
    """Measure the index that is in `folder` and print the report."""
    opening = [report.measure(open_task, folder) for _ in range(arguments.runs)]
    reading = report.measure(epoch_task, folder)
    initial, peak = reading.result
    disk = sum(path.stat().st_size for path in (folder / "index").iterdir()) / 1e6
    rows = [
        report.Row("index, two processes", arguments.images, "image", [indexing]),
        report.Row("open", arguments.images, "image", opening),
        report.Row("an epoch, two threads", arguments.images, "image", [reading]),
    ]
    ratios = {
        "full_index_opens": MAX_SECONDS / rows[1].wall,
        "full_index_disk": MAX_DISK_MB / disk,
        "full_index_growth": MAX_GROWTH_MB / max(peak - initial, 1.0),
    }
    print(f"{disk:.0f} MB on disk; resident {initial:.0f} MB at first, {peak:.0f} MB at most")
    title = f"{arguments.products:,} products, {arguments.images:,} images"
    report.print_report("full_index", title, rows, ratios, MIN_RATIOS, arguments.json)


if __name__ == "__main__":
    main()
