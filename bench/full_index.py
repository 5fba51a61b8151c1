"""The whole competition's index: 12.4 million pictures to open, to keep, to train from.

    python -m bench.full_index --json

Records as many as the competition's, with a picture of one pixel each, are written as BSON and
indexed by stage 01; an epoch is read from the index in training order, every picture fetched and
decoded. Baselines are limits: a second to open it, 600 MB on disk, 50 MB that a worker's resident
memory may grow in an epoch. Above 1 is within them.
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
from lib.training.augment import RandomAugment

PRODUCTS, IMAGES = 7_069_896, 12_371_293
SECONDS, DISK, GROWTH = 1.0, 600.0, 50.0  # MB
SIDE, BATCH, SEGMENT = 2, 512, 250  # pixels, pictures, batches that are asked for at a time

BARS = {"full_index_opens": 1.0, "full_index_disk": 1.0, "full_index_growth": 1.0}


def build(folder: Path, products: int, images: int) -> report.Measured:
    """Write the BSON file and index it; what the indexing took."""
    generate.write_small_bson(folder / "train.bson", products, images)
    (folder / "index").mkdir()
    return report.measured(indexed, folder)


def indexed(folder: Path):  # type: ignore[no-untyped-def]
    ids = np.arange(generate.CATEGORIES) + 1_000_000
    classes = Categories(ids, [("", "", "")] * len(ids))
    source = folder / "train.bson"
    return lambda: index_bson(folder / "index", source, classes, True, 0.0, processes=2)


def opening(folder: Path):  # type: ignore[no-untyped-def]
    """Open the index and what a reader needs of it."""

    def work() -> int:
        with ImageReader(read_catalog(folder / "index", folder / "train.bson"), (2, 2), 1):
            return 0

    return work


def epoch(folder: Path):  # type: ignore[no-untyped-def]
    """Read an epoch as training does; resident MB after the first segment and at most."""
    workers.tune_malloc()

    def work() -> tuple[float, float]:
        known = read_catalog(folder / "index", folder / "train.bson")
        size = SIDE, SIDE
        augmenter = RandomAugment(Augment(), size, size, flip=True)
        with ImageReader(known, size, 2) as reader:
            order = EpochOrder(np.arange(len(known.length)), 1, 0)
            start = most = 0.0
            for first in tqdm(range(0, len(order), SEGMENT * BATCH), desc="epoch", disable=None):
                rows = order.slice(first, first + SEGMENT * BATCH)
                seeds = np.random.SeedSequence([1, 0, first])
                for _ in reader.batches(rows, BATCH, augmenter, seeds):
                    pass
                most = max(most, report.resident())
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
        made = build(folder, arguments.products, arguments.images)
        print(f"{made.result} in {time.perf_counter() - start:.0f} s, records written included")
        run(folder, made, arguments)


def run(folder: Path, made: report.Measured, arguments) -> None:  # type: ignore[no-untyped-def]
    opened = [report.measured(opening, folder) for _ in range(arguments.runs)]
    read = report.measured(epoch, folder)
    before, after = read.result
    disk = sum(path.stat().st_size for path in (folder / "index").iterdir()) / 1e6
    rows = [
        report.Row("index, two processes", arguments.images, "pic", [made]),
        report.Row("open", arguments.images, "pic", opened),
        report.Row("an epoch, two threads", arguments.images, "pic", [read]),
    ]
    report.show(f"{arguments.products:,} products, {arguments.images:,} pictures", rows)
    print(f"\n{disk:.0f} MB on disk; resident {before:.0f} MB at first, {after:.0f} MB at most")
    ratios = {
        "full_index_opens": SECONDS / rows[1].wall,
        "full_index_disk": DISK / disk,
        "full_index_growth": GROWTH / max(after - before, 1.0),
    }
    report.finish("full_index", ratios, BARS, arguments.json)


if __name__ == "__main__":
    main()
