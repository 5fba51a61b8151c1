"""Faults of boxes and labels, against comparisons of all pairs, and those that were planted."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.clusters import Clusters
from lib.config.scenes import Faults, Scenes
from lib.data.openimages.annotation_files import AnnotationFiles
from lib.data.openimages.annotations import Limits, build_annotations
from lib.data.openimages.boxes import ImageLabels
from lib.data.openimages.faults import (
    Pairs,
    boxes_of_same_objects,
    implied_labels,
    labels_without_a_box,
    with_labels,
)
from lib.data.openimages.hierarchy import Hierarchy, read_fixes, write_hierarchy
from lib.data.openimages.places import read_hierarchy_file
from lib.data.synthetic.scenes.generate import generate
from tests.data.openimages.annotated_folder import CSV, JSON
from tests.data.openimages.test_hierarchy import make_hierarchy
from tests.data.openimages.test_image_classes import boxes_of

TREE = make_hierarchy([-1, 0, 1, 0, -1])
ABOVE = {row: set(TREE.path(row)[:-1]) for row in range(5)}
LABELS = st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 4)), st.integers(0, 1))


def labels_of(values: dict[tuple[int, int], int]) -> ImageLabels:
    rows = np.array(sorted((*pair, present) for pair, present in values.items()), np.int64)
    image, class_row, present = rows.reshape(-1, 3).T
    return ImageLabels(image.astype(np.int32), class_row.astype(np.int16), present.astype(np.int8))


def as_set(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.image.tolist(), pairs.class_row.tolist(), strict=True))


@given(LABELS, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=8))
def test_implied_and_missing_are_those_of_sets(values, boxed):
    labels, boxes = labels_of(values), boxes_of([(*pair, 1) for pair in boxed], num_images=4)
    seen = {pair for pair, present in values.items() if present}
    implied = {(image, above) for image, row in seen for above in ABOVE[row]} - values.keys()
    assert as_set(implied_labels(labels, TREE)) == implied
    shown = set(boxed) | {(image, above) for image, row in boxed for above in ABOVE[row]}
    missing = seen - shown
    covered = {(image, above) for image, row in missing for above in ABOVE[row]}
    assert as_set(labels_without_a_box(labels, boxes, TREE)) == missing - covered
    added = with_labels(labels, implied_labels(labels, TREE))
    assert (np.diff(added.image) >= 0).all()
    assert as_set(Pairs(*(c[added.present == 1] for c in (added.image, added.class_row)))) == (
        seen | implied
    )


def read_faults(path: Path, kind: str, image: str, label: str) -> list[tuple[str, str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return sorted((row[kind], row[image], row[label]) for row in csv.DictReader(file))


def test_every_planted_fault_is_found(tmp_path):
    faults = Faults(0.1, 0.3, 0.1, 0.3, 0.2, 0.0, 0.5)
    scenes = Scenes(num_images=60, size=48, num_classes=40, max_others=1, faults=faults)
    generate(tmp_path, scenes, seed=3)
    hierarchy, fixes = read_hierarchy_file(tmp_path / JSON, tmp_path / CSV, Clusters())
    files = AnnotationFiles([], [], tmp_path, tmp_path)
    folder = tmp_path / "annotations"
    folder.mkdir()
    write_hierarchy(folder, hierarchy, fixes)
    of_tree = {(fix.fault, fix.label) for fix in read_fixes(folder)}
    build_annotations(folder, files, hierarchy, Clusters(), Limits(0.0, 0.0))
    found = read_faults(folder / "faults.csv", "fault", "image", "label")
    by_image = {(fault, image) for fault, image, _ in found}
    with (tmp_path / "truth" / "train-faults.csv").open(newline="") as file:
        planted = list(csv.DictReader(file))
    assert {fault["Kind"] for fault in planted} >= {"two_levels", "missing_box", "placed_twice"}
    for fault in planted:
        kind, image, label = fault["Kind"], fault["ImageID"], fault["LabelName"]
        if kind == "two_levels":
            assert ("two levels", image, fault["Other"]) in found
        elif kind == "missing_box":
            assert ("missing box", image, label) in found
        elif kind == "missing_ancestor":
            for above in fault["Other"].split("|"):
                assert ("missing ancestor", image, above) in found
        elif kind == "missing_parent":
            assert ("no place", label) in of_tree
        elif kind == "missing_description":
            assert ("no description", label) in of_tree
        else:
            assert {("several parents", label), ("part", label)} & of_tree
    expected = {
        (fault["Kind"].replace("_", " "), fault["ImageID"]) for fault in planted if fault["ImageID"]
    }
    assert by_image == expected  # and nothing else


def all_pairs(columns: dict[str, np.ndarray], hierarchy: Hierarchy, min_iou: float) -> np.ndarray:
    """The same by definition, pair by pair."""
    number = len(columns["image"])
    found = np.zeros(number, bool)
    boxes = np.stack([columns[n] for n in ("x_min", "x_max", "y_min", "y_max")]).astype(float).T
    for i in range(number):
        for j in range(number):
            if columns["image"][i] != columns["image"][j]:
                continue
            width = min(boxes[i, 1], boxes[j, 1]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 2], boxes[j, 2])
            both = max(width, 0) * max(height, 0)
            area = [(b[1] - b[0]) * (b[3] - b[2]) for b in (boxes[i], boxes[j])]
            same = both >= min_iou * (sum(area) - both)
            found[i] |= (
                same and hierarchy.is_above[columns["class_row"][i], columns["class_row"][j]]
            )
    return found


def columns_of(rows: list[tuple[int, int, int, int, int, int]]) -> dict[str, np.ndarray]:
    """Columns of boxes (image, class, left, width, top, height) on a grid of 32."""
    values = np.array(sorted(rows, key=lambda row: row[0]), np.float64).reshape(-1, 6)
    image, class_row, left, width, top, height = values.T
    columns = {"image": image.astype(np.int32), "class_row": class_row.astype(np.int16)}
    corners = {"x_min": left, "x_max": left + width, "y_min": top, "y_max": top + height}
    return columns | {name: (place / 64).astype(np.float32) for name, place in corners.items()}


SIDE = st.integers(20, 32)
BOX = st.tuples(
    st.integers(0, 3), st.integers(0, 4), st.integers(0, 2), SIDE, st.integers(0, 2), SIDE
)


@given(st.lists(BOX, max_size=30), st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_it_finds_what_a_comparison_of_all_pairs_finds(rows, min_iou):
    columns = columns_of(rows)
    found = boxes_of_same_objects(columns, TREE, min_iou)
    np.testing.assert_array_equal(found, all_pairs(columns, TREE, min_iou))


@pytest.mark.parametrize(
    ("classes", "found"),
    [((0, 2), [True, False]), ((2, 0), [False, True]), ((2, 3), [False, False])],
)
def test_the_box_of_the_class_above_is_found(classes, found):
    columns = columns_of([(0, classes[0], 0, 30, 0, 30), (0, classes[1], 1, 30, 0, 30)])
    assert boxes_of_same_objects(columns, TREE, 0.9).tolist() == found
    assert boxes_of_same_objects(columns, TREE, 0.99).tolist() == [False, False]
