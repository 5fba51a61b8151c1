"""The index at the competition's size: 12.4 million images to open, to store and to train from.

    python -m bench.full_index --json

Writes as many records as the competition has, each image of one pixel, as BSON; stage 01 indexes
them; one epoch is read in training order. Baselines are limits: one second to open the index, 600
MB on disk, 50 MB that a reader's resident memory may grow in an epoch.
"""

import tempfile
import time
from pathlib import Path

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
SECONDS, DISK, GROWTH = 1.0, 600.0, 50.0  # MB
SIDE, BATCH, SEGMENT = 2, 512, 250  # pixels, pictures, batches that are asked for at a time

BARS = {"full_index_opens": 1.0, "full_index_disk": 1.0, "full_index_growth": 1.0}


def build(folder: Path, products: int, images: int) -> report.Measurement:
    """Write the BSON file and index it; what the indexing took."""
    generate.write_small_bson(folder / "train.bson", products, images)
    (folder / "index").mkdir()
    return report.measure(index_task, folder)


def index_task(folder: Path):  # type: ignore[no-untyped-def]
    ids = np.arange(generate.CATEGORIES) + 1_000_000
    classes = Categories(ids, [("", "", "")] * len(ids))
    source = folder / "train.bson"
    return lambda: index_bson(folder / "index", source, classes, True, 0.0, processes=2)


def open_task(folder: Path):  # type: ignore[no-untyped-def]
    """Open the index and what a reader needs of it."""

    def work() -> int:
        with ImageReader(read_catalog(folder / "index", folder / "train.bson"), (2, 2), 1):
            return 0

    return work


def epoch_task(folder: Path):  # type: ignore[no-untyped-def]
    """Read an epoch as training does; resident MB after the first segment and at most."""
    workers.tune_malloc()

    def work() -> tuple[float, float]:
        catalog = read_catalog(folder / "index", folder / "train.bson")
        size = SIDE, SIDE
        augmenter = RandomAugment(Augment(), size, size, flip=True)
        with ImageReader(catalog, size, 2) as reader:
            order = EpochOrder(np.arange(len(catalog.length)), 1, 0)
            start = most = 0.0
            for first in tqdm(range(0, len(order), SEGMENT * BATCH), desc="epoch", disable=None):
                rows = order.slice(first, first + SEGMENT * BATCH)
                seeds = np.random.SeedSequence([1, 0, first])
                for _ in reader.batches(rows, BATCH, augmenter, seeds):
                    pass
                most = max(most, report.resident_mb())
                start = start or most
            if reader.corrupt.any():
                raise SystemExit("pictures could not be read")
        return start, most

    return work


def main() -> None:
    parser = report.parser("bench.full_index", __doc__)
    parser.add_argument("--products", type=int, default=PRODUCTS, help="default %(default)s")
    parser.add_argument("--images", type=int, default=IMAGES, help="default %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        indexing = build(folder, arguments.products, arguments.images)
        print(f"{indexing.result} in {time.perf_counter() - start:.0f} s, records written included")
        run(folder, indexing, arguments)


def run(folder: Path, indexing: report.Measurement, arguments) -> None:  # type: ignore[no-untyped-def]
    opening = [report.measure(open_task, folder) for _ in range(arguments.runs)]
    reading = report.measure(epoch_task, folder)
    before, after = reading.result
    disk = sum(path.stat().st_size for path in (folder / "index").iterdir()) / 1e6
    rows = [
        report.Row("index, two processes", arguments.images, "pic", [indexing]),
        report.Row("open", arguments.images, "pic", opening),
        report.Row("an epoch, two threads", arguments.images, "pic", [reading]),
    ]
    report.print_table(f"{arguments.products:,} products, {arguments.images:,} pictures", rows)
    print(f"\n{disk:.0f} MB on disk; resident {before:.0f} MB at first, {after:.0f} MB at most")
    ratios = {
        "full_index_opens": SECONDS / rows[1].wall,
        "full_index_disk": DISK / disk,
        "full_index_growth": GROWTH / max(after - before, 1.0),
    }
    report.print_ratios("full_index", ratios, BARS, arguments.json)


if __name__ == "__main__":
    main()
