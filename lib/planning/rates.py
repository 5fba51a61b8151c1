"""How many images a second this machine trains, measured by training for some seconds.

The networks of a stage train side by side, one in each share of the threads, so that many train
here. `work/<name>/rates.json` keeps the rates: another plan of the catalog does not measure again.
"""

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lib.config.model import Model
from lib.data.catalog import read_categories
from lib.pipeline.executor import num_shares, worker_gpus
from lib.pipeline.experiment import Experiment
from lib.runtime import workers
from lib.utils.files import write_json

FILE = "rates.json"
SECONDS, WARM_UP = 4.0, 2  # of each measurement; steps that are not measured
MAX_IMAGES = 4096  # that are shown
MANY_EPOCHS = 1000  # of a training that a clock ends


@dataclass(frozen=True)
class Rates:
    """Images a second of one network, while the other shares train too: of an epoch of the head,
    which runs the body forward alone, and of an epoch of the whole network."""

    head: float
    body: float


class _TimeIsUp(Exception):
    """Ends a training."""


def shares_of(experiment: Experiment, num_networks: int) -> int:
    """How many networks of a stage run side by side."""
    run = experiment.config.run
    gpus = len(workers.visible_gpus(run))
    return num_shares(gpus, workers.num_threads(run), run.workers, num_networks)


def measure(experiment: Experiment, models: Sequence[Model], num_networks: int) -> list[Rates]:
    """The rates of networks, each of `num_networks` of its stage, on images of the catalog.

    The catalog is indexed. Raises UserError for weights that are missing.
    """
    path = experiment.folder / FILE
    known, keys = _read(path), [_key(experiment, model, num_networks) for model in models]
    unknown = {key: m for key, m in zip(keys, models, strict=True) if key not in known}
    if unknown:
        rates = _measure_side_by_side(experiment, list(unknown.values()), num_networks)
        known |= dict(zip(unknown, rates, strict=True))
        write_json(path, known)
    return [Rates(*known[key]) for key in keys]


def _key(experiment: Experiment, model: Model, num_networks: int) -> str:
    """What a rate depends on: the network, the machine, how much of it a network has."""
    run = experiment.config.run
    parts = [model.arch, *model.resize, *model.crop, model.freeze_until, model.batch_size]
    machine = [_processor(), workers.num_threads(run), run.device]
    return " ".join(map(str, [*parts, shares_of(experiment, num_networks), *machine]))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def _read(path: Path) -> dict[str, list[float]]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _measure_side_by_side(
    experiment: Experiment, models: Sequence[Model], num_networks: int
) -> list[list[float]]:
    """Head and body rate of each model: the mean of networks that train side by side."""
    gpus = workers.visible_gpus(experiment.config.run)
    shares = shares_of(experiment, num_networks)
    os.environ["TQDM_DISABLE"] = "1"  # inherited; a measurement shows no progress
    processes = worker_gpus(gpus, shares, shares) or [""]
    named = [gpu for gpu in processes if gpu]
    with workers.process_pool(len(processes), gpus=named, shares=shares) as pool:
        tasks = [pool.submit(_measure_models, experiment, models, SECONDS) for _ in processes]
        rates = np.mean([task.result() for task in tasks], axis=0)
    return [[round(float(rate), 2) for rate in of_model] for of_model in rates]


def _measure_models(
    experiment: Experiment, models: Sequence[Model], seconds: float
) -> list[tuple[float, float]]:
    rates = []
    for model in models:
        head = replace(model, head_only_epochs=MANY_EPOCHS, epochs=0)
        body = replace(model, head_only_epochs=0, epochs=MANY_EPOCHS)
        rates.append((train_for(experiment, head, seconds), train_for(experiment, body, seconds)))
    return rates


def train_for(experiment: Experiment, model: Model, seconds: float) -> float:
    """Images a second of a training on labelled images that ends after `seconds`."""
    from lib.models import factory
    from lib.stages.read import index_of_side
    from lib.stages.scoring import open_images
    from lib.training.dataset import TrainingSet
    from lib.training.loaders.image_loader import ImageLoader
    from lib.training.trainer import train_model

    catalog = index_of_side(experiment, "train")
    rows = np.flatnonzero(catalog.label[catalog.image_product] >= 0)
    rows = rows[:: max(1, len(rows) // MAX_IMAGES)]
    num_classes = len(read_categories(experiment.path("extract/categories")))
    ends: list[float] = []

    def on_step(*_: object) -> None:
        ends.append(time.perf_counter())
        if len(ends) > WARM_UP + 1 and ends[-1] - ends[WARM_UP] > seconds:
            raise _TimeIsUp

    with TemporaryDirectory() as folder, open_images(experiment, model, catalog) as reader:
        training_set = TrainingSet(
            ImageLoader(reader, model),
            lambda weights: factory.create_from_config(model, num_classes, weights),
            labels=catalog.label[catalog.image_product],
            product=catalog.image_product,
            train_rows=rows,
            valid_rows=rows[:0],
            num_classes=num_classes,
        )
        with suppress(_TimeIsUp):
            train_model(Path(folder), model, training_set, 0, experiment.config.run, on_step)
    return steps_per_second(ends) * min(model.batch_size, len(rows))


def steps_per_second(ends: Sequence[float]) -> float:
    """The rate of steps by the times of their ends, without those that warm up."""
    return (len(ends) - 1 - WARM_UP) / (ends[-1] - ends[WARM_UP])
