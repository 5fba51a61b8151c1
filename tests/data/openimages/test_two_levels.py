"""The boxes of one object at two levels, against a comparison of all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.openimages.hierarchy import Hierarchy
from lib.data.openimages.two_levels import boxes_of_same_objects
from tests.data.openimages.test_hierarchy import make_hierarchy

TREE = make_hierarchy([-1, 0, 1, 0, -1])


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
