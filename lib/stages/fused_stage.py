"""Stage 03 of models with input = "embedding": networks on the embeddings of others."""

from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Config, nets
from lib.data.catalog import Catalog, read_categories
from lib.inference import dumps
from lib.inference.predictor import FusionPredictor
from lib.models import fusion
from lib.runtime import device as devices
from lib.runtime.distributed import here
from lib.stages import vision_stage
from lib.training import trainer
from lib.training.dataset import TrainingSet
from lib.training.embedding_loader import EmbeddingLoader


def build_fusion(
    config: Config, name: str, net: str, known: Catalog, folder: Path
) -> dict[str, Any]:
    """Train one network of a fusion, on products with a picture; parts and folds as in stage 02."""
    model = config.models[name]
    classes = read_categories(config.at("extract/classes"))
    feed = _feed(config, name, net, "train", known)
    seen = known.image_count > 0
    taught, watched = (
        some[seen[some]] for some in vision_stage.train_valid_products(config, model, net)
    )
    lesson = TrainingSet(
        feed,
        lambda _: fusion.build(model.fusion, len(classes), feed, taught),
        labels=known.label,
        product=np.arange(len(known.label)),
        train_rows=taught,
        valid_rows=watched,
        classes=len(classes),
        levels=classes.levels(),
    )
    return trainer.train(folder, model, lesson, config.seed + model.seed, config.run)


def build_fused(
    config: Config, name: str, part: str, query: Catalog, folder: Path
) -> dict[str, Any]:
    """Score the pictures of a part; who scores whom is as in `stage.build_predictions`."""
    model = config.models[name]
    images, net_of_row = vision_stage.asked(config, model, part, query)
    side = "test" if part == "test" else "train"
    plain = part != "test"
    with devices.catch_oom(folder, devices.predict_oom_advice(config.run)):
        scorer = FusionPredictor(
            model,
            config.predict,
            vision_stage.checkpoints(config, name),
            [_feed(config, name, net, side, query) for net in nets(model)],
            config.run,
            query.image_product,
        )
        dumps.write(folder, scorer, config.predict, images, net_of_row, plain, here())
    return {"images": len(images)}


def _feed(config: Config, name: str, net: str, side: str, catalogue: Catalog) -> EmbeddingLoader:
    """What one network of a fusion reads: the embeddings by the same network of its members."""
    sources = []
    for one in config.models[name].fusion.inputs:
        own = net if one in config.models else config.nets_of(one)[0]
        folder = config.at(f"embeddings/{one}/{own}/{side}")
        sources.append(np.load(folder / "whole.npy", mmap_mode="r"))
    return EmbeddingLoader(sources, catalogue.first_image, catalogue.image_count)
