"""Photographs with boxes in the schema of Open Images: as scenes, as objects, as backgrounds.

Their annotators boxed some classes only, so a background may show an object that nobody boxed.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from lib.data.synthetic.scenes.pictures.cutout import Cutout

TABLES = {
    "photographs": ("photos/*-annotations-bbox.csv", "photos/images"),
    "raccoons": ("raccoon/annotations-bbox.csv", "raccoon/images"),
}
MIN_OBJECT, MIN_SUBJECT = 0.12, 0.3  # side of a box as a fraction of the photograph's
MIN_BACKGROUND = 0.28  # shorter side of a region without boxes, as a fraction
# Area of the largest box of a photograph that gives a background: where only a number plate has a
# box, the vehicle around it has none, and would be in the background.
MIN_BOXED = 0.12
FEATHER = 0.07  # of a box, over which an object fades into the scene

Box = tuple[float, float, float, float]  # x_min, x_max, y_min, y_max as fractions


@dataclass(frozen=True)
class Photograph:
    """A photograph and its boxes: (label, x_min, x_max, y_min, y_max as fractions)."""

    path: Path
    boxes: list[tuple[str, Box]] = field(default_factory=list)

    @property
    def source(self) -> str:
        """Which picture this is."""
        return (
            f"openimages/{self.path.stem}"
            if "photos" in self.path.parts
            else f"raccoon/{self.path.stem}"
        )

    def read(self) -> np.ndarray:
        """uint8 [h, w, 3]. Raises ValueError if it cannot be decoded."""
        image = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{self.path}: cannot be decoded")
        return image


class Photographs:
    """All photographs of a folder, by the labels of their boxes."""

    def __init__(
        self, folder: Path, labels: set[str], wanted: Collection[str] = tuple(TABLES)
    ) -> None:
        """folder: has the tables and folders of images that TABLES names, or some of them.

        wanted: keys of TABLES; the others are not read.
        """
        found: dict[str, Photograph] = {}
        for pattern, images in (TABLES[name] for name in TABLES if name in wanted):
            for table in sorted(folder.glob(pattern)):
                _read_table(table, folder / images, labels, found)
        photographs = [photograph for _, photograph in sorted(found.items())]
        self._objects: dict[str, list[tuple[Photograph, Box]]] = {}
        for photograph in photographs:
            for label, box in photograph.boxes:
                if min(box[1] - box[0], box[3] - box[2]) >= MIN_OBJECT:
                    self._objects.setdefault(label, []).append((photograph, box))
        self.backgrounds = [
            (photograph, region)
            for photograph in photographs
            if max(_area(box) for _, box in photograph.boxes) >= MIN_BOXED
            for region in [free_region([box for _, box in photograph.boxes])]
            if min(region[1] - region[0], region[3] - region[2]) >= MIN_BACKGROUND
        ]
        self.counts = {label: len(boxes) for label, boxes in self._objects.items()}

    def cutout(self, label: str, number: int) -> Cutout:
        """What a box shows, with edges that fade out."""
        photograph, box = self._objects[label][number]
        image = _crop(photograph.read(), box)
        return Cutout(image, _faded_edges(*image.shape[:2]), photograph.source)

    def subject(self, label: str, number: int) -> tuple[Photograph, Box] | None:
        """The photograph and the box of an object that is large enough to be a scene's subject."""
        photograph, box = self._objects[label][number]
        large = min(box[1] - box[0], box[3] - box[2]) >= MIN_SUBJECT
        return (photograph, box) if large else None

    def background(self, number: int, width: int, height: int) -> tuple[np.ndarray, str]:
        """(uint8 [height, width, 3], source): a region of a photograph that no box touches."""
        photograph, region = self.backgrounds[number % len(self.backgrounds)]
        return _cover(_crop(photograph.read(), region), width, height), photograph.source


def _read_table(table: Path, images: Path, labels: set[str], found: dict[str, Photograph]) -> None:
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["ImageID"]
            path = images / f"{name}.jpg"
            if row["LabelName"] not in labels or (name not in found and not path.is_file()):
                continue
            edges = [float(row[column]) for column in ("XMin", "XMax", "YMin", "YMax")]
            x_min, x_max, y_min, y_max = (min(max(edge, 0.0), 1.0) for edge in edges)
            if x_min < x_max and y_min < y_max:
                photograph = found.setdefault(name, Photograph(path))
                photograph.boxes.append((row["LabelName"], (x_min, x_max, y_min, y_max)))


def free_region(boxes: list[Box]) -> Box:
    """The largest rectangle over the whole width or height of a picture that no box touches."""
    across = (*_longest_gap([(x_min, x_max) for x_min, x_max, _, _ in boxes]), 0.0, 1.0)
    down = (0.0, 1.0, *_longest_gap([(y_min, y_max) for _, _, y_min, y_max in boxes]))
    return across if across[1] - across[0] >= down[3] - down[2] else down


def _area(box: Box) -> float:
    return (box[1] - box[0]) * (box[3] - box[2])


def _longest_gap(spans: list[tuple[float, float]]) -> tuple[float, float]:
    """The longest part of 0..1 that no span covers; (0, 0) if there is none."""
    best, reached = (0.0, 0.0), 0.0
    for start, end in [*sorted(spans), (1.0, 1.0)]:
        if start - reached > best[1] - best[0]:
            best = (reached, start)
        reached = max(reached, end)
    return best


def _crop(image: np.ndarray, box: Box) -> np.ndarray:
    height, width = image.shape[:2]
    x, y = int(box[0] * width), int(box[2] * height)
    return image[y : max(y + 2, round(box[3] * height)), x : max(x + 2, round(box[1] * width))]


def _cover(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture scaled to at most twice its size and mirrored at its edges to fill a scene."""
    scale = min(2.0, max(width / image.shape[1], height / image.shape[0]))
    size = (max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    while image.shape[0] < height or image.shape[1] < width:
        down = min(image.shape[0] - 1, max(0, height - image.shape[0]))
        right = min(image.shape[1] - 1, max(0, width - image.shape[1]))
        image = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(image[:height, :width])


def _faded_edges(height: int, width: int) -> np.ndarray:
    """Alpha uint8 [height, width]: 255 but for the edges of a rectangle with round corners."""
    x = np.abs(np.linspace(-1, 1, width))[None, :]
    y = np.abs(np.linspace(-1, 1, height))[:, None]
    distance = (x**8 + y**8) ** (1 / 8)  # 1 on the outline
    return np.clip((1 - distance) / FEATHER * 255, 0, 255).astype(np.uint8)
