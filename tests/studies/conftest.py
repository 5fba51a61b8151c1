"""Ten-line catalogs of drawings after stage 01, and what the studies write."""

import csv
import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from lib.cli import run_stage
from lib.config.load import load
from lib.config.write import to_toml
from lib.pipeline.artifact import ensure
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages import extract
from lib.stages.order import build_stage, declare_all
from studies import recipe
from studies.tables import Answers, Row, compare_accuracy
from tests.conftest import ROOT
from tests.labelling.conftest import four_classes
from tests.stages.openimages.test_annotations import write_catalog

__all__ = ["four_classes"]

CATEGORIES = ("bar", "dot", "ring", "wave")
NUM_DRAWINGS = 50  # of each category
SAMPLE = "configs/sample.toml"
TINY = (
    "sample.train_products=150",
    "sample.test_products=10",
    "models.small.epochs=1",
)


class SmallStudy(NamedTuple):
    """The work folder, the arguments of `recipe.study`, its answers, and the rows of accuracy."""

    work: Path
    arguments: tuple
    answers: dict[str, list[Answers]]
    rows: list[Row]


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """A study of one setting on the sample catalog."""
    work = tmp_path_factory.mktemp("recipe")
    overrides = [f"work={work}", *TINY]
    options = [part for override in overrides for part in ("--set", override)]
    assert run_stage(extract, ["--config", SAMPLE, *options]) == 0
    arguments = (SAMPLE, overrides, "small", [recipe.BASELINE, "one view"], 1)
    answers = recipe.study(*arguments)
    return SmallStudy(work, arguments, answers, compare_accuracy(answers))


def bitmaps(number: int) -> np.ndarray:
    """uint8 [NUM_DRAWINGS, 784]: noise, and a bright band whose rows depend on `number`."""
    rng = np.random.default_rng(number)
    drawings = rng.integers(0, 60, (NUM_DRAWINGS, 28, 28), np.uint8)
    drawings[:, 7 * number : 7 * number + 7] = 255
    return drawings.reshape(NUM_DRAWINGS, -1)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bitmaps of four categories, and `work` after stage 01; read only."""
    folder = tmp_path_factory.mktemp("drawn")
    for number, name in enumerate(CATEGORIES):
        np.save(folder / f"{name}.npy", bitmaps(number))
    build_stage(extract, quickdraw(folder, folder / "work"), rebuild=False)
    return folder


@pytest.fixture
def experiment(drawn: Path, tmp_path: Path) -> Experiment:
    """The models of configs/quickdraw.toml for two epochs, after stage 01."""
    shutil.copytree(drawn / "work", tmp_path, dirs_exist_ok=True)
    return quickdraw(drawn, tmp_path)


def quickdraw(drawn: Path, work: Path) -> Experiment:
    """The experiment of configs/quickdraw.toml with these bitmaps, for two epochs."""
    changes = [f"work={work}", f'data.root="{drawn.parent}"', f'data.train="{drawn.name}"']
    changes += ["data.classes=[]", "train.epochs=2", "models.modern.epochs=2"]
    changes += ["train.batch_size=8", "run.workers=1"]
    return Experiment(load(ROOT / "configs/quickdraw.toml", changes))


@pytest.fixture(scope="session")
def openimages_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of pictures of cars, buses and dogs with boxes, after stage 03; read only."""
    config = write_catalog(tmp_path_factory.mktemp("openimages"))
    experiment = load_experiment(config)
    build_here(experiment, "extract", "train", "predict")
    (experiment.folder / "config.toml").write_text(to_toml(experiment.config))
    return config


def build_here(experiment: Experiment, *stages: str) -> None:
    """Build the artifacts of some stages in this process: a new one takes longer than the work."""
    for name in stages:
        for artifact in declare_all(experiment)[name]:
            ensure(artifact, rebuild=False)


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[..., Namespace]:
    """The arguments of a study that writes into `tmp_path`/docs."""

    def make(**more: object) -> Namespace:
        common = {"seeds": 2, "out": str(tmp_path / "docs"), "model": "cnn2", "epochs": 2}
        return Namespace(**(common | more))

    return make


@pytest.fixture
def read_csv(tmp_path: Path) -> Callable[[str], list[dict[str, str]]]:
    """The rows of a CSV file that a study wrote."""

    def read(name: str) -> list[dict[str, str]]:
        with (tmp_path / "docs" / "quickdraw" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return read


def write_ndjson(path: Path, first_key: int, drawings: list) -> None:
    """A file of stroke drawings in the form of Quick, Draw!."""
    path.parent.mkdir(exist_ok=True)
    lines = [
        json.dumps({"key_id": str(first_key + number), "drawing": drawing})
        for number, drawing in enumerate(drawings)
    ]
    path.write_text("\n".join(lines))
