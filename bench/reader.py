"""The image reader against files, a Keras-style iterator and the bare decoder.

    python -m bench.reader --products 4000 --json

Images are generated at 180x180. Baselines: one file for each image, opened and read; a batch
iterator as Keras users wrote it for this competition (pandas tables, a lock, decoded documents,
PIL, float32, one-hot labels); `cv2.imdecode` of bytes in memory. Cold reads are from a file of
random bytes that is dropped from the page cache before each run.
"""

import argparse
import io
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import bson
import cv2
import numpy as np
import pandas as pd
from PIL import Image

from bench import generate, report
from bench.report import Row
from lib.config.data import Sample
from lib.config.model import Augment
from lib.data.byte_reader import ByteReader
from lib.data.catalog import Catalog, Categories, build_categories, read_catalog, read_categories
from lib.data.image_reader import ImageReader
from lib.data.shuffle import EpochOrder
from lib.data.sources.bson_file import index_bson
from lib.data.synthetic.catalog import generate as generate_catalog
from lib.training.loaders.augment import RandomAugment

RESIZE, CROP = (180, 180), (160, 160)
BATCH = 64
KERAS_CLASSES = 5270
COLD_READS = 8000
# Without noise a generated image takes 6.4 KB; the competition's example takes 5.7 KB.
CLEAN_IMAGES = Sample(difficulty=0.0)

MIN_RATIOS = {
    "random_reads_vs_files": 4.0,
    "cold_reads_8_threads": 3.0,
    "reader_vs_keras_style": 4.0,
    "reader_vs_bare_decode": 0.85,
    "reader_two_threads": 1.7,
}


def open_catalog(folder: Path) -> Catalog:
    """The catalog in `folder`."""
    return read_catalog(folder / "index", folder / "train.bson")


def shuffled_rows(folder: Path) -> np.ndarray:
    """int64 [I]: all image rows in random order."""
    return np.random.default_rng(0).permutation(len(open_catalog(folder).length))


def read_in_place(folder: Path) -> Callable[[], int]:
    """Read every image's bytes in random order from the one file; returns their number."""
    rows, byte_reader = shuffled_rows(folder), ByteReader(open_catalog(folder))
    return lambda: sum(map(len, byte_reader.read_many(rows)))


def read_files(folder: Path) -> Callable[[], int]:
    """The baseline: read the same bytes from one file for each image."""
    catalog = open_catalog(folder)
    paths = [str(file_of(folder, catalog, row)) for row in shuffled_rows(folder).tolist()]

    def work() -> int:
        total = 0
        for path in paths:
            with open(path, "rb") as file:
                total += len(file.read())
        return total

    return work


def read_cold(folder: Path, threads: int) -> Callable[[], int]:
    """Read random images of a file that is not in memory; returns the number of bytes."""
    catalog = open_catalog(folder)
    rows = np.random.default_rng(1).choice(len(catalog.length), COLD_READS, replace=False)
    byte_reader = ByteReader(catalog)

    def read(part: np.ndarray) -> int:
        """Number of bytes of these image rows."""
        return sum(map(len, byte_reader.read_many(part)))

    with catalog.path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def work() -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(read, np.array_split(rows, threads)))

    return work


def read_batches(folder: Path, threads: int) -> Callable[[], int]:
    """The reader as training uses it (decode, crop, flip, uint8); returns the number of images."""
    catalog = open_catalog(folder)
    order = EpochOrder(np.arange(len(catalog.length)), 1, 0)

    def work() -> int:
        with ImageReader(catalog, RESIZE, threads) as reader:
            rows = order.slice(0, len(order))
            seeds = np.random.SeedSequence(0)
            augmenter = RandomAugment(Augment(), RESIZE, CROP, flip=True)
            batches = reader.batches(rows, BATCH, augmenter, seeds)
            return sum(len(images) for _, images in batches)

    return work


def decode_bare(folder: Path) -> Callable[[], int]:
    """The baseline: the decoder alone, on the same bytes in memory."""
    cv2.setNumThreads(0)
    byte_reader = ByteReader(open_catalog(folder))
    encoded = list(byte_reader.read_many(shuffled_rows(folder)))

    def work() -> int:
        images = (cv2.imdecode(np.frombuffer(e, np.uint8), cv2.IMREAD_COLOR) for e in encoded)
        return sum(image is not None for image in images)

    return work


