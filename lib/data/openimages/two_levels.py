"""Objects that have two boxes, one of a class and one of a class above it, as in Car and Vehicle.

People who verified one class did not see the boxes of the other, so an object may stand in the
table at two levels. The box of the deeper class says more and stays.
"""

import numpy as np

from lib.data.openimages.hierarchy import Hierarchy


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


def _overlap(
    low: np.ndarray, high: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Length that two intervals share: float64."""
    return np.maximum(
        np.minimum(high[first], high[second]) - np.maximum(low[first], low[second]), 0
    )
