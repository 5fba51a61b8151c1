"""Stage 02, models with kind = "segmentation": networks that draw coarse masks from boxes

Parts, folds and checkpoints are those of the classifiers. A network trains on the images that have
a box of its classes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.schema import fold_names
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.stages.review.warm_start import with_warm_start
from lib.stages.train import declare_network, start_files, train_valid_products

if TYPE_CHECKING:
    import numpy as np

    from lib.data.openimages.boxes import Boxes
    from lib.data.openimages.masks.targets import ChannelBoxes

BOX_INPUTS = ("extract/hierarchy", "extract/boxes/train")


def declare_segmenters(graph: Graph) -> list[Artifact]:
    """The networks of every model that draws masks."""
    return [
        declare_network(
            graph,
            name,
            fold,
            train_segmenter,
            inputs=list(BOX_INPUTS),
            files=start_files(model, name, fold),
        )
        for name, model in graph.experiment.config.segmenters.items()
        for fold in fold_names(model)
    ]


def train_segmenter(experiment: Experiment, name: str, fold: str, folder: Path) -> dict[str, Any]:
    """Train one network of model `name` on `fit`, or on `fit` without its own fold.

    The labels of its images, by which `sampling.class_balance` draws them, are the classes of their
    largest boxes.
    """
    import numpy as np

    from lib.data.openimages.masks.channels import main_channel
    from lib.models import factory
    from lib.stages.read import catalog_of_part
    from lib.stages.scoring import open_images, warn_corrupt
    from lib.training.dataset import TrainingSet
    from lib.training.loaders.mask_loader import MaskLoader
    from lib.training.trainer import train_model

    config = experiment.config
    model = with_warm_start(experiment, config.models[name], name, fold)
    catalog = catalog_of_part(experiment, "train")
    channels = read_channels(experiment, name)
    boxes = read_channel_boxes(experiment, channels, name)
    label = main_channel(boxes)
    num_planes = len(channels) * model.segmentation.num_planes
    train_rows, valid_rows = (
        rows[label[rows] >= 0]
        for rows in map(catalog.images_of, train_valid_products(experiment, model, fold))
    )
    with open_images(experiment, model, catalog) as reader:
        training_set = TrainingSet(
            MaskLoader(reader, model, boxes),
            lambda weights: factory.create_from_config(model, num_planes, weights),
            labels=np.asarray(label),
            product=catalog.image_product,
            train_rows=train_rows,
            valid_rows=valid_rows,
            num_classes=num_planes,
        )
        facts = train_model(folder, model, training_set, config.seed + model.seed, config.run)
        warn_corrupt(reader)
    return facts


def read_channels(experiment: Experiment, name: str) -> "np.ndarray":
    """The classes that a model draws: int64, rows of the hierarchy. The locked part has no say."""
    from lib.data.catalog import read_categories
    from lib.data.openimages.hierarchy import read_hierarchy
    from lib.data.openimages.masks.channels import choose_channels

    categories = read_categories(experiment.path("extract/categories"))
    return choose_channels(
        read_hierarchy(experiment.path("extract/hierarchy")),
        _unlocked_boxes(experiment),
        experiment.config.models[name].segmentation,
        [next(filter(None, reversed(names))) for names in categories.names],
        f"models.{name}",
    )


def read_clusters(experiment: Experiment, channels: "np.ndarray") -> "np.ndarray":
    """To which clusters each channel's class belongs: bool [channels, clusters]."""
    from lib.data.openimages.hierarchy import read_hierarchy
    from lib.data.openimages.masks.channels import clusters_of_channels
    from lib.stages.read import catalog_of_part, num_classes

    catalog = catalog_of_part(experiment, "train")
    return clusters_of_channels(
        read_hierarchy(experiment.path("extract/hierarchy")),
        _unlocked_boxes(experiment),
        catalog.label[catalog.image_product],
        channels,
        num_classes(experiment),
    )


def read_channel_boxes(
    experiment: Experiment, channels: "np.ndarray", name: str | None = None
) -> "ChannelBoxes":
    """The boxes of the labelled images for some channels, with the weights of model `name`.

    Without a name all boxes weigh 1.
    """
    from lib.data.openimages.boxes import read_boxes, read_image_labels
    from lib.data.openimages.hierarchy import read_hierarchy
    from lib.data.openimages.masks.channels import boxes_of_channels

    folder = experiment.path("extract/boxes/train")
    return boxes_of_channels(
        read_hierarchy(experiment.path("extract/hierarchy")),
        read_boxes(folder),
        read_image_labels(folder),
        channels,
        None if name is None else experiment.config.models[name].segmentation,
    )


def _unlocked_boxes(experiment: Experiment) -> "Boxes":
    import numpy as np

    from lib.data.catalog import read_splits
    from lib.data.openimages.boxes import read_boxes
    from lib.stages.read import catalog_of_part

    boxes = read_boxes(experiment.path("extract/boxes/train"))
    catalog = catalog_of_part(experiment, "train")
    products = read_splits(experiment.path("extract/splits")).products("fit", "holdout")
    return boxes.select(np.isin(boxes.image, catalog.images_of(products)))
