"""Stage 06, masks and boxes on the locked part: each model alone, and the cascade, with their cost

work/<name>/cascade/scores   cascade.json, cascade.txt
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.schema import as_dict, fold_names
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph
from lib.stages.cascade.boxes import boxes_of_model, cascade_models, read_routes
from lib.stages.cascade.networks import BOX_INPUTS, read_channel_boxes, read_clusters
from lib.stages.scoring import checkpoint_paths, open_images

if TYPE_CHECKING:
    import numpy as np

    from lib.detection.components import BoxTable
    from lib.detection.routing import Routes
    from lib.evaluation.cascade import CascadeRow, Drawn, Measured, Truth

TIMED_IMAGES = 16  # of the locked part, in one batch
CASCADE, TRUE_CLUSTERS = "cascade", "cascade by the true cluster"


def declare_scores(graph: Graph) -> list[Artifact]:
    """The scores of masks and boxes; none without a model that draws."""
    experiment, config = graph.experiment, graph.experiment.config
    if not config.segmenters:
        return []
    return [
        graph.add(
            "cascade/scores",
            partial(score_cascade, experiment),
            settings={"cascade": as_dict(config.cascade), "weights": config.model_weights},
            inputs=[
                *catalog_inputs("train"),
                "extract/categories",
                "extract/splits",
                *BOX_INPUTS,
                "cascade/locked",
                *(f"masks/{name}/locked" for name in config.segmenters),
                *(f"predictions/{name}/locked" for name in config.classifiers),
                *(f"cnn/{n}/{fold}" for n in config.models for fold in _own_folds(experiment, n)),
            ],
        )
    ]


def _own_folds(experiment: Experiment, name: str) -> list[str]:
    return fold_names(experiment.config.models[name])


def score_cascade(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Score every model alone on its own classes, and the cascade against one model of all.

    A model alone sees every image. The last row routes images by their true cluster: what remains
    is not the fault of the classifiers.
    """
    from lib.evaluation import cascade as report

    config, costs = experiment.config, measure_costs(experiment)
    drawings = {name: _Drawings(experiment, name) for name in config.segmenters}
    rows = []
    for name, drawing in drawings.items():
        truth = read_truth(experiment, drawing.channels, drawing.image)
        rows.append(_row(experiment, name, [drawing.alone()], truth, costs[name])[0])
    names, comparisons = cascade_models(experiment), {}
    if config.models[names[0]].segmentation.clusters:
        compared = [drawings[name] for name in names]
        whole = [drawings[name] for name in config.segmenters if name not in names]
        classes = _common_classes(compared, whole)
        truth = read_truth(experiment, classes, compared[0].image)
        by_classifier = [d.routed(read_routes(experiment, d.name, "locked")) for d in compared]
        by_truth = [d.routed(_true_routes(experiment, d)) for d in compared]
        cost = _cascade_cost(experiment, by_classifier, costs)
        row, cascade = _row(experiment, CASCADE, by_classifier, truth, cost)
        rows.append(row)
        cost = _cascade_cost(experiment, by_truth, costs)
        rows.append(_row(experiment, TRUE_CLUSTERS, by_truth, truth, cost)[0])
        for drawing in whole:
            title = f"{drawing.name} on the classes of the cascade"
            row, alone = _row(experiment, title, [drawing.alone()], truth, costs[drawing.name])
            rows.append(row)
            comparisons[f"cascade against {drawing.name}"] = report.gains(cascade, alone)
    report.write(folder, rows, comparisons)
    return {"rows": len(rows)}


class _Drawings:
    """The masks and boxes of a model for the locked part."""

    def __init__(self, experiment: Experiment, name: str) -> None:
        from lib.inference.masks import read_masks

        self.name, drawn = name, read_masks(experiment.path(f"masks/{name}/locked"))
        self.image, self.channels, self.masks = drawn.image, drawn.channels, drawn.masks
        self.boxes = boxes_of_model(experiment, name, "locked")

    def alone(self) -> "_Part":
        from lib.detection.routing import route_everywhere

        return self.routed(route_everywhere(self.image, len(self.channels)))

    def routed(self, routes: "Routes") -> "_Part":
        from lib.detection.routing import apply_routes
        from lib.evaluation.cascade import Drawn

        boxes = apply_routes(self.boxes, self.channels, routes)
        return _Part(self.name, Drawn(self.masks, self.channels, routes), boxes)


