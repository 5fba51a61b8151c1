"""Figures of people: drawn bodies that wear clothes of a shop, with heads, faces, hair and arms.

The classes below Person differ in hair, clothes and proportions, and only in these: a woman is
drawn with long hair, more often in a dress or a skirt, a child with a large head. Person itself is
anyone seen from behind. So they are confused with each other, and with their clothes, as people
are in Open Images.
"""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from lib.data.synthetic.scenes.pictures.cutout import Cutout, CutoutPart, trim

SOURCE = "figure"
NUM_FIGURES = 5000  # of a class: each number draws another
WIDTH, HEIGHT = 150, 300  # pixels; figures are scaled from them
SKIN = ((205, 219, 245), (160, 190, 230), (110, 150, 200), (70, 100, 150), (45, 65, 100))
HAIR = ((20, 20, 25), (35, 50, 80), (70, 120, 190), (60, 60, 140), (190, 190, 195))
KINDS = ("Person", "Man", "Woman", "Boy", "Girl")
UPPER = {"Man": ("Shirt", "Shirt", "Jacket"), "Woman": ("Dress", "Dress", "Shirt", "Jacket")}
LOWER = {"Man": ("Jeans", "Trousers"), "Woman": ("Skirt", "Jeans", "Shorts")}


class Wardrobe(Protocol):
    """A source of clothes."""

    counts: dict[str, int]

    def cutout(self, label: str, number: int) -> Cutout:
        """A piece of clothing without its background."""


class Figures:
    """People in the clothes of a shop, by the labels of their classes."""

    def __init__(self, wardrobe: Wardrobe, label_of: dict[str, str], seed: int) -> None:
        """wardrobe: source of clothes. label_of: label by lower-case name."""
        self._wardrobe, self._label_of, self._seed = wardrobe, label_of, seed
        self._kind = {label_of[k.lower()]: k for k in KINDS if k.lower() in label_of}
        self.counts = dict.fromkeys(self._kind, NUM_FIGURES)

    def cutout(self, label: str, number: int) -> Cutout:
        """The figure of a class with that number, with its parts and its clothes as parts."""
        kind = self._kind[label]
        rng = np.random.default_rng([self._seed, 28, KINDS.index(kind), number])
        adult = {"Boy": "Man", "Girl": "Woman"}.get(kind, kind)
        if kind == "Person":
            adult = str(rng.choice(["Man", "Woman"]))
        figure = _Drawing(rng, self._label_of)
        head = round(HEIGHT * (rng.uniform(0.25, 0.3) if kind in ("Boy", "Girl") else 0.16))
        _draw_body(figure, head)
        upper = self._clothes(rng, UPPER[adult])
        if upper is None or upper[0] != self._label_of.get("dress"):
            self._wear(figure, self._clothes(rng, LOWER[adult]), figure.hips, 0.36)
        length = 0.62 if upper is not None and upper[0] == self._label_of.get("dress") else 0.36
        self._wear(figure, upper, figure.shoulders - 4, length)
        _draw_head(figure, head, long_hair=adult == "Woman", is_behind=kind == "Person")
        return trim(Cutout(figure.image, figure.alpha, SOURCE, tuple(figure.parts)))

    def _clothes(self, rng: np.random.Generator, names: Sequence[str]) -> tuple[str, Cutout] | None:
        """A piece of clothing of one of some classes; None if the wardrobe has none."""
        labels = [self._label_of.get(name.lower(), "") for name in names]
        known = [label for label in labels if self._wardrobe.counts.get(label)]
        if not known:
            return None
        label = known[int(rng.integers(len(known)))]
        number = int(rng.integers(self._wardrobe.counts[label]))
        return label, self._wardrobe.cutout(label, number)

    def _wear(
        self, figure: "_Drawing", clothes: tuple[str, Cutout] | None, top: int, length: float
    ) -> None:
        """Put clothes on a figure, from a row on, with a length as a fraction of its height."""
        if clothes is None:
            return
        label, cutout = clothes
        rows = round(length * HEIGHT)
        columns = min(WIDTH, max(60, round(rows * cutout.alpha.shape[1] / cutout.alpha.shape[0])))
        image = cv2.resize(cutout.image, (columns, rows))
        alpha = cv2.resize(cutout.alpha, (columns, rows))
        full = np.zeros((HEIGHT, WIDTH), np.uint8)
        top, left = max(0, min(top, HEIGHT - rows)), (WIDTH - columns) // 2
        place = np.s_[top : top + rows, left : left + columns]
        full[place] = alpha
        pasted = figure.image.copy()
        pasted[place] = image
        figure.add(label, full, pasted)


