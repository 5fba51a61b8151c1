"""Stage 04: candidate rows, one for each (product, possible class), and their feature tables.

    work/<name>/features/candidates/<part>   the rows, and features that all sources share
    work/<name>/features/neighbors/<part>    features of the nearest labelled images
    work/<name>/features/attributes/<part>   features of brands, prices and the like
    work/<name>/features/<source>/<part>     features of one model, of their mean, or of all

All sources share one table of candidates, so members of a blend are arrays of the same rows.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.schema import Config, Features, as_dict, fold_names
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs, side_of
from lib.pipeline.graph import Graph
from lib.stages.attributes.features import (
    attribute_classes,
    attribute_inputs,
    declare_attribute_features,
)

if TYPE_CHECKING:
    import numpy as np

    from lib.data.catalog import Catalog
    from lib.features.embedding_knn import FoldIndex
    from lib.features.query import Query
    from lib.features.visibility import PartInputs
    from lib.inference.topk import TopK

NAME, SCRIPT, PARALLEL = "features", "04_features.py", False


def declare(graph: Graph) -> list[Artifact]:
    """The artifacts of this stage."""
    experiment, config = graph.experiment, graph.experiment.config
    artifacts: list[Artifact] = []
    if config.multi_label:  # a candidate row is of a product that has one class
        return artifacts
    for part in experiment.parts:
        artifacts.append(_declare_candidates(graph, part))
        if config.predict.embed_models:
            artifacts.append(_declare_neighbors(graph, part))
        if config.data.attribute_columns:
            artifacts.append(declare_attribute_features(graph, part))
        for source in config.sources:
            artifacts.append(_declare_source(graph, source, part))
    return artifacts


def _declare_candidates(graph: Graph, part: str) -> Artifact:
    experiment, config = graph.experiment, graph.experiment.config
    sides = _sides(part)
    return graph.add(
        f"features/candidates/{part}",
        partial(build_candidates, experiment, part),
        settings={
            "features": _feature_settings(config, bool(config.data.attribute_columns)),
            "stack_part": config.stack_part,
        },
        inputs=[
            "extract/ids",
            *attribute_inputs(experiment, part),
            *_catalog_inputs(experiment, part),
            *(f"predictions/{name}/{part}" for name in config.classifiers),
            *(f"extract/phash/{side}" for side in (sides if config.features.use_phash else ())),
        ],
        version=4,
    )


def _declare_neighbors(graph: Graph, part: str) -> Artifact:
    experiment, config = graph.experiment, graph.experiment.config
    return graph.add(
        f"features/neighbors/{part}",
        partial(build_neighbors, experiment, part),
        settings={
            "similar_id_windows": config.features.similar_id_windows,
            "of": config.predict.embed_models,
        },
        inputs=[
            "extract/ids",
            f"features/candidates/{part}",
            *_catalog_inputs(experiment, part),
        ],
        version=2,
    )


def _declare_source(graph: Graph, source: str, part: str) -> Artifact:
    config = graph.experiment.config
    models = [source] if source in config.classifiers else list(config.classifiers)
    return graph.add(
        f"features/{source}/{part}",
        partial(build_source, graph.experiment, source, part),
        settings={
            "features": _feature_settings(config, False),
            "weights": config.model_weights if source == "mean" else {},
        },
        inputs=[
            f"features/candidates/{part}",
            *(f"predictions/{name}/{part}" for name in models),
        ],
        version=2,
    )


def _feature_settings(config: Config, has_attributes: bool) -> dict[str, Any]:
    """The settings of features that a table depends on; older runs know no attributes."""
    skip = () if has_attributes else ("attribute_k",)
    return as_dict(config.features, "similar_id_windows", *skip)


def _sides(part: str) -> tuple[str, ...]:
    """The sides of the catalog that features of a part are built from."""
    return ("train", "test") if part == "test" else ("train",)


def _catalog_inputs(experiment: Experiment, part: str) -> list[str]:
    """Index, splits and embeddings of the part's side and of train."""
    config = experiment.config
    embeddings = [
        f"embeddings/{name}/{fold}/{side}"
        for name in config.predict.embed_models
        for fold in fold_names(config.models[name])
        for side in _sides(part)
    ]
    return [*catalog_inputs(*_sides(part)), "extract/splits", *embeddings]


def build_candidates(experiment: Experiment, part: str, folder: Path) -> dict[str, Any]:
    """Write the candidate rows of a part and the features that all sources share."""
    from lib.features import build

    stack_part = experiment.config.stack_part
    return build.build_candidates(folder, _candidate_inputs(experiment, part), stack_part)


def _candidate_inputs(experiment: Experiment, part: str) -> Iterator["PartInputs"]:
    """What the candidates of each partition of a part are computed from."""
    from lib.data.catalog import read_splits
    from lib.features.visibility import PartInputs
    from lib.stages.read import (
        catalog_of_part,
        num_classes,
        read_partitions,
        topks_of_partition,
    )

    features, models = _usable_features(experiment), experiment.config.classifiers
    splits = read_splits(experiment.path("extract/splits"))
    labelled, classes = catalog_of_part(experiment, "train"), num_classes(experiment)
    of_attributes = _classes_of_attributes(experiment, part)
    first = 0
    for some in read_partitions(experiment, part):
        last = first + len(some.query.products)
        yield PartInputs(
            features,
            part,
            labelled,
            splits,
            some.catalog,
            some.query,
            classes,
            topks_of_partition(experiment, models, part, some),
            knn_classes=_classes_of_neighbors(experiment, part, labelled, some.query),
            perceptual_hashes=_perceptual_hashes(experiment, part),
            attribute_classes=None if of_attributes is None else of_attributes[first:last],
        )
        first = last


