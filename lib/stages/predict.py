"""Stage 03: score every image with test-time augmentation and keep the top classes; embeddings.

work/<name>/predictions/<model>/<part>         top-k classes and probabilities of every image
work/<name>/embeddings/<model>/<fold>/<side>   for neighbors and fusion models
work/<name>/embeddings/<encoder>/frozen/<side> of texts: `lib/stages/texts/encoders.py`
work/<name>/cnn/<fusion>/<fold>                fusion models: `lib/stages/fusion.py`
work/<name>/cnn/<text>/<fold>                  text models: `lib/stages/texts/models.py`
work/<name>/masks/<model>/<part>               masks and boxes: `lib/stages/cascade/boxes.py`
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.schema import as_dict
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs, side_of, size_inputs
from lib.pipeline.graph import Graph
from lib.stages.cascade.boxes import declare_cascade
from lib.stages.fusion import declare_fusion
from lib.stages.scoring import (
    checkpoint_path,
    checkpoint_paths,
    declare_predictions,
    images_to_score,
    score_images,
)
from lib.stages.texts.encoders import declare_text_encoders
from lib.stages.texts.models import declare_text_models
from lib.stages.train import image_models, weights_file

if TYPE_CHECKING:
    import torch

    from lib.models.classifier import ImageClassifier

NAME, SCRIPT, PARALLEL = "predict", "03_predict_tta.py", True


def declare(graph: Graph) -> list[Artifact]:
    """The artifacts of this stage."""
    experiment = graph.experiment
    artifacts = [
        declare_predictions(graph, name, part, predict_part, inputs=[])
        for name in image_models(experiment)
        for part in experiment.parts
    ]
    for side in experiment.sides:
        for name in experiment.config.embedding_models:
            for fold in experiment.config.network_names_of(name):
                artifacts.append(_declare_embeddings(graph, name, fold, side))
    texts = [*declare_text_models(graph), *declare_text_encoders(graph)]
    return [*artifacts, *texts, *declare_fusion(graph), *declare_cascade(graph)]


def _declare_embeddings(graph: Graph, name: str, fold: str, side: str) -> Artifact:
    config = graph.experiment.config
    settings: dict[str, Any] = {
        "dims": config.predict.embedding_dim,
        "features": name in config.fusion_inputs,
    }
    if name in config.mirrored_inputs:
        settings["mirrored"] = True
    inputs, files = catalog_inputs(side), {}
    if name in config.models:
        settings["checkpoint"] = config.models[name].checkpoint
        inputs += [f"cnn/{name}/{fold}", *size_inputs(config.models[name], side)]
    else:
        settings["backbone"] = as_dict(config.backbones[name])
        files = weights_file(config.backbones[name])
    if side == "test":  # both sides share the projection that is fitted on train
        inputs.append(f"embeddings/{name}/{fold}/train")
    return graph.add(
        f"embeddings/{name}/{fold}/{side}",
        partial(embed_images, graph.experiment, name, fold, side),
        settings=settings,
        inputs=inputs,
        files=files,
        resumable=True,
    )


def predict_part(experiment: Experiment, name: str, part: str, folder: Path) -> dict[str, Any]:
    """Score the images of a part with an image model. All images of a mosaic score alike."""
    from lib.stages.read import catalog_of_part

    model, catalog = experiment.config.models[name], catalog_of_part(experiment, part)
    images, fold_of_image = images_to_score(experiment, model, part, catalog)
    paths = checkpoint_paths(experiment, name)
    center_view = part != "test"
    return score_images(
        experiment,
        model,
        paths,
        catalog,
        side_of(part),
        images,
        fold_of_image,
        folder,
        center_view,
    )


def embed_images(
    experiment: Experiment, name: str, fold: str, side: str, folder: Path
) -> dict[str, Any]:
    """Embed all images of a side with one network; both sides share the projection of train."""
    from lib.inference.embeddings import write_embeddings
    from lib.runtime import device as devices
    from lib.stages.read import catalog_of_part
    from lib.stages.scoring import open_images, warn_corrupt

    config = experiment.config
    model = config.models.get(name) or config.backbones[name]
    projection = experiment.path(f"embeddings/{name}/{fold}/train") / "projection.npy"
    catalog = catalog_of_part(experiment, side)
    advice = devices.predict_oom_advice(devices.image_batch_size(config.run))
    reader = open_images(experiment, model, catalog, side)
    with reader, devices.catch_oom(folder, advice):
        facts = write_embeddings(
            folder,
            model,
            config.predict,
            partial(_load_network, experiment, name, fold),
            projection if side == "test" else None,
            name in config.fusion_inputs,
            reader,
            config.run,
            name in config.mirrored_inputs,
        )
        warn_corrupt(reader)
    return facts


def _load_network(
    experiment: Experiment, name: str, fold: str, device: "torch.device"
) -> "ImageClassifier":
    """A trained network of a model, or a backbone with its pretrained weights."""
    from lib.training import checkpoint

    config = experiment.config
    if name in config.models:
        path = checkpoint_path(experiment, name, fold)
        return checkpoint.load_classifier(path, config.models[name], device)
    return checkpoint.load_backbone(config.backbones[name], device)
