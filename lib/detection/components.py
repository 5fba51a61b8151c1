"""Boxes out of coarse masks: the connected components of the cells above a threshold

A cell holds the predicted fraction of it that a class covers. So the cells at the border of a
component tell where within them the object ends: a box is finer than the grid. Objects of one class
that touch each other in the grid are one component; they are told apart if a network also draws the
cores of boxes, which do not touch.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from scipy import ndimage

from lib.data.catalog import read_table, write_table
from lib.data.openimages.masks.targets import MAX_LEVEL, shrink_boxes

FILE = "boxes.arrow"
EDGES = ("x_min", "x_max", "y_min", "y_max")
Edges = tuple[float, float, float, float]


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

    def save(self, folder: Path) -> None:
        """Write `boxes.arrow` into the folder."""
        edges = {name: self.box[:, i].astype(np.float32) for i, name in enumerate(EDGES)}
        columns = {"image": self.image.astype(np.int64), "class": self.class_row.astype(np.int16)}
        write_table(folder / FILE, columns | {"score": self.score.astype(np.float32)} | edges)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        table = read_table(folder / FILE)
        image, class_row, score, *edges = (
            table[name].to_numpy() for name in ("image", "class", "score", *EDGES)
        )
        return cls(image, class_row, score, np.stack(edges, 1))

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


class Cores(NamedTuple):
    """Planes uint8 [n, channels, h, w] of the cores of boxes, whose sides are `factor` as long."""

    planes: np.ndarray
    factor: float


def boxes_of_masks(
    masks: np.ndarray,
    images: np.ndarray,
    channels: np.ndarray,
    threshold: float,
    min_cells: int = 1,
    cores: Cores | None = None,
) -> BoxTable:
    """A box for each connected component of cells of at least `threshold`.

    masks: uint8 [n, channels, h, w], probability times 255. images: int64 [n], ascending.
    channels: int [channels], row of the hierarchy of each channel.
    min_cells: smaller components are passed over. cores: where a component holds several of them,
        each is a box of its own.

    Cells are connected through their edges. The score is the mean probability of the component's
    cells, or of those of the core.
    """
    level = max(threshold, 1 / MAX_LEVEL)
    plane = _Planes(masks, level)
    core_plane = None if cores is None else _Planes(cores.planes, level)
    rows = []
    for number, place in enumerate(ndimage.find_objects(plane.labels), 1):
        image, channel = place[0].start, place[1].start
        inside = plane.labels[place] == number
        if inside.sum() < min_cells:
            continue
        box = plane.fine_box(number, place)
        boxes = [(float(plane.probs[place][inside].mean()), box)]
        if cores is not None and core_plane is not None:
            found = np.unique(core_plane.labels[place][inside])
            found = found[found > 0]
            if len(found) > 1:
                boxes = [core_plane.whole(core, plane, cores.factor, box) for core in found]
        rows += [(images[image], channels[channel], score, edges) for score, edges in boxes]
    if not rows:
        return concat_boxes([])
    image, class_row, score, box = zip(*rows, strict=True)
    height, width = masks.shape[2:]
    scale = np.array([width, width, height, height], np.float32)
    return BoxTable(
        np.array(image, np.int64),
        np.array(class_row, np.int16),
        np.array(score, np.float32),
        np.array(box, np.float32) / scale,
    ).sort()


class _Planes:
    """Planes of probabilities, and the number of each cell's component, from 1 on."""

    def __init__(self, planes: np.ndarray, level: float) -> None:
        self.probs = planes.astype(np.float32) / MAX_LEVEL
        structure = np.zeros((3, 3, 3, 3), bool)  # no connection between images or channels
        structure[1, 1] = ndimage.generate_binary_structure(2, 1)
        self.labels, _ = ndimage.label(self.probs >= level, structure)

    @cached_property
    def places(self) -> list[tuple[slice, ...]]:
        """Where each component is."""
        return ndimage.find_objects(self.labels)

    def fine_box(self, number: int, place: tuple[slice, ...]) -> Edges:
        """The edges of a component in cells and parts of cells."""
        image, channel = place[0].start, place[1].start
        labels = self.labels[image, channel]
        own = np.where((labels == number) | (labels == 0), self.probs[image, channel], 0)
        return _fine_box(own, place[2:])

    def whole(
        self, number: int, masks: "_Planes", factor: float, bounds: Edges
    ) -> tuple[float, Edges]:
        """The score and the edges of the object whose core is a component, within `bounds`."""
        place = self.places[number - 1]
        score = float(masks.probs[place][self.labels[place] == number].mean())
        edges = np.array([self.fine_box(number, place)])
        x_min, x_max, y_min, y_max = shrink_boxes(edges, 1 / factor)[0].tolist()
        low_x, high_x, low_y, high_y = bounds
        return score, (max(x_min, low_x), min(x_max, high_x), max(y_min, low_y), min(y_max, high_y))


def _fine_box(probs: np.ndarray, place: tuple[slice, ...]) -> Edges:
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
