"""Generated pictures: objects drawn for each class, on generated backgrounds.

A class inherits its appearance down the hierarchy (`lib/data/synthetic/images.py`): classes of one
family share colors, children of one parent also outline and texture.
"""

import cv2
import numpy as np

from lib.data.synthetic.images import Appearance, class_appearances, draw_object
from lib.data.synthetic.scenes.class_tree import ClassTree
from lib.data.synthetic.scenes.pictures.cutout import Cutout, trim

NUM_PICTURES = 1_000_000  # of a class: each number draws another
DRAWN_SIDE = 96  # pixels; objects are scaled from it


def tree_appearances(tree: ClassTree, seed: int) -> dict[str, Appearance]:
    """The appearance of each class, which shares that of its parent and of its family."""
    number = {label: row for row, label in enumerate(tree.labels)}
    family = np.array([number[tree.top[label]] for label in tree.labels])
    parent = np.array([number[(*tree.parents(label), label)[0]] for label in tree.labels])
    return dict(zip(tree.labels, class_appearances(family, parent, seed), strict=True))


class GeneratedPictures:
    """Objects of every class of a hierarchy, drawn from (seed, class, number)."""

    def __init__(self, tree: ClassTree, difficulty: float, seed: int) -> None:
        """difficulty: from 0, the objects of a class look alike, to 1."""
        self._appearances = tree_appearances(tree, seed)
        self._number = {label: row for row, label in enumerate(tree.labels)}
        self._difficulty, self._seed = difficulty, seed
        self.counts = dict.fromkeys(tree.labels, NUM_PICTURES)

    def cutout(self, label: str, number: int) -> Cutout:
        """The object of a class with that number."""
        rng = np.random.default_rng([self._seed, 21, self._number[label], number])
        body, mask = draw_object(self._appearances[label], rng, DRAWN_SIDE, self._difficulty)
        return trim(Cutout(body, mask, "generated"))


def draw_background(
    width: int, height: int, rng: np.random.Generator, clutter: float
) -> np.ndarray:
    """A generated background, uint8 [height, width, 3]: tinted, uneven light, blurred things.

    clutter: from 0, nothing on it, to 1.
    """
    corners = rng.uniform(60, 235, (1, 1, 3)) + rng.normal(0, 22, (3, 3, 3))
    image = cv2.resize(corners.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.poisson(10 * clutter)):
        center = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = rng.integers(3, max(4, min(width, height) // 4), 2).tolist()
        color = (image[center[1], center[0]] + rng.normal(0, 40, 3)).tolist()
        cv2.ellipse(image, center, axes, rng.uniform(0, 180), 0, 360, color, -1)
    image = cv2.GaussianBlur(image, (0, 0), max(width, height) / 60)
    image += rng.normal(0, 5, (height, width, 1)).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def draw_room(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """The inside of something, uint8 [height, width, 3]: a wall, a floor and two corners."""
    wall, floor = rng.uniform(120, 235, 3), rng.uniform(50, 160, 3)
    image = np.empty((height, width, 3), np.float32)
    image[:] = wall
    left, right = round(width * rng.uniform(0.1, 0.2)), round(width * rng.uniform(0.8, 0.9))
    top, bottom = round(height * rng.uniform(0.08, 0.2)), round(height * rng.uniform(0.65, 0.8))
    low, wide = height - 1, width - 1
    sides = (
        ([(0, 0), (left, top), (right, top), (wide, 0)], wall * 1.12),
        ([(0, 0), (left, top), (left, bottom), (0, low)], wall * 0.8),
        ([(wide, 0), (right, top), (right, bottom), (wide, low)], wall * 0.88),
        ([(0, low), (left, bottom), (right, bottom), (wide, low)], floor),
    )
    for corners, color in sides:
        cv2.fillPoly(image, [np.array(corners, np.int32)], color.tolist())
    image += rng.normal(0, 4, (height, width, 1))
    return np.clip(image, 0, 255).astype(np.uint8)
