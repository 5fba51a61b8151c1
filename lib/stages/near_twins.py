"""Stage 01: embeddings of all images, their nearest labelled images, and sets of near twins.

work/<name>/extract/embeddings/<side> embeddings of all images, by a pretrained network; which
                                    images cannot be decoded, and the index without them
work/<name>/extract/nearest/<side>  the nearest labelled images of every image
work/<name>/extract/twins           sets of near twins among the labelled products
work/<name>/extract/sets/test       sets of near twins among the products to classify
"""

import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lib.config.model import Backbone
from lib.config.schema import as_dict
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph
from lib.runtime.workers import num_threads

if TYPE_CHECKING:
    import numpy as np

    from lib.data.catalog import Catalog
    from lib.similarity.nearest import NearestImages

logger = logging.getLogger(__name__)

# Compares images before any network is trained. Small, because it must not cost what training does.
BACKBONE = Backbone(arch="efficientnet_lite0", resize=(96, 96), crop=(96, 96))
# Whitened by as many dimensions as there are images, all images would be equally unlike.
MAX_DIM, MIN_DIM, IMAGES_PER_DIM = 128, 8, 6
NUM_NEAREST = 16  # images of other products that are kept for each image


def declare_near_twins(graph: Graph) -> None:
    """Declare the artifacts of this module, of both sides."""
    experiment = graph.experiment
    for side in experiment.sides:
        _declare_nearest(graph, side)
    if "extract/twins" not in graph.artifacts:  # of the trained experiment
        nearest = [f"extract/nearest/{side}" for side in _sides_of_twins(experiment)]
        graph.add(
            "extract/twins",
            partial(find_twins, experiment),
            inputs=[*catalog_inputs("train"), *nearest],
        )
    if "test" in experiment.sides:
        graph.add(
            "extract/sets/test",
            partial(find_sets_in_test, experiment),
            settings={"k": NUM_NEAREST},
            inputs=[
                *catalog_inputs("test"),
                "extract/nearest/train",
                "extract/twins",
            ],
        )


def is_alike(experiment: Experiment) -> bool:
    """Whether the split keeps near twins together."""
    return experiment.config.data.group_by == "alike"


def _sides_of_twins(experiment: Experiment) -> tuple[str, ...]:
    """The split follows the test products only where near twins are kept together."""
    return experiment.sides if is_alike(experiment) else ("train",)


def _declare_nearest(graph: Graph, side: str) -> None:
    """Embeddings of a side, and its nearest labelled images."""
    experiment = graph.experiment
    shared = ["extract/embeddings/train"] if side == "test" else []  # the projection is train's
    sides = ("train", "test") if side == "test" else ("train",)
    graph.add(
        f"extract/embeddings/{side}",
        partial(embed_images, experiment, side),
        settings={
            "backbone": as_dict(BACKBONE),
            "dims": [MIN_DIM, MAX_DIM, IMAGES_PER_DIM],
            "background": experiment.config.data.background,  # all that decodes depends on this
        },
        inputs=[f"extract/{side}", *shared],
        version=3,
        resumable=True,
    )
    graph.add(
        f"extract/nearest/{side}",
        partial(find_nearest, experiment, side),
        settings={"k": NUM_NEAREST},
        inputs=catalog_inputs(*sides) + (["extract/nearest/train"] if side == "test" else []),
    )


