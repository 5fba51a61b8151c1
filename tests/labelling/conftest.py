"""Small generated catalogs after stage 01, and the labelling page without a server."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import flask
import pytest

from lib.config.load import load
from lib.config.schema import Config
from lib.data.catalog import Catalog, read_categories, read_splits
from lib.labelling.app import create_app
from lib.labelling.images import ProductImages
from lib.labelling.items import LabellingTask, sample_task
from lib.labelling.store import Store
from lib.pipeline.experiment import Experiment
from lib.stages import extract
from lib.stages.order import build_stage
from lib.stages.read import catalog_of_part

TINY = """
name = "tiny"
[data]
source = "sample"
group_by = ""
[sample]
train_products = 120
test_products = 10
num_classes = {num_classes}
image_size = 32
[split]
locked = 0.3
n_folds = 2
[run]
threads = 1
report = false
[models.a]
arch = "small"
weights = "none"
n_folds = 2
"""


def index_sample(folder: Path, num_classes: int) -> tuple[Path, Config]:
    """A config file and the config, after stage 01."""
    path = folder / "tiny.toml"
    path.write_text(f'work = "{folder}"\n' + TINY.format(num_classes=num_classes))
    config = load(path)
    build_stage(extract, Experiment(config), rebuild=False)
    return path, config


@pytest.fixture(scope="session")
def four_classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """Few enough classes for one digit key each."""
    return index_sample(tmp_path_factory.mktemp("four_classes"), 4)


@pytest.fixture(scope="session")
def twelve_classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """More classes than there are digits."""
    return index_sample(tmp_path_factory.mktemp("twelve_classes"), 12)


def make_task(
    config: Config, num_items: int, seed: int | None = None
) -> tuple[Catalog, LabellingTask]:
    """The task that the study draws by default, or with another seed."""
    experiment = Experiment(config)
    catalog = catalog_of_part(experiment, "train")
    categories = read_categories(experiment.path("extract/categories"))
    products = read_splits(experiment.path("extract/splits")).products("fit")
    seed = config.seed if seed is None else seed
    return catalog, sample_task(catalog, categories, products, num_items, seed)


@dataclass
class Page:
    catalog: Catalog
    task: LabellingTask
    store: Store
    app: flask.Flask
    finished: list[int]


@pytest.fixture
def page(four_classes: tuple[Path, Config], tmp_path: Path) -> Iterator[Page]:
    """A page for two people and 20 products."""
    catalog, task = make_task(four_classes[1], 20)
    images, finished = ProductImages(catalog), []
    with Store(tmp_path / "labels.sqlite") as store:
        app = create_app(task, store, images, 2, finished.append)
        yield Page(catalog, task, store, app, finished)
    images.close()