class _Drawing:
    """A figure while it is drawn: pixels, alpha, and the parts so far."""

    def __init__(self, rng: np.random.Generator, label_of: dict[str, str]) -> None:
        self.rng, self.label_of = rng, label_of
        self.image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        self.alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.parts: list[CutoutPart] = []
        tint = rng.normal(0, 8, 3)
        self.skin = np.clip(SKIN[int(rng.integers(len(SKIN)))] + tint, 0, 255)
        self.hair = np.clip(HAIR[int(rng.integers(len(HAIR)))] + tint, 0, 255)
        self.shoulders = self.hips = 0

    def add(self, label: str, alpha: np.ndarray, color: np.ndarray, whole: int = -1) -> int:
        """Paint a part; returns its number. color: [3], or an image. label: "" for none."""
        x, y, columns, rows = cv2.boundingRect(alpha)
        place = np.s_[y : y + rows, x : x + columns]
        weight = alpha[place].astype(np.float32)[:, :, None] / 255
        front = color[place] if color.ndim == 3 else color
        blended = self.image[place] * (1 - weight) + weight * front
        self.image[place] = np.rint(blended).astype(np.uint8)
        self.alpha = np.maximum(self.alpha, alpha)
        if label:
            self.parts.append(CutoutPart(label, alpha, whole))
        return len(self.parts) - 1

    def label(self, name: str) -> str:
        """The label of a class, or "" if the hierarchy has none of that name."""
        return self.label_of.get(name.lower(), "")


def _stroke(points: Sequence[tuple[float, float]], width: int) -> np.ndarray:
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    line = [np.rint(np.array(points)).astype(np.int32)]
    cv2.polylines(alpha, line, False, 255, width, cv2.LINE_AA)
    return alpha


def _ellipse(center: tuple[float, float], axes: tuple[float, float]) -> np.ndarray:
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    middle = (round(center[0]), round(center[1]))
    cv2.ellipse(alpha, middle, (max(1, round(axes[0])), max(1, round(axes[1]))), 0, 0, 360, 255, -1)
    return alpha


def _draw_body(figure: _Drawing, head: int) -> None:
    """Legs, torso and arms of a figure whose head has a height."""
    rng, skin = figure.rng, figure.skin
    figure.shoulders = head + 16
    figure.hips = figure.shoulders + round(0.3 * (HEIGHT - figure.shoulders))
    middle, ankle = WIDTH / 2, HEIGHT - 12
    for side in (-1, 1):
        foot = middle + side * rng.uniform(14, 24)
        leg = _stroke([(middle + side * 12, figure.hips), (foot, ankle)], 18)
        figure.add(figure.label("Human leg"), leg, skin)
        shoe = _ellipse((foot + side * 4, HEIGHT - 7), (14, 7))
        figure.add(figure.label("Footwear"), shoe, rng.uniform(10, 120, 3))
    torso = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.rectangle(
        torso, (int(middle) - 26, figure.shoulders), (int(middle) + 26, figure.hips), 255, -1
    )
    figure.add("", torso, rng.uniform(30, 200, 3))
    for side in (-1, 1):
        shoulder = (middle + side * 26, figure.shoulders + 8)
        elbow = (middle + side * rng.uniform(36, 52), figure.shoulders + rng.uniform(35, 55))
        hand = (middle + side * rng.uniform(38, 64), elbow[1] + rng.uniform(-40, 45))
        arm = figure.add(figure.label("Human arm"), _stroke([shoulder, elbow, hand], 13), skin)
        palm = _ellipse(hand, (9, 9))
        figure.add(figure.label("Human hand"), palm, skin * 0.93, arm)


def _draw_head(figure: _Drawing, head: int, long_hair: bool, is_behind: bool) -> None:
    """Hair, head and face of a figure."""
    rng, skin, middle = figure.rng, figure.skin, WIDTH / 2
    radius = head / 2
    center = (middle, radius + 4)
    hair = _ellipse((middle, center[1] - 2), (radius * 0.86, radius))
    if long_hair:
        hair |= _ellipse((middle, center[1] + radius * 0.7), (radius * 0.95, radius * 1.15))
    neck = _stroke([(middle, center[1]), (middle, figure.shoulders + 4)], 18)
    figure.add("", neck, skin * 0.9)
    if is_behind:
        figure.add(figure.label("Human head"), hair, figure.hair)
        return
    figure.add("", hair, figure.hair)
    skull = _ellipse((middle, center[1] + radius * 0.1), (radius * 0.72, radius * 0.9))
    whole = figure.add(figure.label("Human head"), hair | skull, figure.image)
    figure.add(figure.label("Human hair"), hair & ~skull, figure.hair, whole)
    face = figure.add(figure.label("Human face"), skull, skin, whole)
    dark = np.array((30.0, 30.0, 40.0))
    for side in (-1, 1):
        eye = _ellipse((middle + side * radius * 0.3, center[1]), (radius * 0.13, radius * 0.09))
        figure.add(figure.label("Human eye"), eye, dark, face)
    nose = _stroke([(middle, center[1] + radius * 0.1), (middle, center[1] + radius * 0.32)], 2)
    figure.add(figure.label("Human nose"), nose, skin * 0.75, face)
    mouth = _ellipse((middle, center[1] + radius * 0.55), (radius * 0.25, radius * 0.07))
    if not long_hair and rng.uniform() < 0.4:
        beard = _ellipse((middle, center[1] + radius * 0.68), (radius * 0.45, radius * 0.3)) & skull
        figure.add(figure.label("Human beard"), beard, figure.hair, face)
    figure.add(figure.label("Human mouth"), mouth, np.array((70.0, 60.0, 170.0)), face)
