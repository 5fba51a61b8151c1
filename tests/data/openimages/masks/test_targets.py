"""Coarse masks of boxes against loops over cells and points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.openimages.masks.targets import (
    box_weights,
    cell_coverage,
    channel_boxes,
    shrink_boxes,
    target_masks,
)

# vehicle 0 > car 1 > taxi 2; vehicle 0 > bus 3; dog 4
VEHICLE, CAR, TAXI, BUS, DOG = range(5)
IS_ABOVE = np.zeros((5, 5), bool)
IS_ABOVE[[VEHICLE, VEHICLE, VEHICLE, CAR], [CAR, TAXI, BUS, TAXI]] = True
LEFT, RIGHT = (0.0, 0.5, 0.0, 1.0), (0.5, 1.0, 0.0, 1.0)
ALL = (0.0, 1.0, 0.0, 1.0)


def at_or_above(a, b):
    return a == b or IS_ABOVE[a, b]


def boxes_of(rows, channels, num_images=1, annotated=None):
    """ChannelBoxes of rows (image, class, box, weight)."""
    image, class_row, box, weight = zip(*rows, strict=True)
    return channel_boxes(
        num_images,
        np.array(image),
        np.array(class_row),
        np.array(box),
        np.array(weight),
        channels,
        IS_ABOVE,
        annotated,
    )


def masks_of(boxes, images=(0,), shape=(1, 2), unannotated=0.25, **options):
    images = np.array(images)
    entry, _ = boxes.entries_of(images)
    return target_masks(boxes, images, boxes.box[entry], shape, unannotated, **options)


def test_a_box_belongs_to_its_class_and_those_above_and_says_nothing_of_those_below():
    boxes = boxes_of([(0, CAR, LEFT, 1)], [VEHICLE, CAR, TAXI, BUS, DOG])
    target, weight = masks_of(boxes)
    assert target[0, :, 0].tolist() == [[1, 0], [1, 0], [0, 0], [0, 0], [0, 0]]
    assert weight[0, :, 0].tolist() == [[1, 1], [1, 1], [0, 0.25], [0.25, 0.25], [0.25, 0.25]]


def test_a_box_of_the_class_counts_more_than_one_of_a_class_above():
    boxes = boxes_of([(0, VEHICLE, ALL, 1), (0, CAR, LEFT, 0.5)], [CAR, BUS])
    target, weight = masks_of(boxes)
    assert target[0, :, 0].tolist() == [[1, 0], [0, 0]]
    assert weight[0, :, 0].tolist() == [[0.5, 0], [0, 0]]


def test_absence_counts_fully_where_it_was_verified():
    annotated = np.array([[False, True]])
    boxes = boxes_of([(0, DOG, LEFT, 1)], [CAR, BUS], annotated=annotated)
    _, weight = masks_of(boxes, unannotated=0.0)
    assert weight[0].tolist() == [[[0, 0]], [[1, 1]]]


def test_the_heaviest_box_of_a_cell_decides_and_a_box_of_weight_zero_is_unknown():
    rows = [(0, CAR, ALL, 0.25), (0, CAR, LEFT, 0.75), (1, CAR, LEFT, 0.0)]
    target, weight = masks_of(boxes_of(rows, [CAR], 2), (1, 0))
    assert target[:, 0, 0].tolist() == [[0, 0], [1, 1]]
    assert weight[:, 0, 0].tolist() == [[0, 1], [0.75, 0.25]]


def test_hard_targets_take_half_of_a_cell():
    box = (0.0, 0.7, 0.0, 1.0)  # covers 0.4 of the second cell
    boxes = boxes_of([(0, CAR, box, 1)], [CAR])
    assert masks_of(boxes)[0][0, 0, 0] == pytest.approx([1, 0.4])
    assert masks_of(boxes, hard=True)[0][0, 0, 0].tolist() == [1, 0]


def test_cores_are_drawn_after_the_masks_with_their_weights():
    boxes = boxes_of([(0, CAR, ALL, 0.5), (1, BUS, LEFT, 1)], [CAR, BUS], 2)
    target, weight = masks_of(boxes, (0, 1), (1, 4), core=0.5)
    assert target.shape == weight.shape == (2, 4, 1, 4)
    assert target[0, 2, 0].tolist() == [0, 0.5, 0.5, 0]
    assert target[1, 3, 0].tolist() == [0.25, 0.25, 0, 0]
    assert target[0, 3].sum() == target[1, 2].sum() == 0
    np.testing.assert_array_equal(weight[:, 2:], weight[:, :2])


def test_boxes_shrink_and_grow_around_their_middle():
    box = np.array([[0.2, 0.6, 0.0, 1.0]])
    assert shrink_boxes(box, 0.5)[0] == pytest.approx([0.3, 0.5, 0.25, 0.75])
    assert shrink_boxes(shrink_boxes(box, 0.25), 4) == pytest.approx(box)


def test_flags_that_are_set_multiply_and_unknown_ones_weigh_nothing():
    flags = np.array([[0, 1, -1, 1], [0, 0, -1, 1], [0, 0, -1, 1]], np.int8)
    assert box_weights(*flags, 0.5, 0.25, 0.75).tolist() == [1, 0.5, 1, 0.09375]


def test_no_boxes_give_empty_masks():
    empty = np.zeros(0, np.int64)
    boxes = channel_boxes(2, empty, empty, np.zeros((0, 4)), np.zeros(0), [CAR], IS_ABOVE)
    target, weight = masks_of(boxes, (1, 0))
    assert target.sum() == 0
    assert (weight == 0.25).all()


@given(st.integers(0, 2**32 - 1))
def test_coverage_is_the_share_of_points_in_the_box(seed):
    rng = np.random.default_rng(seed)
    box = np.sort(rng.uniform(-0.3, 1.3, (3, 2, 2)), 2).reshape(3, 4)
    shape = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    points = 64
    y = (np.arange(shape[0] * points) + 0.5) / (shape[0] * points)
    x = (np.arange(shape[1] * points) + 0.5) / (shape[1] * points)
    inside = (
        ((x >= box[:, :1]) & (x < box[:, 1:2]))[:, None, :]
        & ((y >= box[:, 2:3]) & (y < box[:, 3:]))[:, :, None]
    ).reshape(3, shape[0], points, shape[1], points)
    assert cell_coverage(box, shape) == pytest.approx(inside.mean((2, 4)), abs=2.5 / points)


@given(st.integers(0, 2**32 - 1))
def test_masks_are_those_of_a_loop_over_boxes_and_cells(seed):
    rng = np.random.default_rng(seed)
    count, num_boxes = int(rng.integers(1, 4)), int(rng.integers(0, 7))
    channels = rng.permutation(5)[: rng.integers(1, 6)].tolist()
    image = np.sort(rng.integers(0, count, num_boxes))
    class_row = rng.integers(0, 5, num_boxes)
    box = np.sort(rng.random((num_boxes, 2, 2)), 2).reshape(num_boxes, 4)
    weight = rng.choice([0, 0.5, 1], num_boxes)
    annotated = rng.random((count, len(channels))) < 0.2
    boxes = channel_boxes(count, image, class_row, box, weight, channels, IS_ABOVE, annotated)
    order, shape = rng.permutation(count), (3, 2)
    target, weights = masks_of(boxes, order, shape)
    coverage = cell_coverage(box, shape)
    for position, row in enumerate(order):
        for number, channel in enumerate(channels):
            own = [b for b in np.flatnonzero(image == row) if at_or_above(channel, class_row[b])]
            known = annotated[row, number] or own
            higher = [b for b in np.flatnonzero(image == row) if IS_ABOVE[class_row[b], channel]]
            for cell in np.ndindex(shape):
                positive = [b for b in own if weight[b] > 0 and coverage[b][cell] > 0]
                unknown = [b for b in own if weight[b] == 0] + higher
                expected = max((coverage[b][cell] for b in positive), default=0)
                assert target[position, number][cell] == pytest.approx(expected, abs=1e-6)
                if positive:
                    expected = max(weight[b] for b in positive)
                elif any(coverage[b][cell] > 0 for b in unknown):
                    expected = 0
                else:
                    expected = 1 if known else 0.25
                assert weights[position, number][cell] == pytest.approx(expected, abs=1e-6)
