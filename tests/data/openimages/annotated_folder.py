"""Small folders in the layout of Open Images: a tree, names, tables and pictures."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.data.openimages.annotation_files import AnnotationFiles, find_tables
from lib.data.openimages.hierarchy import Hierarchy
from lib.data.openimages.tables import COORDINATES

COLUMNS = ["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax"]
JSON, CSV = "bbox_labels_600_hierarchy.json", "class-descriptions-boxable.csv"
# Vehicle > Car > Taxi, Vehicle > Bus; Animal > Dog; Wheel is a part of Car.
TREE = {
    "LabelName": "/m/root",
    "Subcategory": [
        {
            "LabelName": "/m/vehicle",
            "Subcategory": [
                {
                    "LabelName": "/m/car",
                    "Subcategory": [{"LabelName": "/m/taxi"}],
                    "Part": [{"LabelName": "/m/wheel"}],
                },
                {"LabelName": "/m/bus"},
            ],
        },
        {"LabelName": "/m/animal", "Subcategory": [{"LabelName": "/m/dog"}]},
        {"LabelName": "/m/wheel"},
    ],
}
NAMES = ("vehicle", "car", "taxi", "bus", "wheel", "animal", "dog")
COLORS = {"car": 30, "bus": 120, "dog": 210}  # shades of pictures by their first class

Box = tuple[str, str, float, float, float, float]  # ImageID, class, x_min, x_max, y_min, y_max


def box(image: str, name: str, *corners: float) -> Box:
    """A box; without corners it is half as wide and high as the image."""
    return (image, name, *(corners or (0.25, 0.75, 0.25, 0.75)))  # type: ignore[return-value]


def write_tree(folder: Path) -> None:
    """The tree and the names of its classes."""
    (folder / JSON).write_text(json.dumps(TREE))
    (folder / CSV).write_text("".join(f"/m/{name},{name.capitalize()}\n" for name in NAMES))


def write_boxes_table(path: Path, boxes: Sequence[Box]) -> Path:
    """A table of boxes."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows((image, f"/m/{name}", *corners) for image, name, *corners in boxes)
    return path


def write_labels_table(path: Path, labels: Sequence[tuple[str, str, int]]) -> Path:
    """A table of labels of whole images: ImageID, class, 1 or 0."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["ImageID", "Source", "LabelName", "Confidence"])
        rows.writerows((image, "verification", f"/m/{n}", present) for image, n, present in labels)
    return path


def write_pictures(folder: Path, shades: Mapping[str, int]) -> None:
    """A picture of nearly one shade for each ImageID."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image, shade) in enumerate(sorted(shades.items())):
        noise = np.random.default_rng(number).integers(0, 40, (24, 24, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"{image}.jpg"), noise + np.uint8(shade))


def make_files(folder: Path, boxes: Sequence[Box], **labels: Any) -> AnnotationFiles:
    """A folder with a table of boxes and an empty picture file for each image."""
    write_boxes_table(folder / "train-annotations-bbox.csv", boxes)
    if labels:
        write_labels_table(folder / "train-annotations-human-imagelabels.csv", labels["labels"])
    (folder / "train").mkdir(exist_ok=True)
    images = {row[0] for row in (*boxes, *labels.get("labels", ()))}
    for image in images:
        (folder / "train" / f"{image}.jpg").write_bytes(b"picture")
    return AnnotationFiles(*find_tables(folder), folder)


def names_of(hierarchy: Hierarchy, rows: np.ndarray) -> list[str]:
    """Names of classes, in small letters."""
    return [hierarchy.names[row].lower() for row in rows.tolist()]


assert set(COLUMNS[2:]) == set(COORDINATES.values())
