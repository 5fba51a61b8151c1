"""Stages 02 and 03: what one network trains on and scores, given the parts and folds."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import pipeline, topk
from lib.catalogue.reader import PictureReader
from lib.catalogue.tables import Catalogue, read_classes, read_splits
from lib.config import Backbone, Config, Model, nets
from lib.topk import TopK
from lib.vision import device as devices
from lib.vision import embed, predict, train, zoo
from lib.vision.feed import PictureFeed
from lib.vision.network import Network


@dataclass(frozen=True)
class Extra:
    """More to learn from: `products` int64 of `catalogue`, which begins with the labelled one."""

    catalogue: Catalogue
    products: np.ndarray
    weight: float


def build_net(
    config: Config, name: str, net: str, known: Catalogue, folder: Path, extra: Extra | None = None
) -> dict[str, Any]:
    """Train one network of model `name` on `fit`, or on `fit` without its own fold.

    The pictures left out, or of `holdout`, only watch: they choose `best.pt`, never the weights.
    """
    model = config.models[name]
    trained, watched = taught_and_watched(config, model, net)
    classes = read_classes(config.at("extract/classes"))
    weights = None
    if extra is not None:
        labelled, known = len(known.product_id), extra.catalogue
        trained = np.concatenate([trained, extra.products])
        weights = np.where(known.image_product < labelled, 1.0, extra.weight)
    with _reader(config, model, known) as reader:
        lesson = train.Lesson(
            PictureFeed(reader, model),
            lambda weights: zoo.network(model, len(classes), weights),
            labels=known.label[known.image_product],
            product=known.image_product,
            train_rows=known.images_of(trained),
            valid_rows=known.images_of(watched),
            classes=len(classes),
            levels=classes.levels(),
            weights=weights,
        )
        facts = train.train(folder, model, lesson, config.seed + model.seed, config.run)
        _report_rotten(reader)
    return facts


def taught_and_watched(config: Config, model: Model, net: str) -> tuple[np.ndarray, np.ndarray]:
    """Products that a network learns from, and those that only watch it: ascending int64 each."""
    splits = read_splits(config.at("extract/splits"))
    fit = splits.products("fit")
    if net == "full":
        return fit, splits.products("holdout")
    own = splits.net_of_product(model.folds)[fit] == nets(model).index(net)
    return fit[~own], fit[own]


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
    checkpoints = [config.at(f"cnn/{name}/{net}") / f"{model.checkpoint}.pt" for net in nets(model)]
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


def predict_by(
    config: Config, model: Model, checkpoint: Path, query: Catalogue, folder: Path
) -> TopK:
    """What one network says of all pictures of a catalogue; `folder` holds what is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.arange(len(query.length))
    with _reader(config, model, query) as reader:
        predict.predict(
            folder, model, config.predict, [checkpoint], None, reader, rows, config.run, plain=False
        )
    return topk.read(folder)


def build_embeddings(
    config: Config, name: str, net: str, side: str, catalogue: Catalogue, folder: Path
) -> dict[str, Any]:
    """Embed all pictures of "train" or "test" with one network; both sides share a projection."""
    trained = config.models.get(name)
    model = trained or config.backbones[name]
    known = config.at(f"embeddings/{name}/{net}/train")

    def load(device: torch.device) -> Network:
        if trained:
            checkpoint = config.at(f"cnn/{name}/{net}") / f"{trained.checkpoint}.pt"
            return predict.load(checkpoint, trained, device)
        return predict.ready(zoo.build(model.network, 2, model.weights), device)

    with _reader(config, model, catalogue) as reader:
        facts = embed.embed(
            folder,
            model,
            config.predict,
            load,
            known / "projection.npy" if side == "test" else None,
            name in config.fused,
            reader,
            config.run,
        )
        _report_rotten(reader)
    return facts


def _reader(config: Config, model: Model | Backbone, catalogue: Catalogue) -> PictureReader:
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