class KerasStyle:
    """The baseline: batches of float32 images and one-hot labels, in the common Keras style."""

    def __init__(self, folder: Path) -> None:
        catalog = open_catalog(folder)
        product = np.asarray(catalog.image_product)
        positions = np.asarray(catalog.image_position)
        starts, sizes = _documents(catalog.path)
        ids = np.asarray(catalog.product_id)
        self.documents = pd.DataFrame({"offset": starts, "length": sizes}, index=ids)
        self.images = pd.DataFrame(
            {"product_id": ids[product], "category": catalog.label[product], "image": positions}
        )
        self.file = catalog.path.open("rb")
        self.lock = threading.Lock()
        self.rng = np.random.default_rng(0)

    def batch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 [B, height, width, 3] and one-hot float32 [B, classes] of the image rows."""
        x = np.zeros((len(rows), *CROP, 3), np.float32)
        y = np.zeros((len(rows), KERAS_CLASSES), np.float32)
        for i, row in enumerate(rows):
            with self.lock:
                image = self.images.iloc[row]
                document = self.documents.loc[image["product_id"]]
                self.file.seek(document["offset"])
                data = self.file.read(document["length"])
            record = bson.decode(data)
            decoded = Image.open(io.BytesIO(record["imgs"][image["image"]]["picture"]))
            pixels = np.asarray(decoded.convert("RGB"), np.float32)
            top, left = self.rng.integers(0, RESIZE[0] - CROP[0] + 1, 2)
            pixels = pixels[top : top + CROP[0], left : left + CROP[1]]
            if self.rng.random() < 0.5:
                pixels = pixels[:, ::-1]
            x[i] = pixels / 255.0
            y[i, image["category"]] = 1
        return x, y


def _documents(path: Path) -> tuple[list[int], list[int]]:
    """The offset and the length of every BSON document."""
    starts, sizes = [], []
    with path.open("rb") as file:
        while length := file.read(4):
            starts.append(file.tell() - 4)
            sizes.append(int.from_bytes(length, "little"))
            file.seek(sizes[-1] - 4, 1)
    return starts, sizes


def read_keras_style(folder: Path) -> Callable[[], int]:
    """The baseline: an epoch of `KerasStyle` in random order; returns the number of images."""
    iterator, rows = KerasStyle(folder), shuffled_rows(folder)
    starts = range(0, len(rows), BATCH)
    return lambda: sum(len(iterator.batch(rows[start : start + BATCH])[0]) for start in starts)


def prepare(folder: Path, products: int) -> int:
    """Generate a catalog and its index; returns the number of images."""
    settings = replace(CLEAN_IMAGES, train_products=products, test_products=1, image_size=RESIZE[0])
    generate_catalog(folder, settings, 1)
    (folder / "index").mkdir()
    build_categories(folder / "index", folder / "category_names.csv")
    index(folder, read_categories(folder / "index"))
    return len(open_catalog(folder).length)


def prepare_files(folder: Path) -> int:
    """Write a folder for each class and a file for each image; returns the number of images."""
    catalog = open_catalog(folder)
    for row, data in enumerate(ByteReader(catalog).read_many(np.arange(len(catalog.length)))):
        path = file_of(folder, catalog, row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return len(catalog.length)


def file_of(folder: Path, catalog: Catalog, row: int) -> Path:
    """The path of the file that `prepare_files` writes for an image row."""
    product = catalog.image_product[row]
    name = f"{catalog.product_id[product]}-{catalog.image_position[row]}.jpg"
    return folder / "files" / str(catalog.label[product]) / name


def prepare_records(folder: Path, products: int) -> None:
    """Write records of the competition's sizes with random bytes as images, and their index."""
    folder.mkdir()
    (folder / "index").mkdir()
    generate.write_bson(folder / "train.bson", products)
    ids = np.arange(generate.CATEGORIES) + 1_000_000
    index(folder, Categories(ids, [("", "", "")] * len(ids)))


def index(folder: Path, classes: Categories) -> None:
    """Stage 01 on the file in `folder`."""
    index_bson(folder / "index", folder / "train.bson", classes, True, 0.0, processes=2)


def main() -> None:
    """Write the files, measure and print the report."""
    parser = report.parser("bench.reader", __doc__)
    parser.add_argument("--products", type=int, default=4_000, help="generated (%(default)s)")
    parser.add_argument(
        "--hot-products", type=int, default=30_000, help="8.2 KB each (%(default)s)"
    )
    parser.add_argument(
        "--cold-products", type=int, default=400_000, help="8.2 KB each (%(default)s)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = prepare(folder, arguments.products)
        prepare_records(folder / "hot", arguments.hot_products)
        files = prepare_files(folder / "hot")
        prepare_records(folder / "cold", arguments.cold_products)
        measure_all(folder, images, files, arguments)


def measure_all(folder: Path, images: int, files: int, arguments: argparse.Namespace) -> None:
    """Measure all ways and print the report."""
    tasks = {
        "one file per image": (files, partial(report.measure, read_files, folder / "hot")),
        "in place": (files, partial(report.measure, read_in_place, folder / "hot")),
        "cold, 1 thread": (COLD_READS, partial(report.measure, read_cold, folder / "cold", 1)),
        "cold, 8 threads": (COLD_READS, partial(report.measure, read_cold, folder / "cold", 8)),
        "Keras style": (images, partial(report.measure, read_keras_style, folder)),
        "bare cv2.imdecode": (images, partial(report.measure, decode_bare, folder)),
        "reader, 1 thread": (images, partial(report.measure, read_batches, folder, 1)),
        "reader, 2 threads": (images, partial(report.measure, read_batches, folder, 2)),
    }
    runs = report.run_in_turns({name: task for name, (_, task) in tasks.items()}, arguments.runs)
    rows = {name: Row(name, count, "image", runs[name]) for name, (count, _) in tasks.items()}
    title = f"{images:,} images of 180x180, cropped to 160x160"
    reader = rows["reader, 1 thread"]
    ratios = {
        "random_reads_vs_files": report.ratio(rows["one file per image"], rows["in place"]),
        "cold_reads_8_threads": report.ratio(rows["cold, 1 thread"], rows["cold, 8 threads"]),
        "reader_vs_keras_style": report.ratio(rows["Keras style"], reader, "cpu"),
        "reader_vs_bare_decode": report.ratio(rows["bare cv2.imdecode"], reader, "cpu"),
        "reader_two_threads": report.ratio(reader, rows["reader, 2 threads"]),
    }
    report.print_report("reader", title, list(rows.values()), ratios, MIN_RATIOS, arguments.json)


if __name__ == "__main__":
    main()
