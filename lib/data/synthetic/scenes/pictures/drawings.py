"""Objects from Quick, Draw! drawings: the outline is filled with the colors of its class."""

import gzip
from pathlib import Path

import cv2
import numpy as np

from lib.data.strokes import SQUARE, Drawing, parse_drawing
from lib.data.synthetic.images import Appearance, draw_surface
from lib.data.synthetic.scenes.pictures.cutout import OPAQUE, Cutout, trim

# Categories of Quick, Draw! whose class has another name.
OTHER_NAMES = {
    "arm": "Human arm",
    "beard": "Human beard",
    "cell phone": "Mobile phone",
    "cow": "Cattle",
    "donut": "Doughnut",
    "dresser": "Chest of drawers",
    "drums": "Drum",
    "ear": "Human ear",
    "eye": "Human eye",
    "eyeglasses": "Glasses",
    "face": "Human face",
    "fan": "Mechanical fan",
    "foot": "Human foot",
    "grapes": "Grape",
    "hand": "Human hand",
    "house plant": "Houseplant",
    "keyboard": "Computer keyboard",
    "leg": "Human leg",
    "microwave": "Microwave oven",
    "motorbike": "Motorcycle",
    "mouth": "Human mouth",
    "nose": "Human nose",
    "power outlet": "Power plugs and sockets",
    "rollerskates": "Roller skates",
    "sailboat": "Boat",
    "streetlight": "Street light",
    "tennis racquet": "Tennis racket",
    "wristwatch": "Watch",
}
DRAWN_SIDE = 160  # pixels; objects are scaled from it
INK = 0.8  # by which lines are darker than what they enclose
MARGIN = 6  # pixels around a drawing
CLOSE = 0.1  # gaps of an outline that are closed, as a fraction of the side


class Drawings:
    """The drawings of a folder of <category>.ndjson or .ndjson.gz, by the labels of classes."""

    def __init__(
        self,
        folder: Path,
        label_of: dict[str, str],
        appearances: dict[str, Appearance],
        difficulty: float,
        seed: int,
    ) -> None:
        """label_of: label by lower-case name. appearances: of each label, for the colors."""
        self._drawings: dict[str, list[tuple[str, Drawing]]] = {}
        for path in sorted(folder.glob("*.ndjson*")):
            category = path.name.split(".ndjson")[0]
            name = OTHER_NAMES.get(category, category.replace("-", " ")).lower()
            if name in label_of:
                drawings = _read_drawings(path, f"quickdraw/{category}")
                self._drawings.setdefault(label_of[name], []).extend(drawings)
        self._appearances, self._difficulty, self._seed = appearances, difficulty, seed
        self.counts = {label: len(found) for label, found in self._drawings.items() if found}

    def cutout(self, label: str, number: int) -> Cutout:
        """The object of a class with that number: below the count of its class."""
        source, drawing = self._drawings[label][number]
        rng = np.random.default_rng([self._seed, 22, number])
        surface = draw_surface(self._appearances[label], rng, DRAWN_SIDE, self._difficulty)
        lines, inside = _rasterize(drawing)
        ink = (lines.astype(np.float32) * (INK / 255))[:, :, None]
        image = surface * (1 - ink)
        return trim(Cutout(image.astype(np.uint8), np.maximum(lines, inside), source))


def _read_drawings(path: Path, prefix: str) -> list[tuple[str, Drawing]]:
    """(source, strokes) of each line that is a drawing; others are passed over."""
    found = []
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for line in file:
            try:
                key, drawing = parse_drawing(line)
            except ValueError:
                continue
            found.append((f"{prefix}/{key}", drawing))
    return found


def _rasterize(drawing: Drawing) -> tuple[np.ndarray, np.ndarray]:
    """Lines and inside of a drawing, each uint8 [DRAWN_SIDE, DRAWN_SIDE] of 0 to 255."""
    scale = (DRAWN_SIDE - 2 * MARGIN) / (SQUARE - 1)
    lines = np.zeros((DRAWN_SIDE, DRAWN_SIDE), np.uint8)
    for stroke in drawing:
        points = np.rint(np.repeat(stroke, 1 + (len(stroke) == 1), axis=0) * scale + MARGIN)
        cv2.polylines(lines, [points.astype(np.int32)], False, 255, 4, cv2.LINE_AA)
    half = cv2.resize(lines, (DRAWN_SIDE // 2,) * 2, interpolation=cv2.INTER_AREA)
    width = 2 * int(CLOSE * DRAWN_SIDE / 4) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    padded = cv2.copyMakeBorder(half, *(width,) * 4, cv2.BORDER_CONSTANT)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[width:-width, width:-width]
    dark = (closed >= OPAQUE).astype(np.uint8)
    contours, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    inside = np.zeros_like(half)
    cv2.drawContours(inside, contours, -1, 255, -1)
    return lines, cv2.resize(inside, (DRAWN_SIDE, DRAWN_SIDE))
