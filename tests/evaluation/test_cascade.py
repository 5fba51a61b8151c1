"""Scores of masks and boxes of one network and of several."""

import json

import numpy as np
import pytest

from lib.data.openimages.masks.targets import cell_coverage, channel_boxes
from lib.detection.components import boxes_of_masks, concat_boxes
from lib.detection.routing import Routes, apply_routes, route_everywhere
from lib.evaluation.cascade import Drawn, Truth, gains, make_row, measure, write

IMAGES = np.array([2, 5, 6, 9])
CLASSES = np.array([1, 3])
LEFT, RIGHT = (0.0, 0.5, 0.0, 1.0), (0.5, 1.0, 0.0, 1.0)
BOXES = [(2, 1, LEFT), (5, 1, LEFT), (6, 3, RIGHT), (9, 3, RIGHT)]
SHAPE = (4, 8)


@pytest.fixture
def truth():
    image, class_row, box = (np.array(column) for column in zip(*BOXES, strict=True))
    boxes = channel_boxes(
        10, image, class_row, box, np.ones(4), CLASSES.tolist(), np.zeros((4, 4), bool)
    )
    return Truth(IMAGES, CLASSES, boxes, np.zeros(len(boxes.row), bool))


def masks_of(drawn, channels=CLASSES, shape=SHAPE):
    """uint8 [4, channels, h, w] of rows (position, class, box)."""
    masks = np.zeros((4, len(channels), *shape), np.uint8)
    for position, class_row, box in drawn:
        coverage = cell_coverage(np.array([box]), shape)[0]
        masks[position, list(channels).index(class_row)] = 255 * coverage
    return masks


def part(drawn, channels=CLASSES, routes=None, shape=SHAPE):
    """Masks and boxes of a network."""
    masks = masks_of(drawn, channels, shape)
    routes = routes or route_everywhere(IMAGES, len(channels))
    found = boxes_of_masks(masks, IMAGES, channels, 0.5)
    return Drawn(masks, channels, routes), apply_routes(found, channels, routes)


TRUE = [(0, 1, LEFT), (1, 1, LEFT), (2, 3, RIGHT), (3, 3, RIGHT)]


def measured_of(parts, truth):
    return measure([p[0] for p in parts], concat_boxes([p[1] for p in parts]), truth, 0.5)


def figures(measured):
    row = make_row("x", measured, 1.0, 2)
    return [round(estimate.value, 4) for estimate in (row.iou, row.iou_all, row.ap, row.ap_all)]


def test_perfect_masks_have_perfect_scores(truth):
    assert figures(measured_of([part(TRUE)], truth)) == [1, 1, 1, 1]


def test_a_class_that_is_not_annotated_counts_only_where_absent_means_negative(truth):
    """The second image also has a dog that nobody drew a box around."""
    iou, iou_all, ap, ap_all = figures(measured_of([part([*TRUE, (1, 3, LEFT)])], truth))
    assert (iou, ap) == (1, 1)
    assert iou_all == pytest.approx((1 + 2 / 3) / 2, abs=1e-3)
    assert ap_all < 1


def test_networks_of_a_cascade_draw_their_own_classes(truth):
    first = part(TRUE[:2], np.array([1]))
    second = part(TRUE[2:], np.array([3]), shape=(2, 4))  # a coarser grid
    assert figures(measured_of([first, second], truth)) == [1, 1, 1, 1]


def test_an_image_that_is_not_routed_to_a_network_has_empty_masks(truth):
    seen = np.array([[True], [False], [True], [True]])
    first = part(TRUE[:2], np.array([1]), Routes(IMAGES, seen, np.ones((4, 1), np.float32)))
    second = part(TRUE[2:], np.array([3]))
    iou, _, ap, _ = figures(measured_of([first, second], truth))
    assert iou == pytest.approx((0.5 + 1) / 2)
    assert ap == pytest.approx((51 / 101 + 1) / 2, abs=1e-3)


def test_the_report_has_rows_and_gains(truth, tmp_path):
    good, bad = (measured_of([part(drawn)], truth) for drawn in (TRUE, TRUE[1:]))
    rows = [make_row("cascade", good, 1.5, 2), make_row("whole", bad, 3.0, 2)]
    write(tmp_path, rows, {"cascade against whole": gains(good, bad)})
    records = json.loads((tmp_path / "cascade.json").read_text())
    assert [row["name"] for row in records["rows"]] == ["cascade", "whole"]
    assert records["rows"][1]["iou"]["value"] == pytest.approx(0.75)
    assert records["gains"]["cascade against whole"]["iou"]["value"] == pytest.approx(0.25)
    text = (tmp_path / "cascade.txt").read_text()
    assert "4 images" in text
    assert "cascade against whole, in points: mean IoU +25.00 (" in text


def test_a_part_without_any_box_has_no_figures(tmp_path):
    empty = np.zeros(0, np.int64)
    boxes = channel_boxes(
        10, empty, empty, np.zeros((0, 4)), np.zeros(0), CLASSES.tolist(), np.zeros((4, 4), bool)
    )
    measured = measured_of([part(TRUE)], Truth(IMAGES, CLASSES, boxes, np.zeros(0, bool)))
    write(tmp_path, [make_row("whole", measured, 1.0, 2)], {})
    (row,) = json.loads((tmp_path / "cascade.json").read_text())["rows"]
    assert row["iou"] == {"value": None, "low": None, "high": None, "n": 4}
    assert row["ap"]["value"] is None
