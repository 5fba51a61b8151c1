"""Stages 02 and 03: what one network trains on and scores, given the parts and folds."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from lib import pipeline
from lib.catalogue.reader import PictureReader
from lib.catalogue.tables import Catalogue, Splits, read_classes, read_splits
from lib.config import Config, Model
from lib.vision import device as devices
from lib.vision import predict, train


def build_net(
    config: Config, name: str, net: str, known: Catalogue, folder: Path
) -> dict[str, Any]:
    """Train one network of model `name` on `fit`, or on `fit` without its own fold.

    The pictures left out, or of `holdout`, only watch: they choose `best.pt`, never the weights.
    """
    model = config.models[name]
    splits = read_splits(config.folder / "extract" / "splits")
    fit = splits.products("fit")
    if net == "full":
        trained, watched = fit, splits.products("holdout")
    else:
        own = net_of_product(splits, model)[fit] == pipeline.nets(model).index(net)
        trained, watched = fit[~own], fit[own]
    with _reader(config, model, known) as reader:
        lesson = train.Lesson(
            reader,
            labels=known.label[known.image_product],
            train_rows=known.images_of(trained),
            valid_rows=known.images_of(watched),
            classes=len(read_classes(config.folder / "extract" / "classes")),
        )
        facts = train.train(folder, model, lesson, config.seed + model.seed, config.run)
        _report_rotten(reader)
    return facts


def build_predictions(
    config: Config, name: str, part: str, query: Catalogue, folder: Path
) -> dict[str, Any]:
    """Score the pictures of a part with model `name`.

    Rows of `fit` are scored by the one network that never saw their product; all other rows by
    the mean of the model's networks.
    """
    model = config.models[name]
    net_of_row = None
    if part == "test":
        rows = np.arange(len(query.length))
    else:
        splits = read_splits(config.folder / "extract" / "splits")
        rows = query.images_of(splits.products(part))
        if part == "fit":
            net_of_row = net_of_product(splits, model)[query.image_product[rows]]
    checkpoints = [
        config.folder / "cnn" / name / net / f"{model.checkpoint}.pt"
        for net in pipeline.nets(model)
    ]
    with _reader(config, model, query) as reader:
        facts = predict.predict(
            folder,
            model,
            config.predict,
            checkpoints,
            net_of_row,
            reader,
            rows,
            config.run,
            plain=part != "test",
        )
        _report_rotten(reader)
    return facts


def net_of_product(splits: Splits, model: Model) -> np.ndarray:
    """int8 [P]: which of the model's networks must not see the product; -1 for `locked`.

    A model with fewer networks than there are folds leaves several folds out at once.
    """
    return np.where(splits.fold >= 0, splits.fold % model.folds, -1).astype(np.int8)


def _reader(config: Config, model: Model, catalogue: Catalogue) -> PictureReader:
    allocate = devices.batch_memory(devices.choose(config.run, model))
    return PictureReader(catalogue, model.resize, pipeline.threads(config), allocate)


def _report_rotten(reader: PictureReader) -> None:
    if reader.first_rotten:
        row, reason = reader.first_rotten
        known = reader.catalogue
        print(
            f"warning: {known.path}: {reader.rotten.sum()} rotten pictures were read as plain grey,"
            f" the first {reader.originals.describe(row)}, product"
            f" {known.key(int(known.image_product[row]))}: {reason}",
            file=sys.stderr,
        )
