"""The annotations of a side, typed and mended: its images, their files, their boxes and labels.

images.arrow        key (the ImageID) and file (its name, relative to the folder of images)
boxes.arrow         `Boxes` whose images are rows of images.arrow, without clusters
image_labels.arrow  `ImageLabels`, likewise, if there is a table of them
mended.csv          what was mended of boxes and labels, a line for each class
faults.csv          the images of each fault, 100,000 at most
scan_report.json    what could not be used: rows by their lines, and images without a file
"""

import csv
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lib.config.clusters import Clusters
from lib.data.catalog import read_table, write_table
from lib.data.openimages.annotation_files import AnnotationFiles
from lib.data.openimages.boxes import (
    IMAGE_LABELS,
    Boxes,
    ImageLabels,
    read_boxes,
    read_image_labels,
    write_boxes,
    write_image_labels,
)
from lib.data.openimages.faults import (
    Pairs,
    boxes_of_same_objects,
    implied_labels,
    labels_without_a_box,
    with_labels,
)
from lib.data.openimages.hierarchy import FIX_COLUMNS, FIXES, Hierarchy
from lib.data.openimages.scene_names import SCENES
from lib.data.openimages.tables import AnnotationTables, read_tables
from lib.data.scan_report import MAX_REPORTED, NO_FILE
from lib.errors import UserError
from lib.pipeline.fingerprint import list_files
from lib.pipeline.predict_target import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

IMAGES, FAULTS = "images.arrow", "faults.csv"
TWO_LEVELS, MISSING_BOX, MISSING_ANCESTOR = "two levels", "missing box", "missing ancestor"
NO_PAIRS = Pairs(np.empty(0, np.int32), np.empty(0, np.int16))
RULES = {  # by fault: what is counted, what is done, and why
    TWO_LEVELS: ("boxes", "left out", "of two boxes of an object the deeper class stays"),
    MISSING_BOX: ("images", "not mended", "people saw the class, and no box shows it"),
    MISSING_ANCESTOR: ("images", "added", "a class is in an image with all classes above it"),
}


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
    has_file = np.array([bool(name) for name in names], bool)
    columns, found = _of_images(tables.boxes, has_file), dict.fromkeys(RULES, NO_PAIRS)
    if settings.mend:
        two_levels = boxes_of_same_objects(columns, hierarchy, settings.same_object_iou)
        found[TWO_LEVELS] = Pairs(columns["image"][two_levels], columns["class_row"][two_levels])
        columns = {name: values[~two_levels] for name, values in columns.items()}
    cluster = np.full(len(columns["image"]), -1, np.int16)
    boxes = Boxes(**columns, cluster=cluster, num_images=len(names))
    labels = ImageLabels(**_of_images(tables.labels, has_file))
    if settings.mend:
        found[MISSING_BOX] = labels_without_a_box(labels, boxes, hierarchy)
        found[MISSING_ANCESTOR] = implied_labels(labels, hierarchy)
        labels = with_labels(labels, found[MISSING_ANCESTOR])
    kept = np.diff(boxes.starts()) > 0
    if settings.use_image_labels:
        kept[labels.image[labels.present == 1]] = True
    if not kept.any():
        raise UserError(f"{box_tables[0]}: no image is left that has a box and a file")
    images = np.flatnonzero(kept).tolist()
    row = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
    write_table(
        folder / IMAGES,
        {
            "key": pa.array([tables.ids[image] for image in images], pa.string()),
            "file": pa.array([names[image] for image in images], pa.string()),
        },
    )
    write_boxes(folder, replace(boxes, image=row[boxes.image], num_images=len(images)))
    if label_tables:
        of_kept = _of_images(vars(labels), kept)
        write_image_labels(folder, ImageLabels(**{**of_kept, "image": row[of_kept["image"]]}))
    _write_faults(folder, found, hierarchy, tables.ids)
    tables.report.write(folder / "scan_report.json", "line")
    _log_report(box_tables, tables)
    return {
        "images": len(images),
        "boxes": len(boxes),
        "bad_rows": _bad_rows(tables),
        "missing_images": tables.report.counts[NO_FILE],
        **{name.replace(" ", "_"): len(pairs.image) for name, pairs in found.items()},
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


def _of_images(columns: Mapping[str, np.ndarray], kept: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of the images `kept` (bool [I])."""
    rows = kept[columns["image"]]
    return {name: values[rows] for name, values in columns.items()}


def _write_faults(
    folder: Path, faults: Mapping[str, Pairs], hierarchy: Hierarchy, ids: Sequence[str]
) -> None:
    """Write `mended.csv`, a line for each class, and `faults.csv`, a line for each of the first."""
    with (
        (folder / FIXES).open("w", newline="", encoding="utf-8") as fix_file,
        (folder / FAULTS).open("w", newline="", encoding="utf-8") as fault_file,
    ):
        fixes = csv.writer(fix_file, lineterminator="\n")
        fixes.writerow(FIX_COLUMNS)
        single = csv.writer(fault_file, lineterminator="\n")
        single.writerow(("fault", "image", "label", "name"))
        for fault, pairs in faults.items():
            what, after, rule = RULES[fault]
            for row, count in sorted(Counter(pairs.class_row.tolist()).items()):
                name = (hierarchy.labels[row], hierarchy.names[row])
                fixes.writerow([fault, *name, f"{count} {what}", after, rule])
            listed = slice(MAX_REPORTED)
            for image, row in zip(
                pairs.image[listed].tolist(), pairs.class_row[listed].tolist(), strict=True
            ):
                single.writerow([fault, ids[image], hierarchy.labels[row], hierarchy.names[row]])


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
