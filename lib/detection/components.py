"""Boxes out of coarse masks: the connected components of the cells above a threshold

A cell holds the predicted fraction of it that a class covers. So the cells at the border of a
component tell where within them the object ends: a box is finer than the grid. Objects of one class
that touch each other in the grid are one box.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

MAX_LEVEL = 255  # masks are stored as uint8: the probability times this


@dataclass(frozen=True)
class BoxTable:
    """Boxes of images, in ascending order of the image and then by falling score.

    image: int64 [m], row of the catalog. class_row: int16 [m], row of the hierarchy. score: float32
    [m] in [0, 1]. box: float32 [m, 4], x_min, x_max, y_min, y_max as fractions of the image.
    """

    image: np.ndarray
    class_row: np.ndarray
    score: np.ndarray
    box: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: np.ndarray) -> "BoxTable":
        """The boxes at these rows (int) or where they are True (bool [m]), in their order."""
        return BoxTable(self.image[rows], self.class_row[rows], self.score[rows], self.box[rows])

    def sort(self) -> "BoxTable":
        """In the order that the class promises; equal scores keep theirs."""
        return self.take(np.lexsort((-self.score, self.image)))


def concat_boxes(tables: list[BoxTable]) -> BoxTable:
    """All boxes of several tables, sorted."""
    if not tables:
        empty = np.zeros(0, np.float32)
        return BoxTable(empty.astype(np.int64), empty.astype(np.int16), empty, empty.reshape(0, 4))
    columns = zip(*((t.image, t.class_row, t.score, t.box) for t in tables), strict=True)
    return BoxTable(*(np.concatenate(column) for column in columns)).sort()


def boxes_of_masks(
    masks: np.ndarray,
    images: np.ndarray,
    channels: np.ndarray,
    threshold: float,
    min_cells: int = 1,
    max_boxes: int = 100,
) -> BoxTable:
    """A box for each connected component of cells of at least `threshold`.

    masks: uint8 [n, channels, h, w], probability times 255. images: int64 [n], ascending.
    channels: int [channels], row of the hierarchy of each channel.
    min_cells: smaller components are passed over. max_boxes: of an image, those of highest score.

    Cells are connected through their edges. The score is the mean probability of the component's
    cells.
    """
    height, width = masks.shape[2:]
    probs = masks.astype(np.float32) / MAX_LEVEL
    above = probs >= max(threshold, 1 / MAX_LEVEL)
    structure = np.zeros((3, 3, 3, 3), bool)  # no connection between images or channels
    structure[1, 1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(above, structure)
    numbers = np.arange(1, count + 1)
    sizes = ndimage.sum_labels(above, labels, numbers)
    scores = np.asarray(ndimage.mean(probs, labels, numbers), np.float32).reshape(-1)
    rows = []
    for number, place in enumerate(ndimage.find_objects(labels)):
        if sizes[number] >= min_cells:
            image, channel = place[0].start, place[1].start
            others = above[image, channel] & (labels[image, channel] != number + 1)
            own = np.where(others, 0, probs[image, channel])
            box = _fine_box(own, place[2:])
            rows.append((images[image], channels[channel], scores[number], box))
    if not rows:
        return concat_boxes([])
    image, class_row, score, box = zip(*rows, strict=True)
    scale = np.array([width, width, height, height], np.float32)
    table = BoxTable(
        np.array(image, np.int64),
        np.array(class_row, np.int16),
        np.array(score, np.float32),
        np.array(box, np.float32) / scale,
    ).sort()
    return table.take(_rank_in_image(table.image) < max_boxes)


def _fine_box(probs: np.ndarray, place: tuple[slice, slice]) -> tuple[float, float, float, float]:
    """x_min, x_max, y_min, y_max of a component, in cells and parts of cells.

    probs: float32 [h, w], 0 in other components. place: rows and columns of the component.
    """
    rows, columns = place
    return (*_ends(_profile(probs[rows], 0), columns), *_ends(_profile(probs[:, columns], 1), rows))


def _profile(probs: np.ndarray, axis: int) -> np.ndarray:
    """Largest probability along an axis, relative to the highest of all.

    The middle of an object is covered as a whole, however sure the network is of it.
    """
    profile = probs.max(axis)
    return profile / profile.max()


def _ends(profile: np.ndarray, cells: slice) -> tuple[float, float]:
    """Where an object ends, given the covered fraction of each column (or row) of cells.

    cells: those of the component. Both ends lie in the first or last of them or in the cell beside.
    """
    first, last = cells.start, cells.stop - 1
    before = profile[first - 1] if first > 0 else 0.0
    after = profile[last + 1] if last + 1 < len(profile) else 0.0
    low, high = first + 1 - profile[first] - before, last + profile[last] + after
    if high - low < 0.5:  # both ends in one cell
        low, high = float(first), float(last + 1)
    return float(max(low, 0.0)), float(min(high, len(profile)))


def _rank_in_image(image: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal images, int64 [m]."""
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    return np.arange(len(image)) - np.repeat(starts, np.diff(np.append(starts, len(image))))
