"""Stage 01 of source = "openimages": the tree of classes, annotations, clusters and boxes.

work/<name>/extract/hierarchy           the classes, each in one place of the tree
work/<name>/extract/annotations/<side>  the images of the tables, with their boxes and labels
work/<name>/extract/clusters            the clusters, which are the categories
work/<name>/extract/boxes/<side>        the boxes of the images of the catalog, with their clusters
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from lib.config.clusters import Clusters
from lib.config.schema import as_dict
from lib.data.sources.source_files import annotation_files, hierarchy_files, source_kind
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph

logger = logging.getLogger(__name__)

# Keys of [clusters] that these artifacts depend on; the clusters depend on all.
HIERARCHY_KEYS = ("mend", "place", "parents")
BOX_KEYS = ("mend", "same_object_iou", "use_image_labels")
LABEL_SET_KEYS = ("multi_label", "unannotated_weight")  # of the networks and their scores


def is_annotated(experiment: Experiment, side: str) -> bool:
    """Whether a side is made of tables of boxes."""
    return source_kind(experiment, side) == "openimages"


def annotation_inputs(experiment: Experiment, side: str) -> list[str]:
    """The artifacts that the products and labels of a side come from; [] for other sources."""
    if not is_annotated(experiment, side):
        return []
    return ["extract/hierarchy", "extract/clusters", f"extract/annotations/{side}"]


def declare_annotations(graph: Graph) -> None:
    """Declare what the categories and the index are made of."""
    experiment = graph.experiment
    data = experiment.config.data
    scenes: dict[str, Artifact | Path] = {}
    if experiment.config.composes_train:
        scenes["scenes"] = graph.artifacts["extract/scenes"]
    hierarchy, descriptions = hierarchy_files(experiment)
    graph.add(
        "extract/hierarchy",
        partial(build_hierarchy, experiment),
        settings=_settings(experiment.config.clusters, *HIERARCHY_KEYS),
        files=scenes or {"hierarchy": hierarchy, "class_descriptions": descriptions},
    )
    for side in experiment.sides:
        if not is_annotated(experiment, side):
            continue
        files = annotation_files(experiment, side)
        users: dict[str, Artifact | Path] = {path.name: path for path in files.tables}
        users |= {"images": files.image_root} if users else {}
        graph.add(
            f"extract/annotations/{side}",
            partial(build_side_annotations, experiment, side),
            settings={
                **_settings(experiment.config.clusters, *BOX_KEYS),
                "images_root": data.images_root,
                "sha256": {
                    path.name: data.sha256[path.name]
                    for path in files.tables
                    if path.name in data.sha256
                },
            },
            files=users | (scenes if side == "train" else {}),
            inputs=["extract/hierarchy"],
        )
    graph.add(
        "extract/clusters",
        partial(build_cluster_table, experiment),
        settings=as_dict(
            experiment.config.clusters, "place", "parents", "same_object_iou", *LABEL_SET_KEYS
        ),
        inputs=["extract/hierarchy", "extract/annotations/train"],
    )


def declare_boxes(graph: Graph) -> None:
    """Declare the boxes of every side that has any; after the index and what can be decoded."""
    for side in graph.experiment.sides:
        if is_annotated(graph.experiment, side):
            graph.add(
                f"extract/boxes/{side}",
                partial(build_boxes, graph.experiment, side),
                inputs=["extract/clusters", f"extract/annotations/{side}", *catalog_inputs(side)],
            )


def _settings(clusters: Clusters, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in as_dict(clusters).items() if key in keys}


def build_hierarchy(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Give every class one place, and list the fixes."""
    from lib.data.openimages.hierarchy import write_hierarchy
    from lib.data.openimages.places import read_hierarchy_file

    files = hierarchy_files(experiment)
    hierarchy, fixes = read_hierarchy_file(*files, experiment.config.clusters)
    write_hierarchy(folder, hierarchy, fixes)
    return {
        "classes": len(hierarchy),
        "places": len(hierarchy.node_class),
        "on_top": int((hierarchy.level == 0).sum()),
        "parts": int((hierarchy.part_of >= 0).sum()),
        "fixes": len(fixes),
    }


def build_side_annotations(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Read the tables of a side, and find the files of their images."""
    from lib.data.checksum import verify_checksum
    from lib.data.openimages.annotations import Limits, build_annotations
    from lib.data.openimages.hierarchy import read_hierarchy

    data, files = experiment.config.data, annotation_files(experiment, side)
    for path in files.tables:
        verify_checksum(path, data.sha256)
    hierarchy = read_hierarchy(experiment.path("extract/hierarchy"))
    limits = Limits(data.max_bad_fraction, data.max_missing_fraction)
    return build_annotations(folder, files, hierarchy, experiment.config.clusters, limits)


def build_cluster_table(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Choose the clusters by the images of the classes."""
    from lib.data.openimages.annotations import read_annotations
    from lib.data.openimages.cluster_table import build_clusters
    from lib.data.openimages.hierarchy import read_hierarchy

    hierarchy = read_hierarchy(experiment.path("extract/hierarchy"))
    annotations = read_annotations(experiment.path("extract/annotations/train"))
    facts = build_clusters(folder, annotations, hierarchy, experiment.config.clusters)
    logger.info(
        "%d clusters cover %.1f %% of %d images: %.1f %% level 0, %.1f %% level 1, %.1f %% deeper",
        facts["clusters"],
        100 * facts["coverage"],
        facts["images"],
        100 * facts["level0"],
        100 * facts["level1"],
        100 * (facts["level2"] + facts["deeper"]),
    )
    return facts


def build_boxes(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Bring the boxes of a side to the rows of its catalog, with the cluster of each."""
    from lib.data.openimages.annotations import read_annotations
    from lib.data.openimages.boxes import write_boxes, write_image_labels
    from lib.data.openimages.cluster_table import read_clusters
    from lib.data.openimages.listing import boxes_of_catalog, labels_of_catalog
    from lib.stages.read import catalog_of_side

    annotations = read_annotations(experiment.path(f"extract/annotations/{side}"))
    catalog = catalog_of_side(experiment, side)
    clusters = read_clusters(experiment.path("extract/clusters"))
    boxes = boxes_of_catalog(annotations, catalog, clusters.of_boxes(annotations))
    write_boxes(folder, boxes)
    facts = {"images": boxes.num_images, "boxes": len(boxes)}
    if annotations.labels is not None:
        labels = labels_of_catalog(annotations, catalog)
        write_image_labels(folder, labels)
        facts["image_labels"] = len(labels.image)
    return facts
