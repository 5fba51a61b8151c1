"""Read what earlier stages wrote: catalogs, top-k predictions, candidate rows, booster scores."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lib.config.model import Model
from lib.data.aspect.clusters import AspectClusters, find_clusters
from lib.data.aspect.sizes import FILE as SIZES
from lib.data.catalog import Catalog, read_catalog, read_categories, read_splits
from lib.data.openimages.boxes import read_boxes, read_image_labels
from lib.data.openimages.cluster_table import read_clusters
from lib.data.openimages.hierarchy import read_hierarchy
from lib.data.openimages.image_classes import label_sets
from lib.data.openimages.scene_names import with_scene_paths
from lib.data.sources.source_files import image_path
from lib.errors import UserError
from lib.features.network import geometric_mean
from lib.features.query import Query, check_topks, make_query, partitions, wrong_images
from lib.inference.topk import TopK
from lib.pipeline.experiment import Experiment, side_of
from lib.pipeline.reading import load_array, map_array, read_json
from lib.runtime.workers import num_threads
from lib.similarity.nearest_products import NearestProducts, nearest_products
from lib.similarity.twins import max_per_product
from lib.utils.kept import kept

if TYPE_CHECKING:
    from lib.similarity.nearest import NearestImages

read_kept_catalog = kept(read_catalog)

SAMPLE = 4000  # images that show how alike images of different classes are
STRANGERS = 200  # nearest images in which each of them looks for another class


class Member(NamedTuple):
    """What takes part in blends: a booster, as in ("mean", "l2", "xgboost"), or the networks of a
    model alone, as in ("lite0", "l1", "network")."""

    source: str
    layer: str
    booster: str


class Partition(NamedTuple):
    """Some products of a part, neighbors in its order.

    catalog: that holds them, opened for this partition alone: what is read of it is given back
        with it. query: the products and their images.
    images: where these images stand in predictions of the part, which have `num_images` in all.
    """

    catalog: Catalog
    query: Query
    images: slice
    num_images: int


class CandidateRows(NamedTuple):
    """The candidate rows of a part.

    product: int32 [R], ascending; class_id: int16 [R]; fold: int8 [R], -1 for none.
    target: int8 [R], 1 if the class is the product's own, else 0; -1 in the test part.
    """

    product: np.ndarray
    class_id: np.ndarray
    fold: np.ndarray
    target: np.ndarray


class Twins(NamedTuple):
    """Near twins among the labelled products, as stage 01 found them.

    threshold: cosine of twins. kept: fraction of the sets that the split keeps together.
    sets: int32 [P], equal for connected twins. twin: bool [P], whether a product has a twin.
    """

    threshold: float
    kept: float
    sets: np.ndarray
    twin: np.ndarray


def index_of_side(experiment: Experiment, side: str) -> Catalog:
    """The catalog of "train" or "test" before any image of it is decoded."""
    return _read_catalog(experiment, side, experiment.path(f"extract/{side}"))


def catalog_of_side(experiment: Experiment, side: str) -> Catalog:
    """The catalog of "train" or "test", as stage 01 has it before the split.

    Images that cannot be decoded are not in it.
    """
    readable = experiment.path(f"extract/embeddings/{side}")
    if not (readable / "images.arrow").exists():
        return index_of_side(experiment, side)
    return _read_catalog(experiment, side, readable)


def _read_catalog(experiment: Experiment, side: str, folder: Path) -> Catalog:
    catalog = read_kept_catalog(folder, image_path(experiment, side))
    if catalog.files is not None and experiment.config.composes_train:
        files = with_scene_paths(catalog.files, experiment.path("extract/scenes"))
        catalog = replace(catalog, files=files)
    red, green, blue = bytes.fromhex(experiment.config.data.background.removeprefix("#"))
    return replace(catalog, background=(red, green, blue))


def catalog_of_part(experiment: Experiment, part: str) -> Catalog:
    """The catalog that holds the products of a part: the test side for "test", else train.

    The groups of labelled products are those of the split.
    """
    side = side_of(part)
    catalog = catalog_of_side(experiment, side)
    if side == "train" and experiment.config.data.group_by == "alike":
        return replace(catalog, group=read_splits(experiment.path("extract/splits")).group)
    return catalog


def read_twins(experiment: Experiment) -> Twins:
    """The near twins that stage 01 found."""
    folder = experiment.path("extract/twins")
    facts = read_json(folder / "twins.json", "threshold", "kept")
    arrays = (load_array(folder / f"{name}.npy") for name in ("sets", "twin"))
    return Twins(facts["threshold"], facts["kept"], *arrays)


def read_nearest(experiment: Experiment, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Nearest labelled images of other products: cosine float32 and row int64, [I, k] each."""
    folder = experiment.path(f"extract/nearest/{side}")
    return map_array(folder / "cosine.npy"), map_array(folder / "nearest.npy")


