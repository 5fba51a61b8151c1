"""Stage 03, the cascade: clusters of the classifiers, coarse masks, and boxes out of them

    work/<name>/masks/<model>/<part>   coarse masks: of every image of `locked`, of those images of
                                       `test` whose clusters the model draws
    work/<name>/cascade/<part>         boxes.arrow: those of the cascade

A model without `segmentation.clusters` draws the images of `test` only if no other model does.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.schema import as_dict, fold_names
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs, side_of
from lib.pipeline.graph import Graph
from lib.stages.cascade.networks import BOX_INPUTS, read_channels, read_clusters
from lib.stages.scoring import checkpoint_paths

if TYPE_CHECKING:
    from lib.detection.components import BoxTable
    from lib.detection.routing import Routes

CHUNK = 1024  # images whose masks are in memory
ROUTE_SETTINGS = ("top_k", "min_prob")


def cascade_models(experiment: Experiment) -> list[str]:
    """The models that draw the images of their clusters; without such, those that draw all."""
    models = experiment.config.segmenters
    return [n for n, m in models.items() if m.segmentation.clusters] or list(models)


def declare_cascade(graph: Graph) -> list[Artifact]:
    """Masks of every model, and the boxes of the cascade."""
    experiment, artifacts = graph.experiment, []
    for part in experiment.scored_parts if experiment.config.segmenters else ():
        names = list(experiment.config.segmenters) if part == "locked" else None
        for name in names or cascade_models(experiment):
            artifacts.append(_declare_masks(graph, name, part))
        artifacts.append(_declare_boxes(graph, part))
    return artifacts


def _declare_masks(graph: Graph, name: str, part: str) -> Artifact:
    experiment, model = graph.experiment, graph.experiment.config.models[name]
    routed = part == "test"
    return graph.add(
        f"masks/{name}/{part}",
        partial(draw_masks, experiment, name, part),
        settings={
            "checkpoint": model.checkpoint,
            **({"route": _route_settings(experiment)} if routed else {}),
        },
        inputs=[
            *catalog_inputs("train", *([side_of(part)] if routed else [])),
            "extract/categories",
            "extract/splits",
            *BOX_INPUTS,
            *(f"cnn/{name}/{fold}" for fold in fold_names(model)),
            *(_predictions(experiment, part) if routed else []),
        ],
        resumable=True,
    )


def _declare_boxes(graph: Graph, part: str) -> Artifact:
    experiment = graph.experiment
    return graph.add(
        f"cascade/{part}",
        partial(find_boxes, experiment, part),
        settings={
            "cascade": as_dict(experiment.config.cascade),
            "weights": experiment.config.model_weights,
        },
        inputs=[
            *catalog_inputs("train"),
            "extract/categories",
            "extract/splits",
            *BOX_INPUTS,
            *_predictions(experiment, part),
            *(f"masks/{name}/{part}" for name in cascade_models(experiment)),
        ],
    )


def _route_settings(experiment: Experiment) -> dict[str, Any]:
    cascade = as_dict(experiment.config.cascade)
    return {key: cascade[key] for key in ROUTE_SETTINGS} | {
        "weights": experiment.config.model_weights
    }


def _predictions(experiment: Experiment, part: str) -> list[str]:
    return [f"predictions/{name}/{part}" for name in experiment.config.classifiers]


def draw_masks(experiment: Experiment, name: str, part: str, folder: Path) -> dict[str, Any]:
    """Draw the masks of a part's images with a model: the mean of its networks."""
    import numpy as np

    from lib.data.catalog import read_splits
    from lib.inference.masks import write_masks
    from lib.runtime import device as devices
    from lib.stages.read import catalog_of_part
    from lib.stages.scoring import open_images, warn_corrupt

    config, model = experiment.config, experiment.config.models[name]
    catalog = catalog_of_part(experiment, part)
    if part == "test":
        routes = read_routes(experiment, name, part)
        images = routes.image[routes.seen.any(1)]
    else:
        products = read_splits(experiment.path("extract/splits")).products(part)
        images = catalog.images_of(products)
    advice = devices.predict_oom_advice(devices.image_batch_size(config.run))
    with open_images(experiment, model, catalog) as reader, devices.catch_oom(folder, advice):
        facts = write_masks(
            folder,
            model,
            checkpoint_paths(experiment, name),
            read_channels(experiment, name),
            reader,
            np.asarray(images, np.int64),
            config.run,
            config.predict.shard_size,
        )
        warn_corrupt(reader)
    return facts


def read_routes(experiment: Experiment, name: str, part: str) -> "Routes":
    """Which classes of a model are looked for in each image of a part.

    The clusters are those of the mean of the classifiers. A model without clusters sees all.
    """
    from lib.detection.routing import route, route_everywhere
    from lib.features.network import weighted_mean
    from lib.stages.read import num_classes, read_topk_of_all

    config, channels = experiment.config, read_channels(experiment, name)
    topks, weights = read_topk_of_all(experiment, part), list(config.model_weights.values())
    if not config.models[name].segmentation.clusters:
        return route_everywhere(topks[0].image, len(channels))
    topk = weighted_mean(topks, weights, num_classes(experiment))
    clusters = read_clusters(experiment, channels)
    return route(topk, clusters, config.cascade.top_k, config.cascade.min_prob)


def find_boxes(experiment: Experiment, part: str, folder: Path) -> dict[str, Any]:
    """Find the boxes of a part's images in the masks of the models that see them."""
    from lib.detection.components import concat_boxes
    from lib.detection.routing import apply_routes, best_boxes

    tables = []
    for name in cascade_models(experiment):
        channels = read_channels(experiment, name)
        boxes = boxes_of_model(experiment, name, part)
        tables.append(apply_routes(boxes, channels, read_routes(experiment, name, part)))
    boxes = best_boxes(concat_boxes(tables), experiment.config.cascade.max_boxes)
    boxes.save(folder)
    return {"boxes": len(boxes)}


def boxes_of_model(experiment: Experiment, name: str, part: str) -> "BoxTable":
    """The boxes in all masks that a model drew for a part."""
    import numpy as np

    from lib.detection.components import Cores, boxes_of_masks, concat_boxes
    from lib.inference.masks import read_masks

    cascade, drawn = experiment.config.cascade, read_masks(experiment.path(f"masks/{name}/{part}"))
    core, tables = experiment.config.models[name].segmentation.core, []
    for start in range(0, len(drawn.image), CHUNK):
        some = slice(start, start + CHUNK)
        masks = np.asarray(drawn.masks[some])
        cores = None if drawn.cores is None else Cores(np.asarray(drawn.cores[some]), core)
        tables.append(
            boxes_of_masks(
                masks,
                drawn.image[some],
                drawn.channels,
                cascade.threshold,
                cascade.min_cells,
                cores,
            )
        )
    return concat_boxes(tables)
