"""Stage 03 of models of kind "fusion": networks on embeddings that earlier ones have left (T2)."""

from pathlib import Path
from typing import Any

import numpy as np

from lib.catalogue.tables import Catalogue, read_classes, read_splits
from lib.config import Config, nets
from lib.vision import fusion, predict_fused, train
from lib.vision.embedding_feed import EmbeddingFeed
from lib.vision.stage import taught_and_watched


def build_fusion(
    config: Config, name: str, net: str, known: Catalogue, folder: Path
) -> dict[str, Any]:
    """Train one network of a fusion, on products with a picture; parts and folds as in stage 02."""
    model = config.models[name]
    classes = read_classes(config.at("extract/classes"))
    feed = _feed(config, name, net, "train", known)
    seen = known.image_count > 0
    taught, watched = (some[seen[some]] for some in taught_and_watched(config, model, net))
    lesson = train.Lesson(
        feed,
        lambda _: fusion.build(model.fusion, len(classes), feed, taught),
        labels=known.label,
        product=np.arange(len(known.label)),
        train_rows=taught,
        valid_rows=watched,
        classes=len(classes),
        levels=classes.levels(),
    )
    return train.train(folder, model, lesson, config.seed + model.seed, config.run)


def build_fused(
    config: Config, name: str, part: str, query: Catalogue, folder: Path
) -> dict[str, Any]:
    """Score the pictures of a part; who scores whom is as in `stage.build_predictions`."""
    model = config.models[name]
    net_of_row, rows = None, np.arange(len(query.length))
    if part != "test":
        splits = read_splits(config.at("extract/splits"))
        rows = query.images_of(splits.products(part))
        if part == "fit":
            net_of_row = splits.net_of_product(model.folds)[query.image_product[rows]]
    side = "test" if part == "test" else "train"
    return predict_fused.predict_fused(
        folder,
        model,
        config.predict,
        [config.at(f"cnn/{name}/{net}") / f"{model.checkpoint}.pt" for net in nets(model)],
        net_of_row,
        [_feed(config, name, net, side, query) for net in nets(model)],
        query.image_product,
        rows,
        config.run,
        plain=part != "test",
    )


def _feed(config: Config, name: str, net: str, side: str, catalogue: Catalogue) -> EmbeddingFeed:
    """What one network of a fusion reads: the embeddings by the same network of its members."""
    sources = []
    for one in config.models[name].fusion.of:
        own = net if one in config.models else config.nets_of(one)[0]
        folder = config.at(f"embeddings/{one}/{own}/{side}")
        sources.append(np.load(folder / "whole.npy", mmap_mode="r"))
    return EmbeddingFeed(sources, catalogue.first_image, catalogue.image_count)
