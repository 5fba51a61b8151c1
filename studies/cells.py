"""Cells of a study: one network trained on some products and asked about others (Q4 to Q8).

The networks, the loop and the predictions are those of the pipeline; a study only says who learns
from what. A finished cell is a JSON file named by all that decides it, and is not computed again:
a study may be stopped, and asked later for more.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.config.load import load
from lib.config.model import Model
from lib.config.schema import Config, as_dict
from lib.data.catalog import Catalog, Categories, read_categories, read_splits
from lib.data.image_reader import ImageReader
from lib.errors import UserError
from lib.inference.predictor import ImagePredictor
from lib.models import factory
from lib.pipeline.experiment import Experiment
from lib.pipeline.manifest import read_manifest
from lib.runtime.log import configure_logging
from lib.runtime.workers import num_threads, process_pool
from lib.stages import extract
from lib.stages.order import build_stage
from lib.stages.read import catalog_of_part
from lib.training.dataset import TrainingSet
from lib.training.loader import ImageLoader
from lib.training.trainer import train
from lib.utils.files import atomic_write

LARGE = (
    "--set data.train=bitmap28_large --set data.classes=[] --set data.max_per_class=0"
    " --set name=quickdraw_large"
)


@dataclass(frozen=True)
class Cell:
    """train, test: products int64, ascending. labels int16 [P]: class of each product of these,
    from 0 to below `classes`. model: trained with `seed`."""

    name: str
    model: Model
    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    classes: int
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a cell found. answers int [test]: the class that came first. loss: cross-entropy of the
    products asked. history: a line an epoch, as in history.jsonl, with its `cpu_seconds`."""

    answers: np.ndarray
    loss: float
    history: list[dict[str, Any]]

    def right(self, cell: Cell) -> np.ndarray:
        """bool [test]."""
        return self.answers == cell.labels[cell.test]


@dataclass(frozen=True)
class Known:
    """What stage 01 has found: the labelled products, their classes and parts."""

    catalogue: Catalog
    classes: Categories
    fit: np.ndarray  # products int64, of all parts but `locked`
    locked: np.ndarray

    def named(self, name: str) -> int:
        """The class of this name. Raises UserError for none."""
        keys = [self.classes.key(number) for number in range(len(self.classes))]
        if name not in keys:
            raise UserError(f"{name!a} is no category here; there are: {', '.join(keys)}")
        return keys.index(name)

    def of(self, products: np.ndarray, classes: Sequence[int]) -> np.ndarray:
        """Those of the products that are of these classes."""
        return products[np.isin(self.catalogue.label[products], classes)]

    def numbered(self, classes: Sequence[int]) -> np.ndarray:
        """int16 [P]: the place of each product's class among these, -1 for another."""
        places = np.full(len(self.classes) + 1, -1, np.int16)
        places[list(classes)] = np.arange(len(classes))
        return places[self.catalogue.label]

    def largest(self, count: int) -> list[int]:
        """So many classes, those of the most products to learn from, ascending."""
        sizes = np.bincount(self.catalogue.label[self.fit], minlength=len(self.classes))
        return np.sort(np.argsort(-sizes, kind="stable")[:count]).tolist()

    def some(
        self, products: np.ndarray, classes: Sequence[int], rows: int, seed: int
    ) -> np.ndarray:
        """`rows` products of each class, int64 ascending: a draw that grows with `rows`."""
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(self.of(products, [one]))[:rows] for one in classes]
        return np.sort(np.concatenate(drawn))


def parser(
    description: str, name: str, config: str = "configs/quickdraw.toml", example: str = LARGE
) -> argparse.ArgumentParser:
    """The arguments that all studies of drawings take."""
    found = argparse.ArgumentParser(
        prog=f"python -m studies.{name}",
        description=description,
        epilog=f"example: python -m studies.{name} {example}",
    )
    found.add_argument("--config", default=config, help="(%(default)s)")
    found.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    found.add_argument("--rebuild", action="store_true", help="stage 01 anew, where it is stale")
    found.add_argument("--seeds", type=int, default=3, help="of each cell (%(default)s)")
    found.add_argument(
        "--out", default="docs", help="folder of quickdraw.md, which gets the table (%(default)s)"
    )
    return found


def of_one_model(found: argparse.ArgumentParser, model: str = "cnn2") -> None:
    """The arguments of a study that trains one model of the config."""
    found.add_argument("--epochs", type=int, default=10, help="(%(default)s)")
    found.add_argument("--model", default=model, help="of the config (%(default)s)")


