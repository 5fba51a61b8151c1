"""A catalog whose classes differ by color, so that a small network learns it in seconds."""

from collections.abc import Iterator
from pathlib import Path

import bson
import cv2
import numpy as np
import pytest
import torch

from lib.config.model import Model
from lib.data.aspect.clusters import BatchShape
from lib.data.aspect.reader import AspectReader
from lib.data.catalog import Catalog, build_categories, read_catalog, read_categories
from lib.data.image_reader import ImageReader
from lib.data.sources.bson_file import index_bson
from lib.models import factory

COLORS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
PRODUCTS = 60
CORRUPT = 50  # row of an image that cannot be decoded
SIZE = (24, 20)
SHAPES = (
    BatchShape((36, 18), (30, 16)),
    BatchShape((24, 20), (20, 16)),
    BatchShape((18, 34), (16, 30)),
)


def encode_image(number: int, noise: int = 40) -> bytes:
    """A PNG file of class `number % 3`."""
    rng = np.random.default_rng(number)
    image = np.array(COLORS[number % 3])[None, None, ::-1] + rng.integers(-noise, noise, (*SIZE, 3))
    return cv2.imencode(".png", image.clip(0, 255).astype(np.uint8))[1].tobytes()


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """60 products of one image each, in three classes."""
    folder = tmp_path_factory.mktemp("colors")
    images = [encode_image(i) for i in range(PRODUCTS)]
    images[CORRUPT] = b"corrupt"
    records = [
        {"_id": i, "imgs": [{"picture": image}], "category_id": 10 + i % 3}
        for i, image in enumerate(images)
    ]
    source = folder / "train.bson"
    source.write_bytes(b"".join(bson.encode(record) for record in records))
    names = folder / "category_names.csv"
    header = "category_id,category_level1,category_level2,category_level3\n"
    names.write_text(header + "".join(f"{10 + i},A,B,C{i}\n" for i in range(3)))
    build_categories(folder, names)
    index_bson(folder, source, read_categories(folder), True, 0.1)
    return read_catalog(folder, source)


@pytest.fixture
def labels(catalog: Catalog) -> np.ndarray:
    """Class of each image."""
    return catalog.label[catalog.image_product]


@pytest.fixture
def reader(catalog: Catalog) -> Iterator[ImageReader]:
    with ImageReader(catalog, SIZE, 2) as opened:
        yield opened


def clustered_reader(reader: ImageReader, shapes: tuple[BatchShape, ...] = SHAPES) -> AspectReader:
    """The same images in three aspect clusters; the smallest has fewer images than a batch."""
    cluster = np.digitize(np.arange(PRODUCTS) * 7 % PRODUCTS, (6, 36)).astype(np.int8)
    return AspectReader(reader.catalog, list(shapes), cluster, "pad", 2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> Model:
    return Model(
        arch="small",
        weights="none",
        resize=SIZE,
        crop=(20, 16),
        head_only_epochs=1,
        epochs=2,
        batch_size=8,
        lr=0.02,
    )


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[Path]:
    """Two untrained networks with heads of large weights, so that their predictions differ."""
    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = factory.create_model("small", 4, "none")
        with torch.no_grad():
            net.head.weight.mul_(30)
        paths.append(tmp_path / f"net{seed}.pt")
        torch.save({"network": "small", "classes": 4, "model": net.state_dict()}, paths[-1])
    return paths


def folder_of(base: Path, name: str) -> Path:
    (base / name).mkdir()
    return base / name
