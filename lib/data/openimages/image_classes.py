"""The class that stands for an image, and its set of clusters, by boxes or verified labels."""

from typing import Literal

import numpy as np

from lib.data.openimages.boxes import Boxes, ImageLabels
from lib.data.openimages.faults import labels_without_a_box
from lib.data.openimages.hierarchy import Hierarchy
from lib.data.openimages.masks.channels import verified_absent

NONE = -1


def class_of_images(
    boxes: Boxes, label_by: Literal["largest", "frequent"], usable: np.ndarray | None = None
) -> np.ndarray:
    """The class that stands for each image: int16 [num_images]; -1 for an image without one.

    label_by: "largest": the class of the box with the largest area. "frequent": the class with the
    most boxes, of equal ones that with the larger area in all. Of equal boxes or classes, the first
    row counts.
    usable: bool [B], the boxes that may decide; None: all.
    """
    rows = np.arange(len(boxes)) if usable is None else np.flatnonzero(usable)
    image, class_row = boxes.image[rows], boxes.class_row[rows].astype(np.int64)
    area = boxes.area()[rows].astype(np.float64)
    classes = np.full(boxes.num_images, NONE, np.int16)
    if label_by == "largest":
        order = np.lexsort((-rows, area, image))
        _set_last(classes, image[order], class_row[order])
        return classes
    key = image.astype(np.int64) * (np.iinfo(np.int16).max + 1) + class_row
    distinct, inverse = np.unique(key, return_inverse=True)
    image, class_row = np.divmod(distinct, np.iinfo(np.int16).max + 1)
    count = np.bincount(inverse, minlength=len(distinct))
    total = np.bincount(inverse, area, minlength=len(distinct))
    order = np.lexsort((-class_row, total, count, image))
    _set_last(classes, image[order], class_row[order])
    return classes


def class_of_labels(
    labels: ImageLabels, level: np.ndarray, usable: np.ndarray, num_images: int
) -> np.ndarray:
    """The deepest class that people verified to be in each image: int16 [num_images]; -1 for none.

    level: int8 [C]. usable: bool [C], the classes that may be it. Of equal ones the first row
    counts.
    """
    rows = np.flatnonzero((labels.present == 1) & usable[labels.class_row])
    image, class_row = labels.image[rows], labels.class_row[rows].astype(np.int64)
    classes = np.full(num_images, NONE, np.int16)
    order = np.lexsort((-class_row, level[class_row], image))
    _set_last(classes, image[order], class_row[order])
    return classes


def label_sets(
    boxes: Boxes,
    labels: ImageLabels | None,
    hierarchy: Hierarchy,
    cluster_of_class: np.ndarray,
    num_clusters: int,
) -> np.ndarray:
    """The clusters of each image: int8 [num_images, num_clusters].

    1: a box is of the cluster, or the deepest of the verified labels that no box shows; a label of
    a class above it says nothing more. 0: all classes of the cluster are verified to be absent, or
    are below one that is. -1: nobody looked for it.
    cluster_of_class: int16 [C], -1 for none.
    """
    sets = np.full((boxes.num_images, num_clusters), NONE, np.int8)
    if labels is not None:
        own = np.arange(len(hierarchy))
        above = np.append(cluster_of_class, NONE)[hierarchy.parent]
        tops = own[(cluster_of_class >= 0) & (cluster_of_class != above)]
        absent = verified_absent(hierarchy, labels, boxes.num_images, tops)
        for cluster in range(num_clusters):
            sets[absent[:, cluster_of_class[tops] == cluster].all(axis=1), cluster] = 0
        deepest = labels_without_a_box(labels, boxes, hierarchy)
        cluster = cluster_of_class[deepest.class_row]
        sets[deepest.image[cluster >= 0], cluster[cluster >= 0]] = 1
    boxed = boxes.cluster >= 0
    sets[boxes.image[boxed], boxes.cluster[boxed]] = 1
    return sets


def _set_last(classes: np.ndarray, image: np.ndarray, class_row: np.ndarray) -> None:
    """Give each image the last of its classes; image: ascending."""
    last = np.flatnonzero(np.append(image[1:] != image[:-1], True)[: len(image)])
    classes[image[last]] = class_row[last]