def run(arguments: argparse.Namespace, study: Callable[[Config, Known], None]) -> int:
    """Stage 01, where it is missing, then the study; its exit status."""
    configure_logging()
    try:
        config = load(arguments.config, arguments.set)
        build_stage(extract, Experiment(config), arguments.rebuild)
        study(config, known(config))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def model_of(config: Config, name: str) -> Model:
    """Raises UserError for a model that is not in the config."""
    if name not in config.models:
        raise UserError(f"no model {name!a} in the config; there are: {', '.join(config.models)}")
    return config.models[name]


def known(config: Config) -> Known:
    """Raises UserError for products of several pictures, or none."""
    splits = read_splits(Experiment(config).path("extract/splits"))
    catalogue = catalog_of_part(Experiment(config), "train")
    if not np.array_equal(catalogue.image_product, np.arange(len(catalogue.product_id))):
        raise UserError(f"{catalogue.path}: the studies on drawings need one picture a product")
    return Known(
        catalogue,
        read_categories(Experiment(config).path("extract/classes")),
        splits.products("fit", "holdout"),
        splits.products("locked"),
    )


def compute(config: Config, cells: Sequence[Cell], side_by_side: bool = True) -> list[Outcome]:
    """What each cell finds, in their order; not side by side: where times are compared."""
    places = [place(config, cell) for cell in cells]
    missing = [i for i, path in enumerate(places) if not path.exists()]
    workers = min(config.run.workers or num_threads(config.run), len(missing))
    title = {"total": len(cells), "initial": len(cells) - len(missing), "unit": " cells"}
    with tqdm(**title, disable=None) as bar:
        if not side_by_side or workers < 2:
            for i in missing:
                _fill(config, cells[i], places[i])
                bar.update()
        else:
            with process_pool(workers) as pool:
                tasks = [pool.submit(_fill, config, cells[i], places[i]) for i in missing]
                for task in as_completed(tasks):
                    task.result()
                    bar.update()
    return [_read(path) for path in places]


def place(config: Config, cell: Cell, *more: Any) -> Path:
    """The file of a cell: what decides it is in its name. more: plain data that decides too."""
    manifest = read_manifest(Experiment(config).path("extract/train"))
    decides = [as_dict(cell.model), cell.classes, cell.seed, manifest and manifest["digest"], *more]
    digest = hashlib.sha256(json.dumps(decides).encode())
    for rows in (cell.train, cell.test, cell.labels):
        digest.update(rows.tobytes())
    return Experiment(config).folder / "cells" / f"{cell.name}-{digest.hexdigest()[:12]}.json"


def _read(path: Path) -> Outcome:
    found = json.loads(path.read_text())
    return Outcome(np.array(found["answers"]), found["loss"], found["history"])


def _fill(config: Config, cell: Cell, path: Path) -> None:
    torch.set_num_threads(num_threads(config.run))
    found = learn(config, cell, path.with_suffix(".partial"))
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(found))


def learn(config: Config, cell: Cell, folder: Path) -> dict[str, Any]:
    """Train and ask; a stopped training in `folder` goes on, a finished one leaves nothing."""
    teach(config, cell, folder)
    probs = ask(config, cell.model, folder / "last.pt", cell.test)
    truth = torch.from_numpy(cell.labels[cell.test].astype(np.int64))
    history = _history(folder)
    shutil.rmtree(folder)
    return {
        "answers": probs.argmax(1).tolist(),
        "loss": float(torch.nn.functional.nll_loss(probs.clamp(min=1e-12).log(), truth)),
        "history": history,
    }


def teach(config: Config, cell: Cell, folder: Path) -> None:
    """Leave `last.pt` of the cell's network in `folder`, from where an earlier call was stopped.

    Products are of one picture each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    catalogue, model = catalog_of_part(Experiment(config), "train"), cell.model
    with ImageReader(catalogue, model.resize, num_threads(config.run)) as reader:
        lesson = TrainingSet(
            ImageLoader(reader, model),
            lambda weights: factory.create_from_config(model, cell.classes, weights),
            cell.labels,
            np.arange(len(cell.labels)),
            cell.train,
            cell.test,
            cell.classes,
        )
        train(folder, model, lesson, cell.seed, config.run)


def ask(config: Config, model: Model, checkpoint: Path, products: np.ndarray) -> torch.Tensor:
    """Probabilities [products, classes] by the centre view."""
    catalogue = catalog_of_part(Experiment(config), "train")
    with ImageReader(catalogue, model.resize, num_threads(config.run)) as reader:
        one_view = replace(config.predict, tta_views=1)
        scorer = ImagePredictor(model, one_view, [checkpoint], reader, config.run)
        return torch.cat([probs.tta.cpu() for probs in scorer.predict_batches(products, [0])])


def _history(folder: Path) -> list[dict[str, Any]]:
    files = [(folder / name).read_text().splitlines() for name in ("history.jsonl", "_times.jsonl")]
    return [json.loads(line) | json.loads(times) for line, times in zip(*files, strict=True)]
