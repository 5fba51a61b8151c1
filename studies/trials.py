"""Trials of the studies on drawings: train one network on some products, evaluate it on others.

Networks, training loop and predictions are those of the pipeline; a study only chooses the
products. Stage 01 gives a fold to every labelled product but those for the final figures, which
stage 06 alone opens. Drawings of fold 0 are held out for evaluation, those of the other folds are
for training. With `split.n_folds = 2` that is a half each; more folds leave more for training, in
an experiment of its own: `--set split.n_folds=4 --set name=NAME`.

The result of a trial is a JSON file whose name contains a digest of everything that determines it.
A finished trial is not run again, so a study can be stopped and extended later.
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
from lib.config.schema import as_dict
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
from lib.training.loaders.image_loader import ImageLoader
from lib.training.trainer import train_model
from lib.utils.files import atomic_write

LARGE = (
    "--set data.train=bitmap28_large --set data.classes=[] --set data.max_per_class=0"
    " --set split.n_folds=4 --set name=quickdraw_large"
)


@dataclass(frozen=True)
class Trial:
    """One network to train with `seed` and to evaluate.

    train, test: int64, ascending rows of the catalog. labels: int16 [P], class of each of its P
    products, from 0 to `num_classes` - 1; -1 for products of other classes.
    """

    name: str
    model: Model
    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    num_classes: int
    seed: int = 0


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial.

    predicted: int [test], the most probable class of each test product. loss: their cross-entropy.
    history: one dict for each epoch, as in history.jsonl, with its `cpu_seconds`.
    """

    predicted: np.ndarray
    loss: float
    history: list[dict[str, Any]]

    def correct(self, trial: Trial) -> np.ndarray:
        """bool [test]: whether the predicted class is the true one."""
        return self.predicted == trial.labels[trial.test]


@dataclass(frozen=True)
class Drawings:
    """The labelled products of stage 01, one image each.

    train: int64, products of all folds but fold 0. held_out: int64, those of fold 0, for
    evaluation. A product without a fold (-1) is in neither.
    """

    catalog: Catalog
    categories: Categories
    train: np.ndarray
    held_out: np.ndarray

    def class_id(self, name: str) -> int:
        """The class of this name. Raises UserError if there is none."""
        names = self.names(range(len(self.categories)))
        if name not in names:
            raise UserError(f"no category {name!a}; choose one of: {', '.join(names)}")
        return names.index(name)

    def names(self, class_ids: Sequence[int]) -> list[str]:
        """The name of each class."""
        return [self.categories.key(class_id) for class_id in class_ids]

    def of_classes(self, products: np.ndarray, class_ids: Sequence[int]) -> np.ndarray:
        """The products (int64) that belong to these classes."""
        return products[np.isin(self.catalog.label[products], class_ids)]

    def labels(self, class_ids: Sequence[int]) -> np.ndarray:
        """int16 [P]: index of each product's class in `class_ids`, -1 for other classes."""
        index = np.full(len(self.categories) + 1, -1, np.int16)
        index[list(class_ids)] = np.arange(len(class_ids))
        return index[self.catalog.label]

    def largest_classes(self, count: int) -> list[int]:
        """The `count` classes with the most training products, ascending."""
        sizes = np.bincount(self.catalog.label[self.train], minlength=len(self.categories))
        return np.sort(np.argsort(-sizes, kind="stable")[:count]).tolist()

    def smallest_size(self, class_ids: Sequence[int]) -> int:
        """Training products of the class with the fewest."""
        return min(len(self.of_classes(self.train, [class_id])) for class_id in class_ids)

    def sample(
        self, products: np.ndarray, class_ids: Sequence[int], per_class: int, seed: int
    ) -> np.ndarray:
        """`per_class` products of each class, int64 ascending.

        A larger `per_class` adds products to a smaller sample of the same seed.
        """
        rng = np.random.default_rng(seed)
        drawn = [
            rng.permutation(self.of_classes(products, [class_id]))[:per_class]
            for class_id in class_ids
        ]
        return np.sort(np.concatenate(drawn))


def argument_parser(
    description: str, name: str, config: str = "configs/quickdraw.toml", example: str = LARGE
) -> argparse.ArgumentParser:
    """The arguments that all studies on drawings share."""
    parser = argparse.ArgumentParser(
        prog=f"python -m studies.{name}",
        description=description,
        epilog=f"example: python -m studies.{name} {example}",
    )
    parser.add_argument("--config", default=config, help="(%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rebuild", action="store_true", help="rebuild stage 01 if it is stale")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each trial (%(default)s)")
    parser.add_argument(
        "--out", default="docs", help="folder of quickdraw.md and quickdraw/ (%(default)s)"
    )
    return parser


def add_model_arguments(parser: argparse.ArgumentParser, model: str = "cnn2") -> None:
    """The arguments of a study that trains one model of the config."""
    parser.add_argument("--epochs", type=int, default=10, help="(%(default)s)")
    parser.add_argument("--model", default=model, help="name in the config (%(default)s)")