class _Part:
    """A model's share of a cascade: masks, boxes, and where they are used."""

    def __init__(self, name: str, drawn: "Drawn", boxes: "BoxTable") -> None:
        self.name, self.drawn, self.boxes = name, drawn, boxes


def _row(
    experiment: Experiment, title: str, parts: list[_Part], truth: "Truth", cost_ms: float
) -> "tuple[CascadeRow, Measured]":
    from lib.detection.components import concat_boxes
    from lib.detection.routing import best_boxes
    from lib.evaluation.cascade import make_row, measure

    settings = experiment.config.cascade
    boxes = best_boxes(concat_boxes([part.boxes for part in parts]), settings.max_boxes)
    measured = measure([part.drawn for part in parts], boxes, truth, settings.threshold)
    return make_row(title, measured, cost_ms, len(truth.classes)), measured


def _common_classes(cascade: list[_Drawings], whole: list[_Drawings]) -> "np.ndarray":
    """The classes that the cascade draws and every model of all classes draws too."""
    import numpy as np

    classes = np.unique(np.concatenate([d.channels for d in cascade]))
    for drawing in whole:
        classes = classes[np.isin(classes, drawing.channels)]
    return classes


def read_truth(experiment: Experiment, classes: "np.ndarray", images: "np.ndarray") -> "Truth":
    """The true boxes of labelled images (int64 ascending, rows of the catalog) for some classes."""
    from lib.data.openimages.boxes import read_boxes
    from lib.evaluation.cascade import Truth

    boxes = read_channel_boxes(experiment, classes)
    group = read_boxes(experiment.path("extract/boxes/train")).group[boxes.row] == 1
    return Truth(images, classes, boxes, group)


def _true_routes(experiment: Experiment, drawing: _Drawings) -> "Routes":
    import numpy as np

    from lib.detection.routing import route
    from lib.inference.topk import TopK
    from lib.stages.read import catalog_of_part

    catalog = catalog_of_part(experiment, "locked")
    label = catalog.label[catalog.image_product[drawing.image]][:, None]
    ones = np.ones((len(label), 1), np.float32)
    clusters = read_clusters(experiment, drawing.channels)
    return route(TopK(drawing.image, label, ones, 1 - ones[:, 0]), clusters, 1, 0.0)


def _cascade_cost(experiment: Experiment, parts: list[_Part], costs: dict[str, float]) -> float:
    """The classifiers on every image, and each model on the images that it sees."""
    total = sum(costs[name] for name in experiment.config.classifiers)
    for part in parts:
        total += costs[part.name] * float(part.drawn.routes.seen.any(1).mean())
    return total


def measure_costs(experiment: Experiment) -> dict[str, float]:
    """Milliseconds for each image, of every model: all its networks and views.

    A fusion reads embeddings, which cost what the networks below it cost; itself it counts nothing.
    """
    import numpy as np

    from lib.data.catalog import read_splits
    from lib.data.crops import tta_crops
    from lib.inference.cost import TimedNetwork, measure_forward_ms
    from lib.runtime import device as devices
    from lib.stages.read import catalog_of_part
    from lib.training.checkpoint import load_classifier

    config = experiment.config
    catalog = catalog_of_part(experiment, "locked")
    locked = read_splits(experiment.path("extract/splits")).products("locked")
    rows = catalog.images_of(locked)[:TIMED_IMAGES]
    networks, runs = {}, {}
    for name, model in config.models.items():
        if model.input == "embedding":
            continue
        paths = checkpoint_paths(experiment, name)
        with open_images(experiment, model, catalog) as reader:
            images = np.concatenate([batch for _, batch in reader.batches(rows, len(rows))])
        runs[name] = len(paths)
        if model.kind == "classification":
            views = tta_crops(model.resize, model.crop, config.predict.tta_views, model.flip)
            runs[name] *= len(views)
            images = images[:, :, : model.crop[0], : model.crop[1]]
        net = load_classifier(paths[0], model, devices.select_device(config.run, model))
        networks[name] = TimedNetwork(net, model, np.ascontiguousarray(images))
    measured = measure_forward_ms(networks)
    return {name: measured.get(name, 0.0) * runs.get(name, 0) for name in config.models}


def score_lines(experiment: Experiment) -> list[str]:
    """The report of masks and boxes, for the summary of stage 06; empty without any."""
    if not experiment.config.segmenters:
        return []
    return [(experiment.path("cascade/scores") / "cascade.txt").read_text()]
