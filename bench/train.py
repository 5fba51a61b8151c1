"""Training fed by the reader against training on batches that are in memory already.

    python -m bench.train --json                                       # the CPU, or a GPU if any
    python -m bench.train --network resnet50 --steps 200 --json        # what a GPU box should run

Pictures are drawn at 180x180 and cut to 160x160; the network starts at random. Both runs make the
same steps with the same settings; the first epoch warms up, the second is measured. In memory lie
the batches that the reader made, used over and over.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench import report
from bench.report import Measured, Row
from lib.config.model import Model
from lib.config.schema import Run, Sample
from lib.data.catalog import Catalog, build_categories, read_catalog, read_categories
from lib.data.image_reader import ImageReader
from lib.data.sources.bson_file import index_bson
from lib.data.synthetic.catalog import generate
from lib.models import factory
from lib.runtime import device as devices
from lib.training import trainer
from lib.training.dataset import TrainingSet
from lib.training.loader import Batches, ImageLoader, Loader

KEPT = 8  # batches in memory

BARS = {"fed_vs_in_memory": 0.95}


class KeptFeed:
    """A few batches of another feed, in memory that the device can fetch from."""

    def __init__(self, feed: Loader, rows: np.ndarray, batch: int, device: torch.device) -> None:
        allocate = devices.pinned_buffer(device)
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []
        seeds = np.random.SeedSequence(0)
        for some, pictures in feed.train_batches(rows[: batch * KEPT], batch, seeds, 0, 1):
            count, channels, height, width = pictures.shape
            own = allocate((count, height, width, channels)).transpose(0, 3, 1, 2)
            own[:] = pictures
            self.kept.append((some, own))

    def train_batches(
        self, rows: np.ndarray, batch: int, seeds: np.random.SeedSequence, epoch: int, epochs: int
    ) -> Batches:
        return self.eval_batches(rows, batch)

    def eval_batches(self, rows: np.ndarray, batch: int) -> Batches:
        for number in range(len(rows) // batch):
            yield self.kept[number % len(self.kept)]


def trained(folder: Path, model: Model, steps: int, kept: bool) -> Callable[[], float]:
    """Two epochs of `steps`; returns the pictures a second of the last."""
    known, classes = opened(folder), len(read_categories(folder / "index"))
    device = devices.select_device(Run(), model)
    shown = np.sort(np.resize(np.arange(len(known.length)), steps * model.batch_size))

    def work() -> float:
        memory = devices.pinned_buffer(device)
        with (
            ImageReader(known, model.resize, report.cores(), memory) as reader,
            tempfile.TemporaryDirectory() as name,
        ):
            feed: Loader = ImageLoader(reader, model)
            lesson = TrainingSet(
                KeptFeed(feed, shown, model.batch_size, device) if kept else feed,
                lambda weights: factory.create_from_config(model, classes, weights),
                labels=known.label[known.image_product],
                product=known.image_product,
                train_rows=shown,
                valid_rows=np.zeros(0, np.int64),
                num_classes=classes,
            )
            return float(
                trainer.train_model(Path(name), model, lesson, 1, Run())["images_per_second"]
            )

    return work


def opened(folder: Path) -> Catalog:
    return read_catalog(folder / "index", folder / "train.bson")


def prepare(folder: Path, products: int, side: int) -> None:
    """A drawn catalogue and its index."""
    dials = Sample(train_products=products, test_products=1, image_size=side)
    generate(folder, dials, 1)
    (folder / "index").mkdir()
    build_categories(folder / "index", folder / "category_names.csv")
    classes = read_categories(folder / "index")
    index_bson(folder / "index", folder / "train.bson", classes, True, 0.0, processes=1)


def at_its_rate(run: Measured, pictures: int) -> Measured:
    """A run as if both epochs had gone at the rate of the second."""
    return replace(run, wall=pictures / run.result)


def main() -> None:
    on_gpu = torch.cuda.is_available()
    parser = report.parser("bench.train", __doc__)
    usual = "resnet50" if on_gpu else "efficientnet_lite0"
    parser.add_argument("--network", default=usual, help="(%(default)s)")
    parser.add_argument("--batch", type=int, default=256 if on_gpu else 32, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=200 if on_gpu else 20, help="(%(default)s)")
    parser.add_argument("--products", type=int, default=4_000, help="drawn (%(default)s)")
    parser.add_argument("--side", type=int, default=180, help="pixels of a picture (%(default)s)")
    arguments = parser.parse_args()
    side, steps = arguments.side, arguments.steps
    crop = side * 8 // 9
    model = Model(
        arch=arguments.network,
        weights="none",
        resize=(side, side),
        crop=(crop, crop),
        head_only_epochs=0,
        epochs=2,
        batch_size=arguments.batch,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.products, side)
        tasks = {
            "batches in memory": partial(report.measured, trained, folder, model, steps, True),
            "fed by the reader": partial(report.measured, trained, folder, model, steps, False),
        }
        runs = report.turns(tasks, arguments.runs)
    pictures = 2 * steps * model.batch_size
    rows = [
        Row(name, pictures, "pic", [at_its_rate(run, pictures) for run in runs[name]])
        for name in tasks
    ]
    device = torch.cuda.get_device_name() if on_gpu else "no GPU"
    report.show(f"{model.arch} at {crop}x{crop}, batch {model.batch_size}, {device}", rows)
    report.finish(
        "train", {"fed_vs_in_memory": report.ratio(rows[0], rows[1])}, BARS, arguments.json
    )


if __name__ == "__main__":
    main()