def run_study(arguments: argparse.Namespace, study: Callable[[Experiment, Drawings], None]) -> int:
    """Build stage 01 if it is missing, then run the study; returns the exit status."""
    configure_logging()
    try:
        experiment = Experiment(load(arguments.config, arguments.set))
        build_stage(extract, experiment, arguments.rebuild)
        study(experiment, load_drawings(experiment))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def find_model(experiment: Experiment, name: str) -> Model:
    """The settings of a model. Raises UserError if the config has no such model."""
    models = experiment.config.models
    if name not in models:
        raise UserError(f"no model {name!a} in the config; choose one of {', '.join(models)}")
    return models[name]


def load_drawings(experiment: Experiment) -> Drawings:
    """Raises UserError unless every product has exactly one image."""
    fold = read_splits(experiment.path("extract/splits")).fold
    catalog = catalog_of_part(experiment, "train")
    if not np.array_equal(catalog.image_product, np.arange(len(catalog.product_id))):
        raise UserError(f"{catalog.path}: the studies on drawings need one image for each product")
    return Drawings(
        catalog,
        read_categories(experiment.path("extract/categories")),
        np.flatnonzero(fold > 0),
        np.flatnonzero(fold == 0),
    )


def run_trials(
    experiment: Experiment, trials: Sequence[Trial], parallel: bool = True
) -> list[TrialResult]:
    """The result of each trial; finished trials are read from disk.

    parallel: run trials in several processes. False where training times are compared.
    """
    paths = [result_path(experiment, trial) for trial in trials]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    run = experiment.config.run
    shares = min(run.workers or num_threads(run), len(trials))  # whatever is done already
    progress = {"total": len(trials), "initial": len(trials) - len(missing), "unit": " trials"}
    with tqdm(**progress, disable=None) as bar:
        if not parallel or shares < 2:
            for i in missing:
                _run_trial(experiment, trials[i], paths[i])
                bar.update()
        else:
            with process_pool(max(1, min(shares, len(missing))), shares=shares) as pool:
                tasks = [pool.submit(_run_trial, experiment, trials[i], paths[i]) for i in missing]
                for task in as_completed(tasks):
                    task.result()
                    bar.update()
    return [_read_result(path) for path in paths]


def result_path(experiment: Experiment, trial: Trial, *more: Any) -> Path:
    """The result file of a trial. more: further plain data that determines the result."""
    manifest = read_manifest(experiment.path("extract/train"))
    data_digest = manifest and manifest["digest"]
    settings = [as_dict(trial.model), trial.num_classes, trial.seed, data_digest, *more]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for array in (trial.train, trial.test, trial.labels):
        digest.update(array.tobytes())
    return experiment.folder / "trials" / f"{trial.name}-{digest.hexdigest()[:12]}.json"


def _read_result(path: Path) -> TrialResult:
    values = json.loads(path.read_text())
    return TrialResult(np.array(values["predicted"]), values["loss"], values["history"])


def _run_trial(experiment: Experiment, trial: Trial, path: Path) -> None:
    torch.set_num_threads(num_threads(experiment.config.run))
    result = train_and_evaluate(experiment, trial, path.with_suffix(".partial"))
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result))


def train_and_evaluate(experiment: Experiment, trial: Trial, folder: Path) -> dict[str, Any]:
    """The result of a trial as plain data.

    An interrupted training in `folder` is resumed; the folder is removed at the end.
    """
    train_network(experiment, trial, folder)
    probs = predict_probs(experiment, trial.model, folder / "last.pt", trial.test)
    truth = torch.from_numpy(trial.labels[trial.test].astype(np.int64))
    history = _read_history(folder)
    shutil.rmtree(folder)
    return {
        "predicted": probs.argmax(1).tolist(),
        "loss": float(torch.nn.functional.nll_loss(probs.clamp(min=1e-12).log(), truth)),
        "history": history,
    }


def train_network(experiment: Experiment, trial: Trial, folder: Path) -> None:
    """Train the network of a trial to `folder`/last.pt, or resume an interrupted training."""
    folder.mkdir(parents=True, exist_ok=True)
    catalog, model = catalog_of_part(experiment, "train"), trial.model
    with ImageReader(catalog, model.resize, num_threads(experiment.config.run)) as reader:
        dataset = TrainingSet(
            ImageLoader(reader, model),
            lambda weights: factory.create_from_config(model, trial.num_classes, weights),
            trial.labels,
            np.arange(len(trial.labels)),
            trial.train,
            trial.test,
            trial.num_classes,
        )
        train_model(folder, model, dataset, trial.seed, experiment.config.run)


def predict_probs(
    experiment: Experiment, model: Model, checkpoint: Path, products: np.ndarray
) -> torch.Tensor:
    """float32 [products, classes]: probabilities by the center crop."""
    catalog = catalog_of_part(experiment, "train")
    with ImageReader(catalog, model.resize, num_threads(experiment.config.run)) as reader:
        center = replace(experiment.config.predict, tta_views=1)
        predictor = ImagePredictor(model, center, [checkpoint], reader, experiment.config.run)
        return torch.cat([batch.tta.cpu() for batch in predictor.predict_batches(products, [0])])


def _read_history(folder: Path) -> list[dict[str, Any]]:
    files = [(folder / name).read_text().splitlines() for name in ("history.jsonl", "_times.jsonl")]
    return [json.loads(line) | json.loads(times) for line, times in zip(*files, strict=True)]
