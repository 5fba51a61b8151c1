"""Stage 03, models with input = "embedding": networks on embeddings of a product's images, texts.

Idea: the gated fusion of the 2nd-place Cdiscount team.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.model import Model
from lib.config.schema import fold_names
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, side_of
from lib.pipeline.graph import Graph
from lib.stages.scoring import checkpoint_paths, declare_predictions, images_to_score
from lib.stages.train import declare_network, train_valid_products

if TYPE_CHECKING:
    from lib.data.catalog import Catalog
    from lib.training.loaders.embedding_loader import EmbeddingLoader


def declare_fusion(graph: Graph) -> list[Artifact]:
    """Networks and predictions of every fusion model."""
    experiment, artifacts = graph.experiment, []
    models = experiment.config.classifiers.items()
    for name, model in ((name, model) for name, model in models if model.input == "embedding"):
        for fold in fold_names(model):
            inputs = _embedding_names(experiment, model, fold, "train")
            artifacts.append(declare_network(graph, name, fold, train_fusion, inputs))
        for part in experiment.parts:
            inputs = [
                embedding
                for fold in fold_names(model)
                for embedding in _embedding_names(experiment, model, fold, side_of(part))
            ]
            artifacts.append(declare_predictions(graph, name, part, predict_fusion, inputs))
    return artifacts


def train_fusion(experiment: Experiment, name: str, fold: str, folder: Path) -> dict[str, Any]:
    """Train one network of a fusion model on products that have an image.

    Parts and folds are those of stage 02.
    """
    import numpy as np

    from lib.data.catalog import read_categories
    from lib.models.fusion import create_fusion_model
    from lib.stages.read import catalog_of_part
    from lib.training.dataset import TrainingSet
    from lib.training.loaders.embedding_loader import embedding_mean_std
    from lib.training.trainer import train_model

    config, model = experiment.config, experiment.config.models[name]
    catalog = catalog_of_part(experiment, "train")
    categories = read_categories(experiment.path("extract/categories"))
    loader = _loader(experiment, name, fold, "train", catalog)
    train_rows, valid_rows = (
        products[catalog.image_count[products] > 0]
        for products in train_valid_products(experiment, model, fold)
    )
    training_set = TrainingSet(
        loader,
        lambda _: create_fusion_model(
            model.fusion, len(categories), *embedding_mean_std(loader, train_rows)
        ),
        labels=catalog.label,
        product=np.arange(len(catalog.label)),
        train_rows=train_rows,
        valid_rows=valid_rows,
        num_classes=len(categories),
        levels=categories.levels(),
    )
    return train_model(folder, model, training_set, config.seed + model.seed, config.run)


def predict_fusion(experiment: Experiment, name: str, part: str, folder: Path) -> dict[str, Any]:
    """Score the images of a part with a fusion model."""
    from lib.inference.predictor import FusionPredictor
    from lib.inference.topk_writer import write_topk
    from lib.runtime import device as devices
    from lib.runtime.distributed import current
    from lib.stages.read import catalog_of_part

    config, model = experiment.config, experiment.config.models[name]
    catalog = catalog_of_part(experiment, part)
    images, fold_of_image = images_to_score(experiment, model, part, catalog)
    with devices.catch_oom(folder, devices.predict_oom_advice(config.run.predict_batch_size)):
        predictor = FusionPredictor(
            model,
            config.predict,
            checkpoint_paths(experiment, name),
            [_loader(experiment, name, fold, side_of(part), catalog) for fold in fold_names(model)],
            config.run,
            catalog.image_product,
        )
        write_topk(
            folder, predictor, config.predict, images, fold_of_image, part != "test", current()
        )
    return {"images": len(images)}


def _embedding_names(experiment: Experiment, model: Model, fold: str, side: str) -> list[str]:
    """The embeddings that one network of a fusion model reads.

    A trained member gives those of the network that leaves out the same fold.
    """
    config, names = experiment.config, []
    for name in model.fusion.inputs:
        network = fold if name in config.models else config.network_names_of(name)[0]
        names.append(f"embeddings/{name}/{network}/{side}")
    return names


def _loader(
    experiment: Experiment, name: str, fold: str, side: str, catalog: "Catalog"
) -> "EmbeddingLoader":
    from lib.pipeline.reading import map_array
    from lib.training.loaders.embedding_loader import EmbeddingLoader

    model = experiment.config.models[name]
    names = _embedding_names(experiment, model, fold, side)
    of_input = dict(zip(model.fusion.inputs, map(experiment.path, names), strict=True))
    encoders = experiment.config.text_encoders
    of_images = [folder for name, folder in of_input.items() if name not in encoders]
    of_products = [folder for name, folder in of_input.items() if name in encoders]
    return EmbeddingLoader(
        [map_array(folder / "features.npy") for folder in of_images],
        catalog.first_image,
        catalog.image_count,
        mirrored=[map_array(folder / "mirrored.npy") for folder in of_images if model.fusion.flip],
        of_products=[map_array(folder / "features.npy") for folder in of_products],
    )