def nearest_of_products(experiment: Experiment, side: str) -> np.ndarray:
    """Cosine of each product to the nearest other labelled one: float32 [P], -inf for none."""
    catalog, (cosine, _) = catalog_of_side(experiment, side), read_nearest(experiment, side)
    return max_per_product(cosine[:, 0], catalog.image_product, len(catalog.product_id))


def read_nearest_products(experiment: Experiment, side: str, k: int) -> NearestProducts:
    """The k labelled products whose images are nearest to those of each product of a side."""
    catalog, labelled = (catalog_of_side(experiment, name) for name in (side, "train"))
    return nearest_products(
        *read_nearest(experiment, side),
        catalog.image_product,
        labelled.image_product,
        len(catalog.product_id),
        k,
    )


def ids_are_comparable(experiment: Experiment) -> bool:
    """Whether the ids of the products tell which are near each other, as stage 01 found."""
    return read_json(experiment.path("extract/ids") / "ids.json", "comparable")["comparable"]


def open_labelled_search(experiment: Experiment) -> "NearestImages":
    """The search among the labelled images, by the embeddings of stage 01."""
    nearest, embeddings = (experiment.path(f"extract/{n}/train") for n in ("nearest", "embeddings"))
    return _open_search(nearest, embeddings, num_threads(experiment.config.run))


@kept
def _open_search(nearest: Path, embeddings: Path, threads: int) -> "NearestImages":
    from lib.similarity.nearest import (
        NearestImages,
    )  # imports torch, which most readers do not need

    scale = load_array(nearest / "scale.npy")
    return NearestImages.load(nearest, map_array(embeddings / "embeddings.npy"), scale, threads)


def read_sets_in_test(experiment: Experiment) -> np.ndarray:
    """Sets of near twins among the products to classify: int32 [P], equal for connected ones."""
    return load_array(experiment.path("extract/sets/test") / "sets.npy")


def read_scale(experiment: Experiment) -> np.ndarray:
    """By what the embeddings of stage 01 are whitened: float32 [d]."""
    return load_array(experiment.path("extract/nearest/train") / "scale.npy")


def read_embeddings(experiment: Experiment, side: str) -> np.ndarray:
    """Embeddings of all images of a side by the network of stage 01: float16 [I, d]."""
    return map_array(experiment.path(f"extract/embeddings/{side}") / "embeddings.npy")


