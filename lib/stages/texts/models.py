"""Stage 03, models with input = "text": linear models on the texts of products

    work/<name>/cnn/<model>/<fold>           the classifier without the products of that fold
    work/<name>/predictions/<model>/<part>   its top classes; those of all images of a product

Parts and folds are those of the networks.
"""

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from lib.config.inputs.text import Text
from lib.config.model import Model
from lib.config.schema import as_dict, fold_names
from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, side_of
from lib.pipeline.graph import Graph
from lib.stages.scoring import declare_predictions, images_to_score
from lib.stages.texts.tables import text_inputs, texts_of_side
from lib.stages.train import train_valid_products

SCRATCH = "scratch"
ADDED = ("weights", "rank")  # settings that came later


def text_models(experiment: Experiment) -> dict[str, Model]:
    """The models that read texts."""
    models = experiment.config.classifiers.items()
    return {name: model for name, model in models if model.input == "text"}


def declare_text_models(graph: Graph) -> list[Artifact]:
    """Classifiers and predictions of every text model."""
    experiment, artifacts = graph.experiment, []
    for name, model in text_models(experiment).items():
        for fold in fold_names(model):
            artifacts.append(_declare_classifier(graph, name, fold))
        for part in experiment.parts:
            inputs = text_inputs(experiment, model.text, side_of(part))
            artifacts.append(declare_predictions(graph, name, part, predict_texts, inputs))
    return artifacts


def _declare_classifier(graph: Graph, name: str, fold: str) -> Artifact:
    config = graph.experiment.config
    model = config.models[name]
    return graph.add(
        f"cnn/{name}/{fold}",
        partial(train_texts, graph.experiment, name, fold),
        settings={
            "text": _text_settings(model.text),
            "n_folds": model.n_folds,
            "seed": config.seed + model.seed,
        },
        inputs=[
            "extract/train",
            "extract/categories",
            "extract/splits",
            *text_inputs(graph.experiment, model.text, "train"),
        ],
        resumable=True,
    )


def _text_settings(text: Text) -> dict[str, Any]:
    """The settings in the manifest; new ones only where set, so that older models stay fresh."""
    settings, defaults = as_dict(text), as_dict(Text())
    return {k: v for k, v in settings.items() if k not in ADDED or v != defaults[k]}


def train_texts(experiment: Experiment, name: str, fold: str, folder: Path) -> dict[str, Any]:
    """Train the classifier that leaves out a fold, on the products of `fit` that have a text.

    Raises UserError if none of them has one.
    """
    import pyarrow as pa

    from lib.data.catalog import read_categories
    from lib.models.text.fit import fit
    from lib.runtime.workers import num_threads
    from lib.stages.read import index_of_side
    from lib.training.checkpoint import facts, read_history, write_history
    from lib.training.evaluate import evenly_spaced
    from lib.training.state import MAX_VALID_ROWS

    model, label = experiment.config.models[name], index_of_side(experiment, "train").label
    num_classes = len(read_categories(experiment.path("extract/categories")))
    texts = texts_of_side(experiment, model.text, "train")
    train, valid = (
        products[_has_text(texts)[products]]
        for products in train_valid_products(experiment, model, fold)
    )
    if len(train) == 0:
        raise UserError(
            f"models.{name}: no product to train on has a text in {', '.join(texts.column_names)};"
            " set data.text_columns or text.columns to others"
        )
    valid = evenly_spaced(valid, MAX_VALID_ROWS)
    scratch, history = folder / SCRATCH, read_history(folder)
    scratch.mkdir(exist_ok=True)
    threads = num_threads(experiment.config.run)
    seed = experiment.config.seed + model.seed
    start, cpu_start = time.monotonic(), time.process_time()
    texts_of_train = texts.take(pa.array(train))
    epochs = fit(scratch, texts_of_train, label[train], num_classes, model.text, seed, threads)
    for classifier, figures in epochs:
        seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
        line = {
            "epoch": figures["epoch"],
            "phase": "body",
            **figures,
            **classifier.evaluate(texts.take(pa.array(valid)), label[valid]),
            "images_per_second": round(len(train) / max(seconds, 1e-3), 1),
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu_seconds, 2),
        }
        history = [*history[: line["epoch"] - 1], line]  # of a resumed training, up to its state
        write_history(folder, history)
        start, cpu_start = time.monotonic(), time.process_time()
    classifier.save(folder)
    shutil.rmtree(scratch)
    return facts(folder, len(train))


def predict_texts(experiment: Experiment, name: str, part: str, folder: Path) -> dict[str, Any]:
    """Score the products of a part by their texts; all images of a product score alike.

    Products without any image are scored in a folder of their own, if there are such.
    """
    import numpy as np

    from lib.inference.text_predictor import TextPredictor
    from lib.inference.topk import IMAGELESS
    from lib.inference.topk_writer import write_topk
    from lib.models.text.classifier import TextClassifier
    from lib.runtime.distributed import current
    from lib.stages.read import catalog_of_part

    model = experiment.config.models[name]
    catalog = catalog_of_part(experiment, part)
    images, fold_of_image = images_to_score(experiment, model, part, catalog)
    folders = [experiment.path(f"cnn/{name}/{fold}") for fold in fold_names(model)]
    classifiers = [TextClassifier.load(folder) for folder in folders]
    texts = texts_of_side(experiment, model.text, side_of(part))
    predictor = TextPredictor(classifiers, texts, catalog.image_product)
    settings = experiment.config.predict
    write_topk(folder, predictor, settings, images, fold_of_image, part != "test", current())
    products, fold = _imageless_products(experiment, model, part, catalog)
    if len(products) == 0:
        return {"images": len(images)}
    inner = folder / IMAGELESS
    inner.mkdir(exist_ok=True)
    predictor = TextPredictor(classifiers, texts, np.arange(len(catalog.product_id)))
    write_topk(inner, predictor, settings, products, fold, False, current())
    return {"images": len(images), "imageless_products": len(products)}


def _imageless_products(experiment: Experiment, model: Model, part: str, catalog: Any) -> Any:
    """Products of a part without images, int64 ascending, and the model that scores each, or None.

    Folds are those of `images_to_score`.
    """
    import numpy as np

    from lib.data.catalog import read_splits

    if part == "test":
        return np.flatnonzero(catalog.image_count == 0), None
    splits = read_splits(experiment.path("extract/splits"))
    products = splits.products(part)
    products = products[catalog.image_count[products] == 0]
    return products, splits.fold_of_product(model.n_folds)[products] if part == "fit" else None


def _has_text(texts: Any) -> Any:
    """Whether a product has any of the texts: bool [n]."""
    import numpy as np

    present = [column.is_valid().to_numpy() for column in texts.columns]
    return np.logical_or.reduce(present)
