"""The annotations of a side, typed and mended: its images, their files, their boxes and labels.

images.arrow        key (the ImageID) and file (its name, relative to the folder of images)
boxes.arrow         `Boxes` whose images are rows of images.arrow, without clusters
image_labels.arrow  `ImageLabels`, likewise, if there is a table of them
mended.csv          boxes that were mended
scan_report.json    what could not be used: rows by their lines, and images without a file
"""

import csv
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lib.config.clusters import Clusters
from lib.data.catalog import read_table, write_table
from lib.data.openimages.boxes import (
    IMAGE_LABELS,
    Boxes,
    ImageLabels,
    read_boxes,
    read_image_labels,
    write_boxes,
    write_image_labels,
)
from lib.data.openimages.hierarchy import MENDED, MENDED_COLUMNS, Hierarchy
from lib.data.openimages.scene_names import SCENES
from lib.data.openimages.tables import AnnotationTables, read_tables
from lib.data.openimages.two_levels import boxes_of_same_objects
from lib.data.scan_report import MAX_REPORTED, NO_FILE
from lib.errors import UserError
from lib.pipeline.fingerprint import list_files
from lib.pipeline.predict_target import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

BOX_TABLES, LABEL_TABLES = "*annotations-bbox.csv", "*annotations-human-imagelabels*.csv"
IMAGES = "images.arrow"


@dataclass(frozen=True)
class AnnotationFiles:
    """The tables of a side, and the folder of its images; names there are relative to it.

    scenes: the folder of composed scenes, which have tables and images of their own; None without.
    """

    box_tables: list[Path]
    label_tables: list[Path]
    image_root: Path
    scenes: Path | None = None

    @property
    def tables(self) -> list[Path]:
        """All tables of the user."""
        return [*self.box_tables, *self.label_tables]

    def with_scenes(self) -> tuple[list[Path], list[Path]]:
        """The tables of boxes and of labels, those of the scenes included."""
        boxes, labels = find_tables(self.scenes) if self.scenes else ([], [])
        return [*self.box_tables, *boxes], [*self.label_tables, *labels]


@dataclass(frozen=True)
class Annotations:
    """Images [I] with at least one box, or with a verified label if these are used.

    keys: ImageIDs. files: names, relative to the folder of the images. boxes, labels: of these
    images; labels is None without a table.
    """

    keys: list[str]
    files: list[str]
    boxes: Boxes
    labels: ImageLabels | None


@dataclass(frozen=True)
class Limits:
    """Fractions of rows that are bad, and of images without a file, that are tolerated."""

    bad: float
    missing: float


def find_tables(path: Path) -> tuple[list[Path], list[Path]]:
    """The tables of boxes and of labels that a file, or a folder of tables, stands for.

    The labels of a table lie beside it, with the same beginning of the name (its split).
    """
    if not path.is_dir():
        split = path.name.removesuffix(BOX_TABLES[1:])
        labels = path.parent.glob(split + LABEL_TABLES[1:]) if split != path.name else []
        return [path], sorted(labels)
    return sorted(path.glob(BOX_TABLES)), sorted(path.glob(LABEL_TABLES))


def build_annotations(
    folder: Path,
    files: AnnotationFiles,
    hierarchy: Hierarchy,
    settings: Clusters,
    limits: Limits,
) -> dict[str, Any]:
    """Write the annotations of a side; returns counts.

    Raises UserError for tables that are not of Open Images, for more bad rows or missing images
    than the limits allow, and if no image is left.
    """
    box_tables, label_tables = files.with_scenes()
    tables = read_tables(box_tables, label_tables, hierarchy.row_of_label)
    _check_bad_rows(box_tables[0], tables, limits.bad)
    names = _find_images(files, tables, limits.missing)
    boxed = np.zeros(len(tables.ids), bool)
    boxed[tables.boxes["image"]] = True
    used = boxed.copy()
    if settings.use_image_labels:
        used[tables.labels["image"][tables.labels["present"] == 1]] = True
    kept = used & np.array([bool(name) for name in names], bool)
    if not kept.any():
        raise UserError(f"{box_tables[0]}: no image is left that has a box and a file")
    row = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
    boxes = _rows_of_images(tables.boxes, row)
    two_levels = np.zeros(len(boxes["image"]), bool)
    if settings.mend:
        two_levels = boxes_of_same_objects(boxes, hierarchy, settings.same_object_iou)
    _write_mended(folder / MENDED, boxes["class_row"][two_levels], hierarchy, settings)
    boxes = {name: values[~two_levels] for name, values in boxes.items()}
    images = np.flatnonzero(kept).tolist()
    write_table(
        folder / IMAGES,
        {
            "key": pa.array([tables.ids[image] for image in images], pa.string()),
            "file": pa.array([names[image] for image in images], pa.string()),
        },
    )
    cluster = np.full(len(boxes["image"]), -1, np.int16)
    write_boxes(folder, Boxes(**boxes, cluster=cluster, num_images=len(images)))
    if label_tables:
        write_image_labels(folder, ImageLabels(**_rows_of_images(tables.labels, row)))
    tables.report.write(folder / "scan_report.json", "line")
    _log_report(box_tables, tables)
    return {
        "images": len(images),
        "boxes": len(boxes["image"]),
        "bad_rows": _bad_rows(tables),
        "missing_images": tables.report.counts[NO_FILE],
        "unboxed_images": int((~boxed & (row < 0)).sum()),
        "two_level_objects": int(two_levels.sum()),
    }