def embed_images(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Embed all images of a side with a pretrained network that no label has touched.

    This decodes all images for the first time, so it also finds those that cannot be decoded, and
    leaves them out: undecodable.csv lists them, and the index without them takes the place of
    extract/<side>.
    """
    from lib.data.decoding.readable import leave_out_undecodable
    from lib.inference.embeddings import write_embeddings
    from lib.runtime import device as devices
    from lib.stages.read import index_of_side
    from lib.stages.scoring import open_images
    from lib.training.checkpoint import load_backbone

    config, catalog = experiment.config, index_of_side(experiment, side)
    dims = min(MAX_DIM, max(MIN_DIM, len(catalog.image_product) // IMAGES_PER_DIM))
    projection = experiment.path("extract/embeddings/train") / "projection.npy"
    with (
        open_images(experiment, BACKBONE, catalog) as reader,
        devices.catch_oom(folder, devices.predict_oom_advice(devices.image_batch_size(config.run))),
    ):
        facts = write_embeddings(
            folder,
            BACKBONE,
            replace(config.predict, embedding_dim=dims),
            partial(load_backbone, BACKBONE),
            projection if side == "test" else None,
            False,
            reader,
            config.run,
        )
        # New products get no answer without an image, but nothing is learned from what is left.
        limit = config.data.max_missing_fraction if side == "train" else 1.0
        index = experiment.path(f"extract/{side}")
        return facts | leave_out_undecodable(folder, index, reader, limit)


def find_nearest(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Find the nearest labelled images of other products for every image of a side.

    nearest.npy: int64 [I, k], -1 for none; cosine.npy: float32 [I, k]. Train has also the index,
    if one is needed, and scale.npy: float32 [d], by which embeddings are whitened.
    """
    import numpy as np

    from lib.similarity.nearest import NearestImages, scale_of
    from lib.stages.read import catalog_of_side, open_labelled_search, read_embeddings

    catalog, queries = catalog_of_side(experiment, "train"), read_embeddings(experiment, side)
    if side == "train":
        scale = scale_of(queries)
        np.save(folder / "scale.npy", scale)
        search = NearestImages.build(folder, queries, scale, num_threads(experiment.config.run))
        own = catalog.image_product
    else:
        search = open_labelled_search(experiment)
        own = np.full(len(queries), -1, np.int32)
    cosine, row = _nearest_of_other_products(search, queries, own, catalog)
    np.save(folder / "cosine.npy", cosine)
    np.save(folder / "nearest.npy", row)
    return {"images": len(row)}


def _nearest_of_other_products(
    search: "NearestImages", queries: "np.ndarray", own: "np.ndarray", catalog: "Catalog"
) -> "tuple[np.ndarray, np.ndarray]":
    """The nearest images of other products: cosine and row, [q, NUM_NEAREST].

    own: int32 [q], product of each query in the catalog that is searched, -1 for none.
    """
    from lib.similarity.twins import other_products

    own_images = int(catalog.image_count.max(initial=0)) if (own >= 0).any() else 0
    cosine, row = search.search(queries, NUM_NEAREST + own_images)
    return other_products(cosine, row, own, catalog.image_product, NUM_NEAREST)


def find_twins(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Find sets of near twins among the labelled products, and how many to keep together.

    twins.json: threshold and fraction. sets.npy: int32 [P]. twin.npy: bool [P], has a twin.
    """
    import numpy as np

    from lib.similarity import twins
    from lib.stages import read

    catalog = read.catalog_of_side(experiment, "train")
    cosine, row = read.read_nearest(experiment, "train")
    threshold = twins.twin_threshold(*read.stranger_cosines(experiment, catalog))
    pairs = twins.find_pairs(cosine, row, catalog.image_product, catalog.label, threshold)
    num_products = len(catalog.product_id)
    sets, twin = twins.connected_sets(pairs, num_products), pairs.has_twin(num_products)
    share = float(twin.mean())
    kept, counts = 0.0, {"products_with_twin": int(twin.sum())}
    if share >= twins.MANY:
        sides = _sides_of_twins(experiment)
        alike = {side: read.nearest_of_products(experiment, side) >= threshold for side in sides}
        counts |= {f"{side}_with_twin_in_train": int(a.sum()) for side, a in alike.items()}
        kept = twins.kept_fraction(**alike)
    np.save(folder / "sets.npy", sets)
    np.save(folder / "twin.npy", twin)
    facts = {"threshold": round(threshold, 4), "kept": kept}
    (folder / "twins.json").write_text(json.dumps(facts) + "\n")
    return {**facts, **counts}


def find_sets_in_test(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Find sets of near twins among the products to classify. sets.npy: int32 [P]."""
    import numpy as np

    from lib.similarity import twins
    from lib.similarity.nearest import NearestImages
    from lib.stages import read

    catalog = read.catalog_of_side(experiment, "test")
    embeddings = read.read_embeddings(experiment, "test")
    own, num_products = catalog.image_product, len(catalog.product_id)
    scale, threads = read.read_scale(experiment), num_threads(experiment.config.run)
    with TemporaryDirectory(dir=folder) as index:
        search = NearestImages.build(Path(index), embeddings, scale, threads)
        cosine, row = _nearest_of_other_products(search, embeddings, own, catalog)
    no_label = np.zeros(num_products, np.int16)
    pairs = twins.find_pairs(cosine, row, own, no_label, read.read_twins(experiment).threshold)
    np.save(folder / "sets.npy", twins.connected_sets(pairs, num_products))
    return {"products_with_twin": int(pairs.has_twin(num_products).sum())}


def groups_of_twins(experiment: Experiment) -> "np.ndarray | None":
    """Products that the split keeps together because they are near twins; says how many."""
    import numpy as np

    from lib.similarity.twins import split_groups
    from lib.stages.read import read_twins

    found = read_twins(experiment)
    sizes = np.bincount(found.sets)
    num_twins, num_sets = int(sizes[sizes > 1].sum()), int((sizes > 1).sum())
    if found.kept == 0:
        if num_twins:
            logger.info("%s products are near twins; none are kept together", f"{num_twins:,}")
        return None
    logger.info(
        'group_by = "alike": %s products in %s sets of near twins; %.0f %% of sets stay together',
        *(f"{num_twins:,}", f"{num_sets:,}", 100 * found.kept),
    )
    return split_groups(found.sets, found.kept, experiment.config.seed)