def stranger_cosines(
    experiment: Experiment, catalog: Catalog
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The arguments of `twin_threshold`, for an evenly spaced sample of labelled images."""
    num_images = len(catalog.image_product)
    images = np.unique(np.linspace(0, max(num_images - 1, 0), min(num_images, SAMPLE)).astype(int))
    queries = read_embeddings(experiment, "train")[images]
    search = open_labelled_search(experiment)
    cosine, row = search.search(queries, min(STRANGERS, max(num_images, 1)))
    label = catalog.label[catalog.image_product]
    return cosine, row, label[images], label


def aspect_clusters(
    experiment: Experiment, model: Model, *sides: str
) -> tuple[AspectClusters, np.ndarray]:
    """The aspect clusters of a model, and the cluster int8 [I] of each image of `sides`.

    The images of several sides follow each other.
    """
    sizes = {
        side: load_array(experiment.path(f"extract/sizes/{side}") / SIZES)
        for side in {"train", *sides}
    }
    clusters = find_clusters(sizes["train"], model.aspect)
    return clusters, clusters.assign(np.concatenate([sizes[side] for side in sides]))


def read_label_sets(experiment: Experiment) -> np.ndarray:
    """The clusters of each labelled image: int8 [I, classes], as `image_classes.label_sets`."""
    folder = experiment.path("extract/boxes/train")
    clusters = read_clusters(experiment.path("extract/clusters"))
    return label_sets(
        read_boxes(folder),
        read_image_labels(folder),
        read_hierarchy(experiment.path("extract/hierarchy")),
        clusters.options[:, 0],
        len(clusters),
    )


def num_classes(experiment: Experiment) -> int:
    """The number of categories."""
    return len(read_categories(experiment.path("extract/categories")))


def read_topk(experiment: Experiment, model: str, part: str, prefix: str = "tta") -> TopK:
    """Top-k predictions of a model; prefix "tta" for all views, "center" for the center view."""
    return TopK.load(experiment.path(f"predictions/{model}/{part}"), prefix)


def read_topk_of_all(experiment: Experiment, part: str) -> list[TopK]:
    """Top-k predictions of every model, in the order of the config."""
    return [read_topk(experiment, model, part) for model in experiment.config.classifiers]


def read_partitions(experiment: Experiment, part: str) -> Iterator[Partition]:
    """The products of a part in partitions: of those to classify, nothing else is in memory."""
    splits = read_splits(experiment.path("extract/splits"))
    catalog = catalog_of_part(experiment, part)
    if part == "test":
        labelled, num_products = None, len(catalog.product_id)
        num_images = len(catalog.image_product)
    else:
        labelled = splits.products(part)
        num_products, num_images = len(labelled), int(catalog.image_count[labelled].sum())
    first = 0
    for some in partitions(num_products):
        catalog = catalog_of_part(experiment, part)
        products = np.arange(some.start, some.stop) if labelled is None else labelled[some]
        query = make_query(catalog, products)
        images = slice(first, first + len(query.images))
        first = images.stop
        yield Partition(catalog, query, images, num_images)


def topks_of_partition(
    experiment: Experiment, models: Iterable[str], part: str, some: Partition
) -> list[TopK]:
    """Predictions of the images of a partition by each model.

    Raises UserError if the predictions of a model are of other images.
    """
    topks = []
    for model in models:
        folder = experiment.path(f"predictions/{model}/{part}")
        topk = TopK.load(folder, rows=some.images).for_products(some.query.products)
        check_topks(some.query, [topk], [model])
        topks.append(topk)
        num_images = len(map_array(folder / "image.npy"))
        if num_images != some.num_images:
            raise UserError(wrong_images(model, num_images, some.num_images))
    return topks


def read_candidates(experiment: Experiment, part: str) -> CandidateRows:
    """The candidate rows of a part, as stage 04 wrote them."""
    folder = experiment.path(f"features/candidates/{part}")
    product, class_id, fold = (
        load_array(folder / f"{n}.npy") for n in ("product", "class_id", "fold")
    )
    is_test = part == "test"
    target = np.full(len(product), -1, np.int8) if is_test else load_array(folder / "target.npy")
    return CandidateRows(product, class_id, fold, target)


def all_members(experiment: Experiment) -> list[Member]:
    """The networks of every model, then `all_boosters`."""
    networks = [Member(name, "l1", "network") for name in experiment.config.classifiers]
    return networks + all_boosters(experiment)


def all_boosters(experiment: Experiment) -> list[Member]:
    """Every booster of every source and layer, in the order of the stages."""
    config = experiment.config
    return [
        Member(source, layer, booster)
        for source in config.sources
        for layer, boosters in config.layers(source).items()
        for booster in boosters
    ]


def read_scores(
    experiment: Experiment, member: Member, part: str, rows: slice = slice(None)
) -> np.ndarray:
    """float32 [R]: out-of-fold scores on the part that trains the boosters, else the mean over
    the fold models. Of a model, `_network_scores`. Of some rows of the part, whole products, or of
    all."""
    source, layer, booster = member
    if layer == "l1":
        return _network_scores(experiment, source, part, rows)
    if part == experiment.config.stack_part:
        oof = map_array(experiment.path(f"stack/{source}/{layer}/{booster}") / "oof.npy")
        return np.array(oof[rows])
    folder = experiment.path(f"scores/{source}/{layer}/{part}")
    names = read_json(folder / "names.json", booster)
    return np.array(map_array(folder / "scores.npy")[rows, names.index(booster)])


def _network_scores(experiment: Experiment, model: str, part: str, rows: slice) -> np.ndarray:
    """Geometric mean of a model's probabilities over the images of each candidate row's product:
    float32 [R], 0 where a product has no image that the model sees."""
    candidates = experiment.path(f"features/candidates/{part}")
    product, class_id = (
        np.array(map_array(candidates / f"{name}.npy")[rows]) for name in ("product", "class_id")
    )
    query = make_query(catalog_of_side(experiment, side_of(part)), np.unique(product))
    folder = experiment.path(f"predictions/{model}/{part}")
    images = map_array(folder / "image.npy")
    first = int(np.searchsorted(images, query.images[:1]).sum())  # 0 for no image
    topk = TopK.load(folder, rows=slice(first, first + len(query.images)))
    check_topks(query, [topk], [model])
    query_row = np.searchsorted(query.products, product)
    return geometric_mean(query, topk, query_row, class_id, num_classes(experiment))
