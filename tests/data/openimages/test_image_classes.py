"""The class that stands for an image, and its set of clusters, against loops over the images."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.openimages.boxes import BOX_TYPES, Boxes, ImageLabels
from lib.data.openimages.image_classes import class_of_images, label_sets
from tests.data.openimages.test_hierarchy import make_hierarchy


def boxes_of(rows: list[tuple[int, int, int]], num_images: int) -> Boxes:
    """Boxes (image, class, area in 64ths)."""
    rows = sorted(rows, key=lambda row: row[0])
    values = np.array(rows, np.float64).reshape(-1, 3)
    columns = {name: np.zeros(len(rows), kind) for name, kind in BOX_TYPES.items()}
    columns["image"], columns["class_row"] = (
        values[:, i].astype(BOX_TYPES[name]) for i, name in enumerate(("image", "class_row"))
    )
    columns["x_max"] = np.ones(len(rows), np.float32)
    columns["y_max"] = (values[:, 2] / 64).astype(np.float32)
    return Boxes(**columns, num_images=num_images)


def by_loop(boxes: Boxes, label_by: str, usable: np.ndarray) -> list[int]:
    classes = []
    for image in range(boxes.num_images):
        rows = [row for row in range(len(boxes)) if boxes.image[row] == image and usable[row]]
        area = {row: float(boxes.y_max[row]) for row in rows}
        kinds = {row: int(boxes.class_row[row]) for row in rows}
        if not rows:
            classes.append(-1)
        elif label_by == "largest":
            classes.append(kinds[max(rows, key=lambda row: (area[row], -row))])
        else:
            count = Counter(kinds.values())
            total = Counter()
            for row in rows:
                total[kinds[row]] += area[row]
            classes.append(max(count, key=lambda kind: (count[kind], total[kind], -kind)))
    return classes


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(1, 8)), max_size=25),
    st.sampled_from(["largest", "frequent"]),
    st.integers(0, 2**25 - 1),
)
def test_the_class_of_each_image_is_that_of_a_loop(rows, label_by, mask):
    boxes = boxes_of(rows, num_images=5)
    usable = np.array([bool(mask >> row & 1) for row in range(len(boxes))], bool)
    assert class_of_images(boxes, label_by, usable).tolist() == by_loop(boxes, label_by, usable)


@pytest.mark.parametrize(("label_by", "expected"), [("largest", [1, -1]), ("frequent", [2, -1])])
def test_largest_and_most_frequent_differ(label_by, expected):
    boxes = boxes_of([(0, 2, 3), (0, 1, 9), (0, 2, 3)], num_images=2)
    assert class_of_images(boxes, label_by).tolist() == expected


# 0 > 1 > 2, 0 > 3, 4 > 5, 6. Clusters: 0 with 3; 1 with 2; 5 and 6 merged; 4 is in none.
HIERARCHY = make_hierarchy([-1, 0, 1, 0, -1, 4, -1])
CLUSTER = np.array([0, 1, 1, 0, -1, 2, 2], np.int16)
LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 1)), max_size=8)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), max_size=6), LABELS)
def test_the_clusters_of_each_image_are_those_of_a_loop(box_rows, label_rows):
    boxes = boxes_of([(image, row, 1) for image, row in box_rows], num_images=3)
    boxes.cluster[:] = CLUSTER[boxes.class_row]
    label_rows = sorted(set(label_rows))
    columns = np.array(label_rows, np.int64).reshape(-1, 3)
    labels = ImageLabels(*columns.T)
    above = {row: set(np.flatnonzero(HIERARCHY.is_above[:, row]).tolist()) for row in range(7)}
    expected = np.full((3, 3), -1)
    for image in range(3):
        absent = {row for i, row, present in label_rows if i == image and not present}
        for cluster in range(3):
            members = np.flatnonzero(cluster == CLUSTER).tolist()
            if all(absent & (above[row] | {row}) for row in members):
                expected[image, cluster] = 0
        boxed = {row for i, row in box_rows if i == image}
        seen = {row for i, row, present in label_rows if i == image and present} | boxed
        for row in seen:
            counts = row in boxed or not any(row in above[other] for other in seen)
            if counts and CLUSTER[row] >= 0:
                expected[image, CLUSTER[row]] = 1
    found = label_sets(boxes, labels, HIERARCHY, CLUSTER, 3)
    np.testing.assert_array_equal(found, expected)
    if not label_rows:
        np.testing.assert_array_equal(label_sets(boxes, None, HIERARCHY, CLUSTER, 3), expected)
