"""The clusters of a catalog: chosen from its images, edited by the config, and written as a table.

    table.arrow  name, key, level int8, class int16, images int64; a row is a class_id
    options.npy  int16 [C, n]: the clusters of each class, -1 for none

The key of a cluster is its path in the tree, such as Vehicle/Land vehicle/Car; clusters are sorted
by it, as the categories are. "class" is the class that names a cluster; -1 if it is merged.

Mended classes have one place and so one cluster. Without mending, a class that stands in several
clusters has all of them, and each image takes one by the digest of its ImageID: this is what a
table gives that is joined with all places of the classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from lib.config.clusters import Clusters
from lib.data.catalog import read_table, write_table
from lib.data.openimages.annotations import Annotations
from lib.data.openimages.cluster_choice import (
    NO_CLUSTER,
    Choice,
    choose_clusters,
    cluster_of_classes,
)
from lib.data.openimages.hierarchy import TOP, Hierarchy
from lib.data.openimages.image_classes import class_of_images, class_of_labels
from lib.errors import UserError

CLUSTERS, OPTIONS = "table.arrow", "options.npy"


@dataclass(frozen=True)
class ClusterTable:
    """Clusters [K], sorted by key; a cluster is a class_id.

    names: such as Car. keys: paths such as Vehicle/Land vehicle/Car. level: int8 [K], of the class
    that a cluster is named after; of a merged one, of its first member. class_row: int16 [K], that
    class, -1 if merged. images: int64 [K], labelled images. options: int16 [C, n], the clusters of
    each class.
    """

    names: list[str]
    keys: list[str]
    level: np.ndarray
    class_row: np.ndarray
    images: np.ndarray
    options: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def of_boxes(self, annotations: Annotations) -> np.ndarray:
        """The cluster of each box: int16 [B], -1 for none."""
        boxes = annotations.boxes
        return self._choose(annotations, boxes.class_row, boxes.image)

    def of_images(
        self, annotations: Annotations, hierarchy: Hierarchy, settings: Clusters
    ) -> np.ndarray:
        """The cluster that is the label of each image: int16 [I], -1 for none."""
        classes = _class_of_images(annotations, hierarchy, settings, self.options[:, 0] >= 0)
        labelled = np.flatnonzero(classes >= 0)
        clusters = np.full(len(classes), NO_CLUSTER, np.int16)
        clusters[labelled] = self._choose(annotations, classes[labelled], labelled)
        return clusters

    def _choose(
        self, annotations: Annotations, class_row: np.ndarray, image: np.ndarray
    ) -> np.ndarray:
        """The cluster of a class in an image, by the digest of the image if there are several."""
        if self.options.shape[1] == 1:
            return self.options[class_row, 0]
        digest = np.array([crc32(key.encode()) for key in annotations.keys], np.int64)
        count = np.maximum((self.options >= 0).sum(axis=1), 1)
        return self.options[class_row, digest[image] % count[class_row]]

    def without_empty(self, images: np.ndarray) -> "ClusterTable":
        """The clusters that have images (int64 [K]), numbered anew."""
        kept = images > 0
        number = np.append(np.where(kept, np.cumsum(kept) - 1, NO_CLUSTER), NO_CLUSTER)
        options = number[self.options].astype(np.int16)
        options = np.take_along_axis(options, np.argsort(options < 0, axis=1, kind="stable"), 1)
        rows = np.flatnonzero(kept).tolist()
        return ClusterTable(
            [self.names[row] for row in rows],
            [self.keys[row] for row in rows],
            self.level[kept],
            self.class_row[kept],
            images[kept],
            options,
        )


def build_clusters(
    folder: Path, annotations: Annotations, hierarchy: Hierarchy, settings: Clusters
) -> dict[str, Any]:
    """Choose and write the clusters; returns their number, their coverage and that of each level.

    Raises UserError for settings that name no class, contradict each other, or leave no cluster.
    """
    edits = _Edits.of(hierarchy, settings)
    any_class = np.ones(len(hierarchy), bool)
    classes = _class_of_images(annotations, hierarchy, settings, any_class)
    counts = np.bincount(classes[classes >= 0], minlength=len(hierarchy))
    counts[edits.dropped] = 0
    choice = Choice(
        hierarchy.parent.tolist(),
        hierarchy.level.tolist(),
        counts.tolist(),
        edits.forced,
        edits.dropped,
        settings.max_clusters,
        settings.min_images,
        settings.depth_worth,
    )
    chosen = choose_clusters(choice)
    members: dict[str, list[int]] = {}
    for row in np.flatnonzero(chosen).tolist():
        members.setdefault(edits.merged.get(row, str(row)), []).append(row)
    table = _number(hierarchy, settings, edits, members, chosen)
    labels = table.of_images(annotations, hierarchy, settings)
    table = table.without_empty(np.bincount(labels[labels >= 0], minlength=len(table)))
    if len(table) == 0:
        raise UserError(
            f"clusters.min_images = {settings.min_images}: no class has so many of the"
            f" {len(annotations.keys)} images; lower it"
        )
    _write(folder, table)
    of_level = [int(table.images[table.level == level].sum()) for level in range(3)]
    deeper = int(table.images[table.level > 2].sum())
    total = len(annotations.keys)
    return {
        "clusters": len(table),
        "images": total,
        "coverage": float(table.images.sum() / total),
        **{f"level{level}": count / total for level, count in enumerate(of_level)},
        "deeper": deeper / total,
    }


@dataclass(frozen=True)
class _Edits:
    """forced, dropped: bool [C]. merged: the name of the merged cluster of a class, by its row."""

    forced: np.ndarray
    dropped: np.ndarray
    merged: dict[int, str]

    @classmethod
    def of(cls, hierarchy: Hierarchy, settings: Clusters) -> "_Edits":
        dropped, forced = np.zeros((2, len(hierarchy)), bool)
        for name in settings.drop:
            row = hierarchy.find(name, "clusters.drop")
            dropped |= hierarchy.is_above[row]
            dropped[row] = True
        merged: dict[int, str] = {}
        for group, names in settings.merge.items():
            for name in names:
                row = hierarchy.find(name, f"clusters.merge.{group}")
                if row in merged:
                    raise UserError(f"clusters.merge: {name} is in {merged[row]} and in {group}")
                merged[row] = group
        rows = [hierarchy.find(name, "clusters.split") for name in settings.split]
        forced[[*rows, *merged]] = True
        for row in np.flatnonzero(forced & dropped).tolist():
            raise UserError(
                f"clusters.drop leaves out {hierarchy.names[row]}, which another edit"
                " makes a cluster; name it in one of them"
            )
        return cls(forced, dropped, merged)


def _class_of_images(
    annotations: Annotations, hierarchy: Hierarchy, settings: Clusters, usable: np.ndarray
) -> np.ndarray:
    """The class of each image, int16 [I]: by its boxes, or by its labels if it has none.

    usable: bool [C], the classes that may be it.
    """
    boxes, labels = annotations.boxes, annotations.labels
    classes = class_of_images(boxes, settings.label_by, usable[boxes.class_row])
    if settings.use_image_labels and labels is not None:
        by_label = class_of_labels(labels, hierarchy.level, usable, boxes.num_images)
        unboxed = np.diff(boxes.starts()) == 0
        classes[unboxed] = by_label[unboxed]
    return classes


def _number(
    hierarchy: Hierarchy,
    settings: Clusters,
    edits: _Edits,
    members: dict[str, list[int]],
    chosen: np.ndarray,
) -> ClusterTable:
    """Name the clusters, sort them by key, and give every class its clusters."""
    unknown = dict(settings.rename)
    named = []
    for group, rows in members.items():
        name = group if rows[0] in edits.merged else hierarchy.names[rows[0]]
        shown = unknown.pop(name, name)
        above = [hierarchy.names[row] for row in _common_path(hierarchy, rows)]
        path = [settings.rename.get(name, name) for name in above]
        named.append(("/".join([*path, shown]), shown, rows))
    if unknown:
        known = ", ".join(sorted(name for _, name, _ in named)[:8])
        raise UserError(f"clusters.rename: no cluster {next(iter(unknown))!a}; there are {known}")
    named.sort()
    keys = [key for key, _, _ in named]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"clusters: two clusters are named {twice!a}; rename one of them")
    cluster_of_root = {row: number for number, (_, _, rows) in enumerate(named) for row in rows}
    firsts = [rows[0] for _, _, rows in named]
    merged = np.array([row in edits.merged for row in firsts], bool)
    return ClusterTable(
        names=[name for _, name, _ in named],
        keys=keys,
        level=hierarchy.level[firsts],
        class_row=np.where(merged, TOP, firsts).astype(np.int16),
        images=np.zeros(len(named), np.int64),
        options=_options(hierarchy, settings, chosen, edits.dropped, cluster_of_root),
    )


def _common_path(hierarchy: Hierarchy, rows: Sequence[int]) -> list[int]:
    """The classes above all of these, from the top down."""
    paths = [hierarchy.path(row)[:-1] for row in rows]
    shared = []
    for step in zip(*paths, strict=False):
        if len(set(step)) > 1:
            break
        shared.append(step[0])
    return shared


def _options(
    hierarchy: Hierarchy,
    settings: Clusters,
    chosen: np.ndarray,
    dropped: np.ndarray,
    cluster_of_root: dict[int, int],
) -> np.ndarray:
    """The clusters of each class: int16 [C, n], one column if the classes are mended."""
    number = np.full(len(hierarchy) + 1, NO_CLUSTER, np.int16)  # the last: of no cluster
    number[list(cluster_of_root)] = list(cluster_of_root.values())
    options: list[list[int]] = [[] for _ in hierarchy.labels]
    if settings.mend:
        rows = np.arange(len(hierarchy))
        roots = cluster_of_classes(hierarchy.parent.tolist(), chosen)
    else:
        rows, roots = hierarchy.node_class, _root_of_nodes(hierarchy, chosen)
    for row, root in zip(rows.tolist(), roots.tolist(), strict=True):
        cluster = int(number[root])
        if cluster != NO_CLUSTER and not dropped[row] and cluster not in options[row]:
            options[row].append(cluster)
    width = max(1, *(len(clusters) for clusters in options))
    padded = [clusters + [NO_CLUSTER] * (width - len(clusters)) for clusters in options]
    return np.array(padded, np.int16)


def _root_of_nodes(hierarchy: Hierarchy, chosen: np.ndarray) -> np.ndarray:
    """The nearest class at or above each place that is a cluster: int64 [N]; -1 for none."""
    roots = np.full(len(hierarchy.node_class), NO_CLUSTER, np.int64)
    for node, (row, above) in enumerate(
        zip(hierarchy.node_class.tolist(), hierarchy.node_parent.tolist(), strict=True)
    ):
        roots[node] = row if chosen[row] else roots[above] if above >= 0 else NO_CLUSTER
    return roots


def _write(folder: Path, table: ClusterTable) -> None:
    write_table(
        folder / CLUSTERS,
        {
            "name": pa.array(table.names, pa.string()),
            "key": pa.array(table.keys, pa.string()),
            "level": table.level.astype(np.int8),
            "class": table.class_row.astype(np.int16),
            "images": table.images.astype(np.int64),
        },
    )
    np.save(folder / OPTIONS, table.options)


def read_clusters(folder: Path) -> ClusterTable:
    """The clusters in the folder of the artifact `extract/clusters`."""
    table = read_table(folder / CLUSTERS)
    return ClusterTable(
        table["name"].to_pylist(),
        table["key"].to_pylist(),
        table["level"].to_numpy(),
        table["class"].to_numpy(),
        table["images"].to_numpy(),
        np.load(folder / OPTIONS),
    )
