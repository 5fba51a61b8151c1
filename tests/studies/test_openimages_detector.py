"""The parts of the detector; tests/stages/test_cascade.py trains it."""

import numpy as np
import pytest
import torch
from torch import nn

from lib.data.openimages.masks.targets import ChannelBoxes
from studies import openimages_detector as study

# Rows 10, 20 and 30 of the hierarchy: vehicle, car and dog. A vehicle is above a car.
CLASSES = study.Classes(np.array([10, 20, 30]), np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]], bool))


def iou(one: torch.Tensor, other: torch.Tensor) -> float:
    sides = torch.minimum(one[2:], other[2:]) - torch.maximum(one[:2], other[:2])
    shared = sides.clamp(min=0).prod()
    areas = [(box[2:] - box[:2]).prod() for box in (one, other)]
    return float(shared / (sum(areas) - shared))


@pytest.mark.parametrize("seed", range(5))
def test_no_kept_box_overlaps_a_better_one_and_no_other_box_is_dropped(seed):
    generator = torch.Generator().manual_seed(seed)
    low, size = torch.rand(30, 2, generator=generator), torch.rand(30, 2, generator=generator)
    boxes, scores = torch.cat([low, low + 0.1 + size], 1), torch.rand(30, generator=generator)
    kept = study.nms(boxes, scores, 0.3).tolist()
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
    for row in range(30):
        better = [k for k in kept if scores[k] > scores[row]]
        assert (row in kept) == all(iou(boxes[row], boxes[k]) <= 0.3 for k in better)
    assert study.nms(boxes[:0], scores[:0], 0.3).tolist() == []


def test_a_box_has_its_lowest_class_and_none_from_a_box_of_a_class_above():
    boxes = ChannelBoxes(
        first=np.array([0, 0, 5]),
        row=np.array([0, 0, 1, 1, 2]),
        channel=np.array([0, 1, 0, 1, 2], np.int16),
        box=np.array(
            [[0.1, 0.5, 0.2, 0.6]] * 2 + [[0, 1, 0, 1]] * 2 + [[0.3, 0.3, 0, 1]], np.float32
        ),
        # Box 0 is a car, box 1 a vehicle, which says nothing of cars. Box 2 has no width.
        weight=np.array([1, 1, 1, 0, 1], np.float32),
        annotated=np.ones((2, 3), bool),
    )
    target = study.own_boxes(boxes, CLASSES, 1)
    assert target["labels"].tolist() == [1, 0]
    np.testing.assert_allclose(target["boxes"], [[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]])
    assert study.own_boxes(boxes, CLASSES, 0)["boxes"].shape == (0, 4)


def test_a_mirrored_image_has_mirrored_boxes():
    images = np.zeros((1, 3, 8, 10), np.uint8)
    images[0, :, 2:4, 1:3] = 9
    target = {"boxes": torch.tensor([[0.1, 0.25, 0.3, 0.5]]), "labels": torch.tensor([0])}
    flipped, (moved,) = study._flip(images, [target])
    (pixels,) = study._in_pixels([moved], flipped)
    left, top, right, bottom = pixels["boxes"][0].round().int().tolist()
    assert flipped[0, :, top:bottom, left:right].min() == 9
    assert flipped.sum() == flipped[0, :, top:bottom, left:right].sum()


class TwoBoxes(nn.Module):
    """Finds a car, and a vehicle that overlaps it, in every image."""

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5]])
        found = {"labels": torch.tensor([1, 0]), "scores": torch.tensor([0.9, 0.6])}
        return [found | {"boxes": boxes} for _ in images]


def test_a_car_is_a_vehicle_too():
    batches = [(np.array([3, 7]), np.zeros((2, 3, 10, 8), np.uint8))]
    found = study.find_boxes(TwoBoxes(), iter(batches), CLASSES)
    assert found.image.tolist() == [3, 3, 7, 7]
    assert found.class_row.tolist() == [10, 20, 10, 20]
    np.testing.assert_allclose(found.score, 0.9)
    np.testing.assert_allclose(found.box, [[0, 0.5, 0, 0.4]] * 4)
