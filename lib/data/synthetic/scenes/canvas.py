"""The canvas of a scene: layers painted over each other, and which object each pixel shows."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from lib.data.synthetic.scenes.pictures.cutout import OPAQUE, Cutout

NO_OBJECT = -1  # a layer that is no object, such as a sheet of paper; the background
PixelBox = tuple[int, int, int, int]  # x_min, x_max, y_min, y_max; maxima are exclusive


@dataclass(frozen=True)
class Layer:
    """A cutout at its place: (x, y) of its upper left pixel, which may lie outside the image.

    object: the number of the object that it shows, or NO_OBJECT.
    """

    object: int
    cutout: Cutout
    x: int
    y: int


@dataclass
class Canvas:
    """A background, uint8 [h, w, 3], and the layers on it, the hindmost first."""

    background: np.ndarray
    layers: list[Layer] = field(default_factory=list)

    def paint(self, without: frozenset[int] = frozenset()) -> tuple[np.ndarray, np.ndarray]:
        """(image uint8 [h, w, 3], objects int16 [h, w]: the number of what each pixel shows).

        without: numbers of objects that are left out.
        """
        image = self.background.copy()
        objects = np.full(image.shape[:2], NO_OBJECT, np.int16)
        for layer in self.layers:
            if layer.object in without and layer.object != NO_OBJECT:
                continue
            place, inner = self._overlap(layer)
            alpha = layer.cutout.alpha[inner]
            weight = alpha.astype(np.float32)[:, :, None] / 255
            behind = image[place].astype(np.float32)
            front = layer.cutout.image[inner].astype(np.float32)
            image[place] = np.rint(behind + weight * (front - behind)).astype(np.uint8)
            objects[place][alpha >= OPAQUE] = layer.object
        return image, objects

    def _overlap(self, layer: Layer) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The part of the image that a layer covers, and the part of the layer that shows there."""
        (height, width), (rows, columns) = self.background.shape[:2], layer.cutout.alpha.shape
        y0, y1 = np.clip([layer.y, layer.y + rows], 0, height).tolist()
        x0, x1 = np.clip([layer.x, layer.x + columns], 0, width).tolist()
        return np.s_[y0:y1, x0:x1], np.s_[y0 - layer.y : y1 - layer.y, x0 - layer.x : x1 - layer.x]

    def outline(self, number: int) -> np.ndarray:
        """bool [h, w]: the rectangles of the layers of an object, or else the whole image."""
        covered = np.zeros(self.background.shape[:2], bool)
        for layer in self.layers:
            if layer.object == number:
                covered[self._overlap(layer)[0]] = True
        return covered if covered.any() else ~covered

    def areas(self, numbers: Collection[int]) -> tuple[int, int]:
        """Pixels of some objects together, hidden ones included: all, and those in the image."""
        height, width = self.background.shape[:2]
        layers = [layer for layer in self.layers if layer.object in numbers]
        y0 = min([0, *(layer.y for layer in layers)])
        x0 = min([0, *(layer.x for layer in layers)])
        y1 = max([height, *(layer.y + layer.cutout.alpha.shape[0] for layer in layers)])
        x1 = max([width, *(layer.x + layer.cutout.alpha.shape[1] for layer in layers)])
        covered = np.zeros((y1 - y0, x1 - x0), bool)
        for layer in layers:
            rows, columns = layer.cutout.alpha.shape
            place = np.s_[layer.y - y0 : layer.y - y0 + rows, layer.x - x0 : layer.x - x0 + columns]
            covered[place] |= layer.cutout.alpha >= OPAQUE
        return int(covered.sum()), int(covered[-y0 : height - y0, -x0 : width - x0].sum())


def extent(shown: np.ndarray) -> PixelBox | None:
    """The box around the pixels that are set in bool [h, w]; None if none is."""
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
