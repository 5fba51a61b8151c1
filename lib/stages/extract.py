"""Stage 01: index the files of the catalog; near twins; categories, parts and folds.

work/<name>/extract/sample          the generated catalog, if data.source = "sample"
work/<name>/extract/unpacked/<side> compressed drawings, unpacked
work/<name>/extract/categories      the categories
work/<name>/extract/train, /test    products and images of each side
work/<name>/extract/embeddings/<side> embeddings of all images, by a pretrained network
work/<name>/extract/nearest/<side>  the nearest labelled images of every image
work/<name>/extract/twins           sets of near twins among the labelled products
work/<name>/extract/splits          part, fold and group of every labelled product
work/<name>/extract/phash/<side>    perceptual hashes of the images
"""

import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.model import Backbone
from lib.config.schema import as_dict
from lib.data.sources.source_files import (
    checked_path,
    checksum_settings,
    has_category_table,
    list_source,
    needs_unpacking,
    read_settings,
    source_kind,
    source_path,
)
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, depends_on_test
from lib.pipeline.graph import Graph
from lib.runtime.workers import num_threads

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

NAME, SCRIPT, PARALLEL = "extract", "01_extract.py", False

# Compares images before any network is trained. Small, because it must not cost what training does.
BACKBONE = Backbone(arch="efficientnet_lite0", resize=(96, 96), crop=(96, 96))
EMBEDDING_DIM = 128
NUM_NEAREST = 16  # images of other products that are kept for each image


def declare(graph: Graph) -> list[Artifact]:
    """The artifacts of this stage."""
    experiment = graph.experiment
    if experiment.target is not None:
        _declare_trained(graph)
    files = _declare_files(graph)
    class_file = _class_file(experiment)
    graph.add(
        "extract/categories",
        partial(build_categories, experiment),
        settings={
            **checksum_settings(experiment, class_file),
            **read_settings(experiment, "train"),
        },
        files={class_file: files[class_file]},
    )
    for side in experiment.sides:
        graph.add(
            f"extract/{side}",
            partial(build_index, experiment, side),
            settings={**checksum_settings(experiment, side), **read_settings(experiment, side)},
            files={side: files[side]},
            inputs=["extract/categories"],
            resumable=True,
        )
    for side in experiment.sides:
        _declare_nearest(graph, side)
    if "extract/twins" not in graph.artifacts:  # of the trained experiment
        graph.add(
            "extract/twins",
            partial(find_twins, experiment),
            inputs=[
                "extract/train",
                *(f"extract/nearest/{s}" for s in _sides_of_twins(experiment)),
            ],
        )
    graph.add(
        "extract/splits",
        partial(build_splits, experiment),
        settings={
            "split": as_dict(experiment.config.split),
            "group_by": experiment.config.data.group_by,
            "seed": experiment.config.seed,
        },
        inputs=["extract/train", *(["extract/twins"] if _is_alike(experiment) else [])],
    )
    for side in experiment.sides if experiment.config.features.use_phash else ():
        graph.add(
            f"extract/phash/{side}",
            partial(build_perceptual_hashes, experiment, side),
            inputs=[f"extract/{side}"],
        )
    return list(graph.artifacts.values())


def _is_alike(experiment: Experiment) -> bool:
    return experiment.config.data.group_by == "alike"


def _sides_of_twins(experiment: Experiment) -> tuple[str, ...]:
    """The split follows the test products only where near twins are kept together."""
    return experiment.sides if _is_alike(experiment) else ("train",)


def _declare_nearest(graph: Graph, side: str) -> None:
    """Embeddings of a side, and its nearest labelled images."""
    experiment = graph.experiment
    shared = ["extract/embeddings/train"] if side == "test" else []  # the projection is train's
    sides = ("train", "test") if side == "test" else ("train",)
    graph.add(
        f"extract/embeddings/{side}",
        partial(embed_images, experiment, side),
        settings={"backbone": as_dict(BACKBONE), "dims": EMBEDDING_DIM},
        inputs=[f"extract/{side}", *shared],
        resumable=True,
    )
    graph.add(
        f"extract/nearest/{side}",
        partial(find_nearest, experiment, side),
        settings={"k": NUM_NEAREST},
        inputs=[f"extract/{kind}{s}" for kind in ("", "embeddings/") for s in sides]
        + (["extract/nearest/train"] if side == "test" else []),
    )


def _declare_trained(graph: Graph) -> None:
    """With `--new`: twins and splits of the trained experiment, which had other test products."""
    trained = Graph(replace(graph.experiment, target=None), frozen=True)
    declare(trained)
    graph.artifacts |= {
        name: artifact for name, artifact in trained.artifacts.items() if not depends_on_test(name)
    }


def _declare_files(graph: Graph) -> dict[str, Artifact | Path]:
    """The files of the catalog: the user's own, generated ones, or unpacked ones."""
    experiment = graph.experiment
    names = (*experiment.sides, _class_file(experiment))
    files: dict[str, Artifact | Path] = {n: source_path(experiment, n) for n in names}
    if experiment.config.data.source == "sample":
        sample = graph.add(
            "extract/sample",
            partial(build_sample, experiment),
            settings={"sample": as_dict(experiment.config.sample), "seed": experiment.config.seed},
        )
        generated = [n for n in names if n != "test" or experiment.target is None]
        files |= dict.fromkeys(generated, sample)
    for side in (side for side in experiment.sides if needs_unpacking(experiment, side)):
        files[side] = graph.add(
            f"extract/unpacked/{side}",
            partial(unpack_strokes, experiment, side),
            settings={"classes": experiment.config.data.classes} if side == "train" else {},
            files={side: files[side]},
            resumable=True,
        )
    return files


