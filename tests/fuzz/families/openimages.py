"""Tables of boxes and labels, the tree of classes and their names, as Open Images has them."""

import random
from collections.abc import Callable
from pathlib import Path

from lib.config.clusters import Clusters
from lib.data.openimages.annotation_files import AnnotationFiles, find_tables
from lib.data.openimages.annotations import Limits, build_annotations, read_annotations
from lib.data.openimages.hierarchy import Hierarchy, read_hierarchy, write_hierarchy
from lib.data.openimages.places import read_hierarchy_file
from tests.conftest import jpeg
from tests.data.openimages.annotated_folder import (
    CSV,
    JSON,
    box,
    write_boxes_table,
    write_labels_table,
    write_tree,
)
from tests.fuzz.family import Family, clear, write

BOXES, LABELS = "train-annotations-bbox.csv", "train-annotations-human-imagelabels.csv"
ROWS = [box("a", "car"), box("a", "wheel", 0.5, 0.6, 0.5, 0.6), box("b", "dog", 0, 1, 0, 1)]
FULL = """\
ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,\
IsDepiction,IsInside,XClick1X
a,xclick,/m/car,1,0.1,0.5,0.2,0.6,0,1,0,-1,0,0.3
b,xclick,/m/dog,1,0.01,0.999,0,1,0,0,1,0,0,-1
"""


def prepare(inside: Path) -> None:
    """Two images, the tree and its names, and a file outside that no ImageID may reach."""
    (inside / "train").mkdir()
    for number, name in enumerate(("a.jpg", "b.jpg")):
        write(inside / "train" / name, jpeg(number, 8, 8))
    outside = inside.parent / "outside"
    outside.mkdir(exist_ok=True)
    write(outside / "secret.jpg", jpeg(3, 8, 8))
    write_tree(inside)
    write_boxes_table(inside / BOXES, ROWS)


def box_seeds(folder: Path) -> list[bytes]:
    """A table of the fewest columns, and one as of V6."""
    return [write_boxes_table(folder / BOXES, ROWS).read_bytes(), FULL.encode()]


def label_seeds(folder: Path) -> list[bytes]:
    """Verified labels of whole images."""
    labels = [("a", "car", 1), ("a", "vehicle", 1), ("b", "car", 0), ("b", "dog", 1)]
    return [write_labels_table(folder / LABELS, labels).read_bytes()]


def tree_seeds(folder: Path) -> list[bytes]:
    """The tree of classes."""
    write_tree(folder)
    return [(folder / JSON).read_bytes()]


def name_seeds(folder: Path) -> list[bytes]:
    """The names of classes, as published and with a header."""
    write_tree(folder)
    names = (folder / CSV).read_bytes()
    return [names, b"LabelName,DisplayName\n" + names]


def read_boxes(data: bytes, inside: Path) -> str | None:
    """Read a table of boxes."""
    write(inside / BOXES, data)
    (inside / LABELS).unlink(missing_ok=True)
    return _read_tables(inside)


def read_labels(data: bytes, inside: Path) -> str | None:
    """Read a table of labels beside boxes."""
    write(inside / LABELS, data)
    return _read_tables(inside)


def _read_tables(inside: Path) -> str | None:
    hierarchy, _ = read_hierarchy_file(inside / JSON, inside / CSV, Clusters())
    files, folder = AnnotationFiles(*find_tables(inside), inside), clear(inside / "annotations")
    settings = Clusters(use_image_labels=True)
    facts = build_annotations(folder, files, hierarchy, settings, Limits(1.0, 1.0))
    boxes = read_annotations(folder).boxes
    edges = (boxes.x_min, boxes.x_max, boxes.y_min, boxes.y_max)
    if not all(((edge >= 0) & (edge <= 1)).all() for edge in edges):
        raise AssertionError("a box leaves its image")
    return "passed over" if facts["bad_rows"] or facts["missing_images"] else None


def read_tree(data: bytes, inside: Path) -> None:
    """Give every class of a tree its place."""
    _read_hierarchy(write(inside / "tree.json", data), inside / CSV, inside)


def read_names(data: bytes, inside: Path) -> None:
    """Name the classes of the tree."""
    _read_hierarchy(inside / JSON, write(inside / "names.csv", data), inside)


def _read_hierarchy(tree: Path, names: Path, inside: Path) -> None:
    for mend in (True, False):
        hierarchy, mends = read_hierarchy_file(tree, names, Clusters(mend=mend))
        folder = clear(inside / "hierarchy")
        write_hierarchy(folder, hierarchy, mends)
        _check_paths(read_hierarchy(folder), hierarchy)


def _check_paths(read: Hierarchy, written: Hierarchy) -> None:
    if (read.labels, read.names) != (written.labels, written.names):
        raise AssertionError("other classes were read than were written")
    for row in range(len(read)):
        read.path(row)


def name_outside(rng: random.Random, data: bytes) -> bytes:
    """ImageIDs that lead elsewhere."""
    names = [b"../../outside/secret", b"/etc/hostname", b"train/a", b"a/../a", b"..", b"a\0", b""]
    return data.replace(rng.choice([b"\na,", b"\nb,"]), b"\n" + rng.choice(names) + b",")


def change_number(rng: random.Random, data: bytes) -> bytes:
    """Coordinates and flags that are none."""
    numbers = [b"nan", b"-0", b"1e999", b"-inf", b"1.0000001", b"0x1", b"", b" 1", b"2", b"1,1"]
    return data.replace(rng.choice([b"0.25", b"0.5", b"1\n", b",1,"]), rng.choice(numbers), 1)


def repeat_place(rng: random.Random, data: bytes) -> bytes:
    """A class in the place of another: twice in the tree, or below itself."""
    labels = [b"/m/root", b"/m/vehicle", b"/m/car", b"/m/taxi", b"/m/wheel", b"/m/dog"]
    return data.replace(rng.choice(labels), rng.choice(labels), 1)


def _family(name: str, seeds: Callable, read: Callable, own: tuple) -> Family:
    tokens = (b"LabelName", b"Subcategory", b"Part", b"/m/car", b"ImageID", b"XMin", b"-1", b",")
    return Family(f"openimages-{name}", seeds, read, prepare, own=own, tokens=tokens)


FAMILIES = [
    _family("boxes", box_seeds, read_boxes, (name_outside, change_number)),
    _family("labels", label_seeds, read_labels, (name_outside, change_number)),
    _family("tree", tree_seeds, read_tree, (repeat_place,)),
    _family("names", name_seeds, read_names, ()),
]
