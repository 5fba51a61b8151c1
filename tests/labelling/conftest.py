"""A small drawn catalogue after stage 01, and its page without a server."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import flask
import pytest

from lib import fill, jobs
from lib.config.load import load
from lib.config.schema import Config
from lib.data.catalog import Catalog, read_categories, read_splits
from lib.labelling.app import create_app
from lib.labelling.images import Pictures
from lib.labelling.items import LabellingTask, draw
from lib.labelling.store import Store

TINY = """
name = "tiny"
[data]
source = "sample"
[sample]
train_products = 120
test_products = 10
num_classes = {classes}
image_size = 32
[split]
locked = 0.3
n_folds = 2
[run]
threads = 1
[models.a]
arch = "small"
weights = "none"
n_folds = 2
"""


def built(folder: Path, classes: int) -> tuple[Path, Config]:
    path = folder / "tiny.toml"
    own = f'work = "{folder}"\n'
    path.write_text(own + TINY.format(classes=classes))
    config = load(path)
    jobs.ensure_all(config, "extract", False, lambda _: None)
    return path, config


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """Four classes: digits choose."""
    return built(tmp_path_factory.mktemp("few"), 4)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """Twelve classes: more than there are digits."""
    return built(tmp_path_factory.mktemp("many"), 12)


def sheet_of(
    config: Config, drawings: int, seed: int | None = None
) -> tuple[Catalog, LabellingTask]:
    """As the study draws it, unless another seed is named."""
    seed = config.seed if seed is None else seed
    catalogue = fill.catalogue(config, "train")
    classes = read_categories(config.at("extract/classes"))
    locked = read_splits(config.at("extract/splits")).products("locked")
    return catalogue, draw(catalogue, classes, locked, drawings, seed)


@dataclass
class Page:
    catalogue: Catalog
    sheet: LabellingTask
    store: Store
    app: flask.Flask
    ended: list[int]


@pytest.fixture
def page(few: tuple[Path, Config], tmp_path: Path) -> Iterator[Page]:
    """Two people, 20 products."""
    catalogue, sheet = sheet_of(few[1], 20)
    pictures, ended = Pictures(catalogue), []
    with Store(tmp_path / "labels.sqlite") as store:
        yield Page(
            catalogue, sheet, store, create_app(sheet, store, pictures, 2, ended.append), ended
        )
    pictures.close()
