"""The boxes of a side as a typed table: written by stage 01, memory-mapped by whoever reads it.

    boxes.arrow         the columns of `Boxes`, one row for each box, ascending by image
    image_labels.arrow  the columns of `ImageLabels`, if there is a table of them

An image is a row of the side's catalog (`lib.stages.read.catalog_of_side`), a class a row of
`extract/hierarchy/classes.arrow`, a cluster a class_id of `extract/categories`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from lib.data.catalog import read_table, write_table

BOXES, IMAGE_LABELS = "boxes.arrow", "image_labels.arrow"
UNKNOWN = -1  # of a flag
FLAGS = ("occluded", "truncated", "group", "depiction", "inside")
BOX_TYPES: Mapping[str, type] = {
    "image": np.int32,
    "class_row": np.int16,
    **dict.fromkeys(("x_min", "x_max", "y_min", "y_max"), np.float32),
    **dict.fromkeys(FLAGS, np.int8),
    "cluster": np.int16,
    "confidence": np.float32,
}


@dataclass(frozen=True)
class Boxes:
    """Boxes [B], ascending by image.

    image: int32, row of the image. class_row: int16, row of the class ("class" in the file).
    x_min, x_max, y_min, y_max: float32, fractions of the image's width and height.
    occluded, truncated, group (it surrounds several objects), depiction (a drawing or a statue),
    inside (seen from the inside): int8, 1 yes, 0 no, -1 unknown.
    cluster: int16, class_id of the cluster that the class belongs to; -1 for none.
    confidence: float32, of the annotation; 1 for boxes of people.
    num_images: images of the side, with and without boxes.
    """

    image: np.ndarray
    class_row: np.ndarray
    x_min: np.ndarray
    x_max: np.ndarray
    y_min: np.ndarray
    y_max: np.ndarray
    occluded: np.ndarray
    truncated: np.ndarray
    group: np.ndarray
    depiction: np.ndarray
    inside: np.ndarray
    cluster: np.ndarray
    confidence: np.ndarray
    num_images: int

    def __len__(self) -> int:
        return len(self.image)

    def of_image(self, image: int) -> slice:
        """The rows of the boxes of an image, by two binary searches."""
        first, last = np.searchsorted(self.image, [image, image + 1])
        return slice(int(first), int(last))

    def starts(self) -> np.ndarray:
        """int64 [num_images + 1]: the boxes of image i are the rows starts[i] to starts[i + 1]."""
        return np.searchsorted(self.image, np.arange(self.num_images + 1))

    def select(self, rows: np.ndarray) -> Self:
        """The boxes `rows` (bool [B], or ascending int) of the same images."""
        columns = {name: getattr(self, name)[rows] for name in BOX_TYPES}
        return type(self)(**columns, num_images=self.num_images)

    def area(self) -> np.ndarray:
        """float32 [B]: fraction of the image that a box covers."""
        return (self.x_max - self.x_min) * (self.y_max - self.y_min)


@dataclass(frozen=True)
class ImageLabels:
    """What people verified of whole images: labels [L], ascending by image.

    image: int32, row of the image. class_row: int16, row of the class ("class" in the file).
    present: int8, 1 if the class is in the image, 0 if it is verified to be absent.
    """

    image: np.ndarray
    class_row: np.ndarray
    present: np.ndarray


def write_boxes(folder: Path, boxes: Boxes) -> None:
    """Write `boxes.arrow`; `num_images` stands in the metadata of its schema."""
    columns: dict[str, Any] = {
        _column(name): np.asarray(getattr(boxes, name), kind) for name, kind in BOX_TYPES.items()
    }
    write_table(folder / BOXES, columns, {"num_images": str(boxes.num_images)})


def read_boxes(folder: Path) -> Boxes:
    """The boxes in the folder of an artifact `extract/boxes/<side>`, memory-mapped."""
    table = read_table(folder / BOXES)
    columns = {name: _to_numpy(table, _column(name)) for name in BOX_TYPES}
    return Boxes(**columns, num_images=int(table.schema.metadata[b"num_images"]))


def write_image_labels(folder: Path, labels: ImageLabels) -> None:
    """Write `image_labels.arrow`."""
    columns = {
        "image": np.asarray(labels.image, np.int32),
        "class": np.asarray(labels.class_row, np.int16),
        "present": np.asarray(labels.present, np.int8),
    }
    write_table(folder / IMAGE_LABELS, columns)


def read_image_labels(folder: Path) -> ImageLabels | None:
    """The labels of whole images in the folder of an artifact; None if it has none."""
    path = folder / IMAGE_LABELS
    if not path.exists():
        return None
    table = read_table(path)
    return ImageLabels(*(_to_numpy(table, _column(f.name)) for f in fields(ImageLabels)))


def _column(name: str) -> str:
    """The name of a column in the file: "class" is no name for a field in Python."""
    return "class" if name == "class_row" else name


def _to_numpy(table: pa.Table, column: str) -> np.ndarray:
    """The column without a copy; the file has one record batch."""
    return table[column].to_numpy()
