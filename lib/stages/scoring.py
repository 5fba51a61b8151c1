"""For image and fusion models: which network scores which image, and writing the predictions."""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.model import Backbone, Model
from lib.config.schema import as_dict, network_names
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs, side_of, size_inputs
from lib.pipeline.graph import Graph
from lib.runtime.workers import num_threads

if TYPE_CHECKING:
    import numpy as np

    from lib.data.catalog import Catalog
    from lib.data.image_reader import ImageReader

logger = logging.getLogger(__name__)


def declare_predictions(
    graph: Graph, name: str, part: str, build: Any, inputs: list[str]
) -> Artifact:
    """The predictions of a model for a part, by `build(experiment, name, part, folder)`."""
    experiment, model = graph.experiment, graph.experiment.config.models[name]
    networks = [f"cnn/{name}/{network}" for network in network_names(model)]
    return graph.add(
        f"predictions/{name}/{part}",
        partial(build, experiment, name, part),
        settings={
            "predict": as_dict(
                experiment.config.predict, "shard_size", "embed_models", "embedding_dim"
            ),
            "checkpoint": model.checkpoint,
        },
        inputs=[
            *catalog_inputs(side_of(part)),
            *size_inputs(model, side_of(part)),
            "extract/splits",
            *networks,
            *inputs,
        ],
        resumable=True,
        on_all_ranks=True,
    )


def images_to_score(
    experiment: Experiment, model: Model, part: str, catalog: "Catalog"
) -> tuple["np.ndarray", "np.ndarray | None"]:
    """Images of a part, int64 ascending, and the network that scores each, int; None for all.

    An image of `fit` is scored by the one network that never saw its product, all other images by
    the mean of the model's networks.
    """
    import numpy as np

    from lib.data.catalog import read_splits

    if part == "test":
        return np.arange(len(catalog.length)), None
    splits = read_splits(experiment.path("extract/splits"))
    images = catalog.images_of(splits.products(part))
    if part != "fit":
        return images, None
    return images, splits.fold_of_product(model.n_folds)[catalog.image_product[images]]


def score_images(
    experiment: Experiment,
    model: Model,
    checkpoints: list[Path],
    catalog: "Catalog",
    side: str,
    images: "np.ndarray",
    fold_of_image: "np.ndarray | None",
    folder: Path,
    center_view: bool = True,
    on_ranks: bool = True,
) -> dict[str, Any]:
    """Write the top-k predictions of an image model; all images of a mosaic score alike.

    catalog: of `side`. images, fold_of_image: as `images_to_score` returns them. center_view: keep
    the predictions of the center view apart as well. on_ranks: share the images among torchrun's
    processes. Returns counts of images, corrupt images and views.
    """
    from lib.inference.predictor import ImagePredictor
    from lib.inference.topk_writer import write_topk
    from lib.runtime import device as devices
    from lib.runtime.distributed import SINGLE, current
    from lib.training.dataset import group_of_row, row_of_image

    predict, run = experiment.config.predict, experiment.config.run
    advice = devices.predict_oom_advice(devices.image_batch_size(run))
    reader = open_images(experiment, model, catalog, side)
    with reader, devices.catch_oom(folder, advice):
        predictor = ImagePredictor(
            model,
            predict,
            checkpoints,
            reader,
            run,
            row_of_image(model, catalog),
            experiment.config.multi_label,
            group_of_row(model, catalog),
        )
        group = current() if on_ranks else SINGLE
        corrupt = write_topk(folder, predictor, predict, images, fold_of_image, center_view, group)
        warn_corrupt(reader)
    return {"images": len(images), "corrupt": corrupt, "views": len(predictor.views)}


def checkpoint_path(experiment: Experiment, name: str, network: str) -> Path:
    """The checkpoint that predicts, of one network of a model."""
    checkpoint = experiment.config.models[name].checkpoint
    return experiment.path(f"cnn/{name}/{network}") / f"{checkpoint}.pt"


def checkpoint_paths(experiment: Experiment, name: str) -> list[Path]:
    """The checkpoints that predict, of all networks of a model."""
    networks = network_names(experiment.config.models[name])
    return [checkpoint_path(experiment, name, network) for network in networks]


def open_images(
    experiment: Experiment, model: Model | Backbone, catalog: "Catalog", *sides: str
) -> "ImageReader":
    """A reader of the catalog's images, mosaics or products, in the size that the model takes.

    sides: of which the catalog is made, in their order.
    """
    from lib.data.aspect.reader import AspectReader
    from lib.data.image_reader import ImageReader
    from lib.data.products.mosaic import MosaicReader
    from lib.data.products.reader import ProductReader
    from lib.runtime import device as devices
    from lib.stages.read import aspect_clusters

    run = experiment.config.run
    allocate = devices.pinned_buffer(devices.select_device(run, model))
    if isinstance(model, Model) and model.aspect.num_clusters:
        clusters, of_image = aspect_clusters(experiment, model, *sides)
        shapes, fill = clusters.shapes(model), model.aspect.fill
        return AspectReader(catalog, shapes, of_image, fill, num_threads(run), allocate)
    readers = {"mosaic": MosaicReader, "product": ProductReader}
    kind = model.input if isinstance(model, Model) else "image"
    reader = readers.get(kind, ImageReader)
    return reader(catalog, model.resize, num_threads(run), allocate)


def warn_corrupt(reader: "ImageReader") -> None:
    """Log a warning if images could not be decoded."""
    if reader.first_corrupt is None:
        return
    row, reason = reader.first_corrupt
    catalog = reader.catalog
    logger.warning(
        "%s: %d corrupt images replaced by gray; the first is %s, product %s: %s",
        catalog.path,
        reader.corrupt.sum(),
        reader.byte_reader.location(row),
        catalog.key(int(catalog.image_product[row])),
        reason,
    )