def _class_file(experiment: Experiment) -> str:
    """Which file names the categories."""
    return "categories" if has_category_table(experiment) else "train"


def build_sample(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Generate the sample catalog."""
    from lib.data.synthetic.catalog import generate

    return generate(folder, experiment.config.sample, experiment.config.seed)


def unpack_strokes(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Unpack compressed drawings: an image is a byte range of a file."""
    from lib.data.sources.packed_files import unpack

    only = experiment.config.data.classes if side == "train" else ()
    return {"files": unpack(source_path(experiment, side), folder, only)}


def build_categories(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Number the categories: from their own table, or from the names in `train`."""
    from lib.data.catalog import build_categories as build_from_table
    from lib.data.catalog import build_named_categories

    if has_category_table(experiment):
        return build_from_table(folder, checked_path(experiment, "categories"))
    labels = list_source(experiment, "train").labels
    return build_named_categories(folder, source_path(experiment, "train"), labels)


def build_index(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Index the products and images of a side; bad records are counted, listed, passed over."""
    from lib.data.catalog import read_categories
    from lib.data.sources.base import index_listing
    from lib.data.sources.bson_file import index_bson

    config = experiment.config
    categories = read_categories(experiment.path("extract/categories"))
    options = (side == "train", config.data.max_bad_fraction, num_threads(config.run))
    if source_kind(experiment, side) == "bson":
        return index_bson(folder, checked_path(experiment, side), categories, *options)
    listing = list_source(experiment, side)
    return index_listing(folder, source_path(experiment, side), listing, categories, *options)


def embed_images(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Embed all images of a side with a pretrained network that no label has touched."""
    from lib.inference.embeddings import write_embeddings
    from lib.runtime import device as devices
    from lib.stages.read import catalog_of_part
    from lib.stages.scoring import open_images
    from lib.training.checkpoint import load_backbone

    config = experiment.config
    projection = experiment.path("extract/embeddings/train") / "projection.npy"
    advice = devices.predict_oom_advice(config.run)
    with (
        open_images(experiment, BACKBONE, catalog_of_part(experiment, side)) as reader,
        devices.catch_oom(folder, advice),
    ):
        return write_embeddings(
            folder,
            BACKBONE,
            replace(config.predict, embedding_dim=EMBEDDING_DIM),
            partial(load_backbone, BACKBONE),
            projection if side == "test" else None,
            False,
            reader,
            config.run,
        )


def find_nearest(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Find the nearest labelled images of other products for every image of a side.

    nearest.npy: int64 [I, k], -1 for none; cosine.npy: float32 [I, k]. Train has the index.
    """
    import numpy as np

    from lib.similarity import twins
    from lib.similarity.nearest import NearestImages, scale_of
    from lib.stages.read import catalog_of_part

    threads, is_train = num_threads(experiment.config.run), side == "train"
    references, queries = (
        np.load(experiment.path(f"extract/embeddings/{s}") / "embeddings.npy", "r")
        for s in ("train", side)
    )
    index_folder = folder if is_train else experiment.path("extract/nearest/train")
    load = NearestImages.build if is_train else NearestImages.load
    search = load(index_folder, references, scale_of(references), threads)
    catalog = catalog_of_part(experiment, "train")
    own_images = int(catalog.image_count.max(initial=0)) if is_train else 0
    cosine, row = search.search(queries, NUM_NEAREST + own_images)
    own = catalog.image_product if is_train else np.full(len(queries), -1, np.int32)
    cosine, row = twins.other_products(cosine, row, own, catalog.image_product, NUM_NEAREST)
    np.save(folder / "cosine.npy", cosine)
    np.save(folder / "nearest.npy", row)
    return {"images": len(row)}


def find_twins(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Find sets of near twins among the labelled products, and how many to keep together.

    twins.json: threshold and fraction. sets.npy: int32 [P]. twin.npy: bool [P], has a twin.
    """
    import numpy as np

    from lib.similarity import twins
    from lib.stages import read

    catalog = read.catalog_of_part(experiment, "train")
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


def build_splits(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Assign a part and a fold to every labelled product."""
    from lib.data import splits
    from lib.stages.read import catalog_of_part

    catalog, config = catalog_of_part(experiment, "train"), experiment.config
    group = _groups_of_twins(experiment) if _is_alike(experiment) else catalog.group
    return splits.build_splits(
        folder, catalog.product_id, catalog.label, config.split, config.seed, group
    )


def _groups_of_twins(experiment: Experiment) -> "np.ndarray | None":
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


def build_perceptual_hashes(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Hash what every image of a side looks like."""
    from lib.data import perceptual_hash
    from lib.stages.read import catalog_of_part

    catalog = catalog_of_part(experiment, side)
    return perceptual_hash.build_perceptual_hashes(
        folder, catalog, num_threads(experiment.config.run)
    )


def check_strict(experiment: Experiment) -> None:
    """Raise UserError if this stage passed over any record or image (`--strict`)."""
    from lib.data import scan_report

    for side in experiment.sides if experiment.target is None else ("test",):
        scan_report.check_strict(experiment.path(f"extract/{side}"), source_path(experiment, side))
