"""Stages 02 and 03: what one network trains on and scores, given the parts and folds."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import pipeline
from lib.config.schema import Backbone, Config, Model, nets
from lib.data.catalog import Catalog, read_categories, read_splits
from lib.data.image_reader import ImageReader
from lib.data.mosaic import MosaicReader
from lib.errors import UserError
from lib.inference import dumps, embeddings, topk
from lib.inference.predictor import ImagePredictor
from lib.inference.topk import TopK
from lib.models import factory
from lib.models.backbone import ImageClassifier
from lib.runtime import device as devices
from lib.runtime.distributed import SINGLE, ProcessGroup, here
from lib.training import rows, trained, trainer
from lib.training.dataset import TrainingSet
from lib.training.loader import ImageLoader


@dataclass(frozen=True)
class PseudoLabelled:
    """More to learn from: `products` int64 of `catalogue`, which begins with the labelled one."""

    catalogue: Catalog
    products: np.ndarray
    weight: float


def build_net(
    config: Config,
    name: str,
    net: str,
    known: Catalog,
    folder: Path,
    extra: PseudoLabelled | None = None,
) -> dict[str, Any]:
    """Train one network of model `name` on `fit`, or on `fit` without its own fold.

    The pictures left out, or of `holdout`, only watch: they choose `best.pt`, never the weights.
    A row is a picture, or the mosaic of a product: `lib/training/rows.py`.
    """
    model = config.models[name]
    taught, watched = train_valid_products(config, model, net)
    classes = read_categories(config.at("extract/classes"))
    labelled, weights = len(known.product_id), None
    if extra is not None:
        known, taught = extra.catalogue, np.concatenate([taught, extra.products])
    product = rows.products(model, known)
    if extra is not None:
        weights = np.where(product < labelled, 1.0, extra.weight)
    train_rows = rows.taught(model, known, taught)
    if model.input == "mosaic":
        _stop_at_few(name, model, train_rows)
    with _reader(config, model, known) as reader:
        lesson = TrainingSet(
            ImageLoader(reader, model),
            lambda weights: factory.network(model, len(classes), weights),
            labels=known.label[product],
            product=product,
            train_rows=train_rows,
            valid_rows=rows.taught(model, known, watched),
            classes=len(classes),
            levels=classes.levels(),
            weights=weights,
        )
        facts = trainer.train(folder, model, lesson, config.seed + model.seed, config.run)
        _report_rotten(reader)
    return facts


def _stop_at_few(name: str, model: Model, products: np.ndarray) -> None:
    if len(products) < 2:
        least, most = model.mosaic.min_images, model.mosaic.max_images or "any number of"
        raise UserError(
            f"models.{name}.mosaic: {len(products)} products of {least} to {most} pictures are left"
            " to train on; widen mosaic.min_images and mosaic.max_images"
        )


def train_valid_products(config: Config, model: Model, net: str) -> tuple[np.ndarray, np.ndarray]:
    """Products that a network learns from, and those that only watch it: ascending int64 each."""
    splits = read_splits(config.at("extract/splits"))
    fit = splits.products("fit")
    if net == "full":
        return fit, splits.products("holdout")
    own = splits.fold_of_product(model.n_folds)[fit] == nets(model).index(net)
    return fit[~own], fit[own]


def build_predictions(
    config: Config, name: str, part: str, query: Catalog, folder: Path
) -> dict[str, Any]:
    """Score the pictures of a part with model `name`.

    Rows of `fit` are scored by the one network that never saw their product; all other rows by
    the mean of the model's networks. By mosaics, all pictures of a product are scored alike.
    """
    model = config.models[name]
    images, net_of_row = asked(config, model, part, query)
    paths, plain = checkpoints(config, name), part != "test"
    return _score(config, model, paths, query, images, net_of_row, plain, folder, here())


def asked(
    config: Config, model: Model, part: str, query: Catalog
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pictures int64 of a part, ascending, and the one network that scores each, None for all."""
    if part == "test":
        return np.arange(len(query.length)), None
    splits = read_splits(config.at("extract/splits"))
    images = query.images_of(splits.products(part))
    if part != "fit":
        return images, None
    return images, splits.fold_of_product(model.n_folds)[query.image_product[images]]


def checkpoints(config: Config, name: str) -> list[Path]:
    """Of a model's networks."""
    model = config.models[name]
    return [config.at(f"cnn/{name}/{net}") / f"{model.checkpoint}.pt" for net in nets(model)]


def predict_by(
    config: Config, model: Model, checkpoint: Path, query: Catalog, folder: Path
) -> TopK:
    """What one network says of all pictures of a catalogue; `folder` holds what is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.arange(len(query.length))
    _score(config, model, [checkpoint], query, images, None, False, folder)
    return topk.read(folder)


def _score(
    config: Config,
    model: Model,
    paths: list[Path],
    query: Catalog,
    images: np.ndarray,
    net_of_row: np.ndarray | None,
    plain: bool,
    folder: Path,
    ranks: ProcessGroup = SINGLE,
) -> dict[str, Any]:
    whose = rows.speaking(model, query)
    remedy = devices.predict_oom_advice(config.run)
    with _reader(config, model, query) as reader, devices.catch_oom(folder, remedy):
        scorer = ImagePredictor(model, config.predict, paths, reader, config.run, whose)
        rotten = dumps.write(folder, scorer, config.predict, images, net_of_row, plain, ranks)
        _report_rotten(reader)
    return {"images": len(images), "rotten": rotten, "views": len(scorer.views)}


def build_embeddings(
    config: Config, name: str, net: str, side: str, catalogue: Catalog, folder: Path
) -> dict[str, Any]:
    """Embed all pictures of "train" or "test" with one network; both sides share a projection."""
    own = config.models.get(name)
    model = own or config.backbones[name]
    known = config.at(f"embeddings/{name}/{net}/train")

    def load(device: torch.device) -> ImageClassifier:
        if own:
            checkpoint = config.at(f"cnn/{name}/{net}") / f"{own.checkpoint}.pt"
            return trained.network(checkpoint, own, device)
        return trained.ready(factory.build(model.arch, 2, model.weights), device)

    remedy = devices.predict_oom_advice(config.run)
    with _reader(config, model, catalogue) as reader, devices.catch_oom(folder, remedy):
        facts = embeddings.embed(
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


def _reader(config: Config, model: Model | Backbone, catalogue: Catalog) -> ImageReader:
    allocate = devices.pinned_buffer(devices.select_device(config.run, model))
    mosaics = isinstance(model, Model) and model.input == "mosaic"
    reader = MosaicReader if mosaics else ImageReader
    return reader(catalogue, model.resize, pipeline.threads(config), allocate)


def _report_rotten(reader: ImageReader) -> None:
    if reader.first_corrupt:
        row, reason = reader.first_corrupt
        known = reader.catalog
        print(
            f"warning: {known.path}: {reader.corrupt.sum()} corrupt images replaced by gray,"
            f" the first {reader.byte_reader.location(row)}, product"
            f" {known.key(int(known.image_product[row]))}: {reason}",
            file=sys.stderr,
        )
