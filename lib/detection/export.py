"""Boxes in files for users: rows of an Open Images submission, and COCO JSON

    boxes.csv         ImageID,PredictionString: label confidence x_min y_min x_max y_max ...
    boxes_coco.json   images, categories, and annotations with scores; in pixels

pycocotools reads the JSON, and so do the functions of FiftyOne's COCO importer. An image without
boxes has a row, and no annotation.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.detection.components import BoxTable

HEADER = ("ImageID", "PredictionString")


@dataclass(frozen=True)
class ImageNames:
    """The images that are written, in the order of their rows in the catalog.

    image: int64 [n] ascending, rows. ids: ImageID of each. files: file name of each.
    sizes: (width, height) of each, in pixels.
    """

    image: np.ndarray
    ids: Sequence[str]
    files: Sequence[str]
    sizes: Sequence[tuple[int, int]]


def write_submission_rows(
    path: Path, boxes: BoxTable, names: ImageNames, labels: Sequence[str]
) -> None:
    """Write one row for each image; labels: of the classes, as in /m/0k4j."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for image_id, rows in zip(names.ids, _rows_by_image(boxes, names), strict=True):
            writer.writerow((image_id, " ".join(_prediction(boxes, row, labels) for row in rows)))


def _prediction(boxes: BoxTable, row: int, labels: Sequence[str]) -> str:
    x_min, x_max, y_min, y_max = boxes.box[row].tolist()
    corners = " ".join(f"{value:.6f}" for value in (x_min, y_min, x_max, y_max))
    return f"{labels[boxes.class_row[row]]} {boxes.score[row]:.6f} {corners}"


def write_coco(
    path: Path,
    boxes: BoxTable,
    names: ImageNames,
    labels: Sequence[str],
    display_names: Sequence[str],
) -> None:
    """Write a dataset in the format of COCO.

    Categories are the classes that have boxes. Their id is the row in the hierarchy plus 1, and
    `supercategory` holds the label.
    """
    classes = np.unique(boxes.class_row).tolist()
    dataset = {
        "info": {"description": "boxes out of coarse masks"},
        "images": [
            {"id": number, "file_name": file, "width": width, "height": height}
            for number, (file, (width, height)) in enumerate(
                zip(names.files, names.sizes, strict=True), 1
            )
        ],
        "categories": [
            {"id": c + 1, "name": display_names[c], "supercategory": labels[c]} for c in classes
        ],
        "annotations": list(_annotations(boxes, names)),
    }
    path.write_text(json.dumps(dataset) + "\n", encoding="utf-8")


def _annotations(boxes: BoxTable, names: ImageNames) -> Iterator[dict[str, Any]]:
    number = 0
    for position, rows in enumerate(_rows_by_image(boxes, names)):
        width, height = names.sizes[position]
        for row in rows:
            number += 1
            x_min, x_max, y_min, y_max = boxes.box[row].tolist()
            size = [(x_max - x_min) * width, (y_max - y_min) * height]
            corner = [x_min * width, y_min * height]
            yield {
                "id": number,
                "image_id": position + 1,
                "category_id": int(boxes.class_row[row]) + 1,
                "bbox": [round(value, 2) for value in (*corner, *size)],
                "area": round(size[0] * size[1], 2),
                "iscrowd": 0,
                "score": round(float(boxes.score[row]), 6),
            }


def _rows_by_image(boxes: BoxTable, names: ImageNames) -> Iterator[range]:
    """Rows of the boxes of each image that is written."""
    first = np.searchsorted(boxes.image, names.image)
    last = np.searchsorted(boxes.image, names.image, side="right")
    for start, stop in zip(first.tolist(), last.tolist(), strict=True):
        yield range(start, stop)
