"""Faults of boxes and of verified labels that contradict the tree of classes, or each other.

- Two boxes of one object: of a class, and of a class above it, as Car and Vehicle. People who
  verified one class did not see the boxes of the other. The deeper class says more and stays.
- A class is in an image with all classes above it, so a label implies those above it; a label
  without them is mended.
- A class that people saw in an image, of which the image has no box, nor one of a class below it,
  has a box missing. This cannot be mended, and says that the absence of a box is no proof.
"""

from typing import NamedTuple

import numpy as np

from lib.data.openimages.boxes import Boxes, ImageLabels
from lib.data.openimages.hierarchy import TOP, Hierarchy


class Pairs(NamedTuple):
    """Pairs of an image and a class, ascending and each once: image int32, class_row int16."""

    image: np.ndarray
    class_row: np.ndarray

    @classmethod
    def of_keys(cls, keys: np.ndarray, num_classes: int) -> "Pairs":
        """Pairs of the numbers image * num_classes + class_row, int64."""
        image, class_row = np.divmod(keys, num_classes)
        return cls(image.astype(np.int32), class_row.astype(np.int16))


def implied_labels(labels: ImageLabels, hierarchy: Hierarchy) -> Pairs:
    """The classes that the labels of an image imply and that no label of it names."""
    num_classes = len(hierarchy)
    present = labels.present == 1
    image, class_row = labels.image[present], labels.class_row[present]
    implied = _keys(*_above(image, class_row, hierarchy), num_classes)
    named = _keys(labels.image, labels.class_row, num_classes)
    return Pairs.of_keys(np.setdiff1d(implied, named), num_classes)


def labels_without_a_box(labels: ImageLabels, boxes: Boxes, hierarchy: Hierarchy) -> Pairs:
    """The deepest classes that people saw in an image, and of which the image has no box."""
    num_classes = len(hierarchy)
    seen = labels.present == 1
    image, class_row = labels.image[seen], labels.class_row[seen]
    if len(image) == 0:  # most tables of boxes have no table of labels
        return Pairs(image, class_row)
    boxed = np.union1d(
        _keys(boxes.image, boxes.class_row, num_classes),
        _keys(*_above(boxes.image, boxes.class_row, hierarchy), num_classes),
    )
    missing = np.setdiff1d(_keys(image, class_row, num_classes), boxed)
    above = _keys(*_above(*Pairs.of_keys(missing, num_classes), hierarchy), num_classes)
    return Pairs.of_keys(np.setdiff1d(missing, above), num_classes)


def with_labels(labels: ImageLabels, added: Pairs) -> ImageLabels:
    """The labels and further ones that are present, ascending by image."""
    image = np.concatenate([labels.image, added.image])
    class_row = np.concatenate([labels.class_row, added.class_row])
    present = np.concatenate([labels.present, np.ones(len(added.image), np.int8)])
    order = np.argsort(image, kind="stable")
    return ImageLabels(image[order], class_row[order], present[order])


def boxes_of_same_objects(
    columns: dict[str, np.ndarray], hierarchy: Hierarchy, min_iou: float
) -> np.ndarray:
    """Which boxes are of an object that has another box of a class below theirs: bool [B].

    columns: image, class_row, x_min, x_max, y_min, y_max of each box, ascending by image.
    min_iou: two boxes of an image with at least this IoU are of one object.

    Boxes are compared in the order of their areas: two boxes of this IoU have areas of at least
    this ratio, so each box is compared with a few neighbors.
    """
    is_above = hierarchy.is_above
    related = np.asarray(is_above.any(axis=0) | is_above.any(axis=1))
    box = np.flatnonzero(related[columns["class_row"]])
    image, class_row = (columns[name][box] for name in ("image", "class_row"))
    corners = [
        columns[name][box].astype(np.float64) for name in ("x_min", "x_max", "y_min", "y_max")
    ]
    x_min, x_max, y_min, y_max = corners
    area = (x_max - x_min) * (y_max - y_min)
    order = np.lexsort((area, image))
    shallower = np.zeros(len(columns["image"]), bool)
    place = np.arange(len(order))
    lag = 1
    while len(place):
        place = place[place + lag < len(order)]
        first, second = order[place], order[place + lag]
        near = (image[first] == image[second]) & (area[first] >= min_iou * area[second])
        place, first, second = place[near], first[near], second[near]
        overlap = _overlap(x_min, x_max, first, second) * _overlap(y_min, y_max, first, second)
        same = overlap >= min_iou * (area[first] + area[second] - overlap)
        for one, other in ((first[same], second[same]), (second[same], first[same])):
            shallower[box[one[is_above[class_row[one], class_row[other]]]]] = True
        lag += 1
    return shallower


def _above(
    image: np.ndarray, class_row: np.ndarray, hierarchy: Hierarchy
) -> tuple[np.ndarray, np.ndarray]:
    """(image, class) of all classes above those of the pairs."""
    images, classes = [image[:0]], [class_row[:0]]
    while len(image):
        upper = hierarchy.parent[class_row]
        image, class_row = image[upper != TOP], upper[upper != TOP]
        images.append(image)
        classes.append(class_row)
    return np.concatenate(images), np.concatenate(classes)


def _keys(image: np.ndarray, class_row: np.ndarray, num_classes: int) -> np.ndarray:
    """int64, ascending and each once: one number for a pair."""
    return np.unique(image.astype(np.int64) * num_classes + class_row)


def _overlap(
    low: np.ndarray, high: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Length that two intervals share: float64."""
    return np.maximum(
        np.minimum(high[first], high[second]) - np.maximum(low[first], low[second]), 0
    )
