"""Boxes out of coarse masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.openimages.masks.targets import cell_coverage
from lib.detection.components import BoxTable, Cores, boxes_of_masks, concat_boxes


def masks_of(*grids):
    """uint8 [1, channels, h, w] of grids of probabilities."""
    return (np.array(grids) * 255).round().astype(np.uint8)[None]


def boxes(masks, **options):
    images = np.arange(len(masks)) + 7
    channels = np.arange(masks.shape[1]) + 3
    return boxes_of_masks(masks, images, channels, **{"threshold": 0.5, **options})


def test_each_component_of_each_class_is_a_box():
    left_and_right = [[1, 0, 0, 1], [1, 0, 0, 1]]
    bottom = [[0, 0, 0, 0], [1, 1, 1, 1]]
    found = boxes(masks_of(left_and_right, bottom))
    assert sorted(map(tuple, np.column_stack([found.class_row, found.box]).tolist())) == [
        (3, 0, 0.25, 0, 1),
        (3, 0.75, 1, 0, 1),
        (4, 0, 1, 0.5, 1),
    ]
    assert (found.image == 7).all()


def test_cells_that_touch_at_a_corner_are_apart():
    assert len(boxes(masks_of([[1, 0], [0, 1]]))) == 2


def test_partly_covered_cells_say_where_the_object_ends():
    found = boxes(masks_of([[0, 0.75, 1, 0.25], [0, 0.75, 1, 0.25]]))
    assert found.box[0] == pytest.approx([1.25 / 4, 3.25 / 4, 0, 1], abs=0.01)


def test_a_score_is_the_mean_probability_of_the_component():
    found = boxes(masks_of([[0.6, 0.8, 0.2, 0.2]]))
    assert found.score == pytest.approx([0.7], abs=0.01)


def test_small_components_are_passed_over():
    grid = [[1, 1, 0, 0.8, 0, 0.6, 0.6]]
    assert len(boxes(masks_of(grid))) == 3
    assert len(boxes(masks_of(grid), min_cells=2)) == 2


def test_no_cell_above_the_threshold_gives_no_box():
    assert len(boxes(np.zeros((2, 3, 4, 4), np.uint8))) == 0
    assert len(boxes(np.zeros((2, 3, 4, 4), np.uint8), threshold=0.0)) == 0
    assert concat_boxes([]).box.shape == (0, 4)


def test_tables_are_joined_by_image_and_score():
    def table(image, score):
        count = len(image)
        return BoxTable(
            np.array(image),
            np.zeros(count, np.int16),
            np.array(score, np.float32),
            np.zeros((count, 4), np.float32),
        )

    both = concat_boxes([table([1, 4], [0.5, 0.25]), table([1, 2], [0.75, 1])])
    assert both.image.tolist() == [1, 1, 2, 4]
    assert both.score.tolist() == [0.75, 0.5, 1, 0.25]


def test_cores_tell_touching_objects_apart():
    """Two objects of four by two cells, side by side; the left core is a cell lower."""
    masks, cores = np.zeros((2, 1, 1, 4, 4), np.uint8)
    masks[:] = 255
    cores[0, 0, 2:4, 0] = cores[0, 0, 1:3, 3] = 255
    channels, images = np.array([5]), np.array([7])
    found = boxes_of_masks(masks, images, channels, 0.5, cores=Cores(cores, 0.5))
    edges = sorted(map(tuple, found.box.tolist()))
    assert edges == [(0, pytest.approx(0.375), 0.25, 1), (pytest.approx(0.625), 1, 0, 1)]
    assert found.score.tolist() == [1, 1]
    cores[0, 0, :, 0] = 0  # a single core changes nothing
    alone = boxes_of_masks(masks, images, channels, 0.5, cores=Cores(cores, 0.5))
    assert alone.box.tolist() == [[0, 1, 0, 1]]


def test_a_table_of_boxes_survives_its_file(tmp_path):
    found = boxes(masks_of([[0.6, 0.8, 0.2, 0.2]], [[0, 0, 0, 1]]))
    for table in (found, concat_boxes([])):
        table.save(tmp_path)
        read = BoxTable.load(tmp_path)
        for column in ("image", "class_row", "score", "box"):
            np.testing.assert_array_equal(getattr(read, column), getattr(table, column))


@given(st.integers(0, 2**32 - 1))
def test_a_single_box_of_whole_cells_or_parts_comes_back(seed):
    """A box whose ends lie at least a cell apart, from its exact coverage."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(4, 9, 2)
    low = rng.uniform(0, 0.4, 2)
    high = low + np.maximum(rng.uniform(0.3, 0.6, 2), 2.5 / np.array([width, height]))
    box = np.array([low[0], min(high[0], 1), low[1], min(high[1], 1)])
    found = boxes((cell_coverage(box[None], (height, width))[None] * 255).round().astype(np.uint8))
    assert len(found) == 1
    assert found.box[0] == pytest.approx(box, abs=0.02)


@given(st.integers(0, 2**32 - 1))
def test_boxes_of_a_batch_are_those_of_each_image_and_class(seed):
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, 256, (3, 2, 5, 4), dtype=np.uint8)
    together = boxes(masks)
    for image in range(3):
        for channel in range(2):
            alone = boxes_of_masks(
                masks[image : image + 1, channel : channel + 1],
                np.array([image + 7]),
                np.array([channel + 3]),
                0.5,
            )
            mine = together.take(
                (together.image == image + 7) & (together.class_row == channel + 3)
            )
            assert mine.score == pytest.approx(alone.score)
            assert mine.box == pytest.approx(alone.box)
    assert (np.diff(together.image) >= 0).all()
    assert ((together.box >= 0) & (together.box <= 1)).all()
    assert (together.box[:, ::2] < together.box[:, 1::2]).all()
