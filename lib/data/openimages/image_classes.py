"""The class that stands for an image: of its boxes, or of its verified labels."""

from typing import Literal

import numpy as np

from lib.data.openimages.boxes import Boxes, ImageLabels

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


def _set_last(classes: np.ndarray, image: np.ndarray, class_row: np.ndarray) -> None:
    """Give each image the last of its classes; image: ascending."""
    last = np.flatnonzero(np.append(image[1:] != image[:-1], True)[: len(image)])
    classes[image[last]] = class_row[last]
