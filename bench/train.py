"""Training from the image reader against training on batches in memory.

    python -m bench.train --json                                     # on a GPU if there is one
    python -m bench.train --arch resnet50 --steps 200 --json         # for a GPU machine

Images are generated at 180x180 and cropped to 160x160; the network starts at random. Both runs make
the same steps with the same settings; the first epoch warms up, the second is measured. The batches
in memory are those of the reader, used again and again.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench import report
from bench.report import Measurement, Row
from lib.config.data import Sample
from lib.config.model import Model
from lib.config.schema import Run
from lib.data.catalog import Catalog, build_categories, read_catalog, read_categories
from lib.data.image_reader import ImageReader
from lib.data.sources.bson_file import index_bson
from lib.data.synthetic.catalog import generate
from lib.models import factory
from lib.runtime import device as devices
from lib.training import trainer
from lib.training.dataset import TrainingSet
from lib.training.loaders.image_loader import Batches, ImageLoader, Loader

NUM_IN_MEMORY = 8  # batches

MIN_RATIOS = {"fed_vs_in_memory": 0.95}


class InMemoryLoader:
    """The first batches of another loader, repeated, in memory that the device can copy from."""

    def __init__(self, loader: Loader, rows: np.ndarray, batch: int, device: torch.device) -> None:
        allocate = devices.pinned_buffer(device)
        self.in_memory: list[tuple[np.ndarray, np.ndarray]] = []
        seeds = np.random.SeedSequence(0)
        for batch_rows, images in loader.train_batches(
            rows[: batch * NUM_IN_MEMORY], batch, seeds, 0, 1
        ):
            count, channels, height, width = images.shape
            buffer = allocate((count, height, width, channels)).transpose(0, 3, 1, 2)
            buffer[:] = images
            self.in_memory.append((batch_rows, buffer))

    def train_batches(
        self, rows: np.ndarray, batch: int, seeds: np.random.SeedSequence, epoch: int, epochs: int
    ) -> Batches:
        """As many batches as the rows fill, whatever the rows are."""
        return self.eval_batches(rows, batch)

    def eval_batches(self, rows: np.ndarray, batch: int) -> Batches:
        """As many batches as the rows fill, whatever the rows are."""
        for number in range(len(rows) // batch):
            yield self.in_memory[number % len(self.in_memory)]


def train_epochs(folder: Path, model: Model, steps: int, in_memory: bool) -> Callable[[], float]:
    """Train two epochs of `steps`; returns the images per second of the second."""
    catalog, num_classes = open_catalog(folder), len(read_categories(folder / "index"))
    device = devices.select_device(Run(), model)
    rows = np.sort(np.resize(np.arange(len(catalog.length)), steps * model.batch_size))

    def work() -> float:
        memory = devices.pinned_buffer(device)
        with (
            ImageReader(catalog, model.resize, report.cores(), memory) as reader,
            tempfile.TemporaryDirectory() as name,
        ):
            loader: Loader = ImageLoader(reader, model)
            dataset = TrainingSet(
                InMemoryLoader(loader, rows, model.batch_size, device) if in_memory else loader,
                lambda weights: factory.create_from_config(model, num_classes, weights),
                labels=catalog.label[catalog.image_product],
                product=catalog.image_product,
                train_rows=rows,
                valid_rows=np.zeros(0, np.int64),
                num_classes=num_classes,
            )
            return float(
                trainer.train_model(Path(name), model, dataset, 1, Run())["images_per_second"]
            )

    return work


def open_catalog(folder: Path) -> Catalog:
    """The generated catalog."""
    return read_catalog(folder / "index", folder / "train.bson")


def prepare(folder: Path, products: int, side: int) -> None:
    """Generate a catalog and index it."""
    settings = Sample(train_products=products, test_products=1, image_size=side)
    generate(folder, settings, 1)
    (folder / "index").mkdir()
    build_categories(folder / "index", folder / "category_names.csv")
    classes = read_categories(folder / "index")
    index_bson(folder / "index", folder / "train.bson", classes, True, 0.0, processes=1)


def at_last_epoch_rate(run: Measurement, images: int) -> Measurement:
    """The run as if both epochs had the rate of the second."""
    return replace(run, wall=images / run.result)


def main() -> None:
    """Measure both ways and print the report."""
    on_gpu = torch.cuda.is_available()
    parser = report.parser("bench.train", __doc__)
    default_arch = "resnet50" if on_gpu else "efficientnet_lite0"
    parser.add_argument("--arch", default=default_arch, help="(%(default)s)")
    parser.add_argument("--batch", type=int, default=256 if on_gpu else 32, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=200 if on_gpu else 20, help="(%(default)s)")
    parser.add_argument("--products", type=int, default=4_000, help="generated (%(default)s)")
    parser.add_argument("--side", type=int, default=180, help="pixels of an image (%(default)s)")
    arguments = parser.parse_args()
    side, steps = arguments.side, arguments.steps
    crop = side * 8 // 9
    model = Model(
        arch=arguments.arch,
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
            "batches in memory": partial(report.measure, train_epochs, folder, model, steps, True),
            "fed by the reader": partial(report.measure, train_epochs, folder, model, steps, False),
        }
        runs = report.run_in_turns(tasks, arguments.runs)
    images = 2 * steps * model.batch_size
    rows = [
        Row(name, images, "image", [at_last_epoch_rate(run, images) for run in runs[name]])
        for name in tasks
    ]
    device = torch.cuda.get_device_name() if on_gpu else "no GPU"
    title = f"{model.arch} at {crop}x{crop}, batch {model.batch_size}, {device}"
    ratios = {"fed_vs_in_memory": report.ratio(rows[0], rows[1])}
    report.print_report("train", title, rows, ratios, MIN_RATIOS, arguments.json)


if __name__ == "__main__":
    main()