def read_annotations(folder: Path) -> Annotations:
    """The annotations in the folder of an artifact `extract/annotations/<side>`."""
    images = read_table(folder / IMAGES)
    labels = read_image_labels(folder) if (folder / IMAGE_LABELS).exists() else None
    return Annotations(
        images["key"].to_pylist(), images["file"].to_pylist(), read_boxes(folder), labels
    )


def _bad_rows(tables: AnnotationTables) -> int:
    return sum(tables.report.counts.values()) - tables.report.counts[NO_FILE]


def _check_bad_rows(source: Path, tables: AnnotationTables, limit: float) -> None:
    bad = _bad_rows(tables)
    if bad > limit * tables.rows:
        line, reason = min(tables.report.records)
        raise UserError(
            f"{source}: {bad} of {tables.rows} rows cannot be used, the first at line {line}:"
            f" {reason}; mend the table, set data.hierarchy and data.class_descriptions to the"
            " files of its version, or raise data.max_bad_fraction"
        )
    if tables.rows == 0:
        raise UserError(f"{source}: no rows after the header")


def _image_names(folder: Path, prefix: str = "") -> dict[str, str]:
    """The name of the image file of each ImageID, in a folder and its subfolders."""
    found: dict[str, str] = {}
    for name, size in list_files(folder):
        stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
        if size > 0 and f"{dot}{suffix.lower()}" in IMAGE_SUFFIXES:
            found.setdefault(stem, prefix + name)
    return found


def _find_images(files: AnnotationFiles, tables: AnnotationTables, limit: float) -> list[str]:
    """The file of each image, "" for none; reports those without. Raises UserError for most."""
    root = files.image_root
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; set data.images_root to that of the images")
    found = _image_names(files.scenes / "train", f"{SCENES}train/") if files.scenes else {}
    found |= _image_names(root) if files.box_tables else {}
    names = [found.get(key, "") for key in tables.ids]
    missing = [image for image, name in enumerate(names) if not name]
    listed = [tables.ids[image] for image in missing[:MAX_REPORTED]]
    lines = tables.first_line[missing[: len(listed)]]
    tables.report.add(NO_FILE, lines, listed)
    if len(missing) > len(listed):
        tables.report.counts[NO_FILE] += len(missing) - len(listed)
    if len(missing) > limit * len(names):
        raise UserError(
            f"{root}: {len(missing)} of {len(names)} images of the tables have no file, such as"
            f" {listed[0]}.jpg; set data.images_root, or raise data.max_missing_fraction if the"
            " tables are of more images than you have"
        )
    return names


def _rows_of_images(columns: Mapping[str, np.ndarray], row: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of images that are kept, with their new rows (int32 [I], -1: not kept)."""
    image = row[columns["image"]]
    keep = image >= 0
    return {**{name: values[keep] for name, values in columns.items()}, "image": image[keep]}


def _write_mended(
    path: Path, class_rows: np.ndarray, hierarchy: Hierarchy, settings: Clusters
) -> None:
    """One line for each class of boxes that gave way to a box of a class below it."""
    rule = f"of two boxes of one object (IoU {settings.same_object_iou:g}) the deeper class stays"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(MENDED_COLUMNS)
        for row, count in sorted(Counter(class_rows.tolist()).items()):
            name = (hierarchy.labels[row], hierarchy.names[row])
            rows.writerow(["two levels", *name, f"{count} boxes", "left out", rule])


def _log_report(box_tables: Sequence[Path], tables: AnnotationTables) -> None:
    names = ", ".join(path.name for path in box_tables[:3])
    for reason, count in tables.report.counts.items():
        line, name = tables.report.first_of(reason)
        logger.warning(
            "%s: %d x %s, the first at line %d%s; pass --strict to stop at it",
            names,
            count,
            reason,
            line,
            f" ({name})" if name else "",
        )