def _usable_features(experiment: Experiment) -> Features:
    """The settings of features, without those of ids where ids say nothing of nearby ids."""
    from lib.stages.read import ids_are_comparable

    features = experiment.config.features
    if ids_are_comparable(experiment):
        return features
    return replace(features, id_windows=(), id_neighbors=0, similar_id_windows=())


def _perceptual_hashes(
    experiment: Experiment, part: str
) -> tuple["np.ndarray", "np.ndarray"] | None:
    """uint64 [I, 2] of the images of train, and of the part's side, memory-mapped; None if
    switched off."""
    import numpy as np

    from lib.pipeline.reading import map_array

    if not experiment.config.features.use_phash:
        return None
    paths = [experiment.path(f"extract/phash/{side}") for side in ("train", side_of(part))]
    train, query = (np.asarray(map_array(path / "phash.npy")) for path in paths)
    return train, query


def _classes_of_neighbors(
    experiment: Experiment, part: str, labelled: "Catalog", query: "Query"
) -> list["np.ndarray"]:
    """Classes of the nearest labelled images: int16 [images, k] for each model with embeddings."""
    from lib.features import embedding_knn

    config = experiment.config
    if not config.predict.embed_models or not config.features.knn_k:
        return []
    return [
        embedding_knn.propose_classes(
            _fold_indexes(experiment, name, part, query),
            labelled,
            query,
            config.features.knn_k,
            config.run,
        )
        for name in config.predict.embed_models
    ]


def _classes_of_attributes(experiment: Experiment, part: str) -> "np.ndarray | None":
    """Classes that go with the attributes of the part's products; None if there are none."""
    import numpy as np

    from lib.data.catalog import read_splits
    from lib.stages.read import catalog_of_part

    if not experiment.config.data.categorical_columns:
        return None
    splits = read_splits(experiment.path("extract/splits"))
    num_products = len(catalog_of_part(experiment, part).product_id)
    products = np.arange(num_products) if part == "test" else splits.products(part)
    return attribute_classes(experiment, part, products)


def build_neighbors(experiment: Experiment, part: str, folder: Path) -> dict[str, Any]:
    """Write features of the nearest labelled images, for every model with embeddings."""
    from lib.features.build import read_rows
    from lib.features.embedding_knn import knn_features
    from lib.features.similar_ids import similar_id_features
    from lib.features.table import Columns, TableWriter
    from lib.stages.read import catalog_of_part, read_partitions

    config, windows = experiment.config, _usable_features(experiment).similar_id_windows
    labelled, num_rows = catalog_of_part(experiment, "train"), 0
    candidates = experiment.path(f"features/candidates/{part}")
    with TableWriter(folder) as table:
        for some in read_partitions(experiment, part):
            rows = read_rows(candidates, some.query)
            columns: Columns = {}
            for name in config.predict.embed_models:
                indexes = _fold_indexes(experiment, name, part, some.query)
                columns |= knn_features(indexes, labelled, some.query, *rows, name, config.run)
                columns |= similar_id_features(
                    indexes, labelled, some.catalog, some.query, *rows, windows, name
                )
            table.append(columns)
            num_rows += len(rows[0])
    return {"rows": num_rows, "columns": len(table.names)}


def _fold_indexes(
    experiment: Experiment, name: str, part: str, query: "Query"
) -> list["FoldIndex"]:
    """For each network of a model: its embeddings, and which products it may be queried with."""
    from lib.data.catalog import read_splits
    from lib.features import embedding_knn
    from lib.pipeline.reading import map_array

    model = experiment.config.models[name]
    splits = read_splits(experiment.path("extract/splits"))

    def embeddings(fold: str, side: str) -> "np.ndarray":
        return map_array(experiment.path(f"embeddings/{name}/{fold}/{side}") / "embeddings.npy")

    assignments = embedding_knn.fold_assignments(splits, model.n_folds, part, query.products)
    return [
        embedding_knn.FoldIndex(
            embeddings(fold, "train"), embeddings(fold, side_of(part)), *assignment
        )
        for fold, assignment in zip(fold_names(model), assignments, strict=True)
    ]


def build_source(experiment: Experiment, source: str, part: str, folder: Path) -> dict[str, Any]:
    """Write the features of one model, of the mean of all models, or of all side by side.

    The mean first and stacking after, or stacking each model and the mean last: the two orders of
    the 5th-place write-up, and its "multi".
    """
    from lib.features import build
    from lib.features.network import weighted_mean
    from lib.stages.read import num_classes, read_partitions, topks_of_partition

    config, classes = experiment.config, num_classes(experiment)
    models = [source] if source in config.classifiers else list(config.classifiers)
    weights = list(config.model_weights.values())

    def predictions() -> Iterator[tuple["Query", list["TopK"]]]:
        for some in read_partitions(experiment, part):
            topks = topks_of_partition(experiment, models, part, some)
            yield (
                some.query,
                [weighted_mean(topks, weights, classes)] if source == "mean" else topks,
            )

    candidates = experiment.path(f"features/candidates/{part}")
    names = ["mean"] if source == "mean" else models
    return build.build_source(folder, config.features, candidates, predictions(), names, classes)
