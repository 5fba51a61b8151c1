"""Stages 02 and 03: what one network trains on and scores, given the parts and folds."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from lib import pipeline
from lib.catalogue.reader import PictureReader
from lib.catalogue.tables import Catalogue, read_classes, read_splits
from lib.config import Config, Model
from lib.vision import device as devices
from lib.vision import embed, predict, train


def build_net(
    config: Config, name: str, net: str, known: Catalogue, folder: Path
) -> dict[str, Any]:
    """Train one network of model `name` on `fit`, or on `fit` without its own fold.

    The pictures left out, or of `holdout`, only watch: they choose `best.pt`, never the weights.
    """
    model = config.models[name]
    splits = read_splits(config.at("extract/splits"))
    fit = splits.products("fit")
    if net == "full":
        trained, watched = fit, splits.products("holdout")
    else:
        own = splits.net_of_product(model.folds)[fit] == pipeline.nets(model).index(net)
        trained, watched = fit[~own], fit[own]
    with _reader(config, model, known) as reader:
        lesson = train.Lesson(
            reader,
            labels=known.label[known.image_product],
            train_rows=known.images_of(trained),
            valid_rows=known.images_of(watched),
            classes=len(read_classes(config.at("extract/classes"))),
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
        splits = read_splits(config.at("extract/splits"))
        rows = query.images_of(splits.products(part))
        if part == "fit":
            net_of_row = splits.net_of_product(model.folds)[query.image_product[rows]]
    checkpoints = [
        config.at(f"cnn/{name}/{net}") / f"{model.checkpoint}.pt" for net in pipeline.nets(model)
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


def build_embeddings(
    config: Config, name: str, net: str, side: str, catalogue: Catalogue, folder: Path
) -> dict[str, Any]:
    """Embed all pictures of "train" or "test" with one network; both sides share a projection."""
    model = config.models[name]
    known = config.at(f"embeddings/{name}/{net}/train")
    with _reader(config, model, catalogue) as reader:
        facts = embed.embed(
            folder,
            model,
            config.predict,
            config.at(f"cnn/{name}/{net}") / f"{model.checkpoint}.pt",
            known / "projection.npy" if side == "test" else None,
            reader,
            config.run,
        )
        _report_rotten(reader)
    return facts


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
