"""Losses of masks against plain formulas."""

import numpy as np
import pytest
import torch

from lib.config.inputs.segmentation import Segmentation
from lib.config.model import Model
from lib.training.masks import (
    MaskedImages,
    MaskLosses,
    MaskTargets,
    evaluate_masks,
    inputs_and_targets,
)


def random_masks(seed=0, shape=(3, 2, 4, 5)):
    rng = np.random.default_rng(seed)
    logits, target = rng.normal(0, 2, shape), rng.random(shape) * (rng.random(shape) < 0.5)
    weight = rng.choice([0.0, 0.5, 1.0], shape)
    return (torch.tensor(array, dtype=torch.float32) for array in (logits, target, weight))


def test_cross_entropy_is_the_weighted_mean_over_cells():
    logits, target, weight = random_masks()
    losses = MaskLosses(Segmentation(core=0, bce_weight=2, dice_weight=0))(
        logits, MaskTargets(target, weight)
    )
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    t, w = target.numpy(), weight.numpy()
    cells = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    expected = 2 * (cells * w).sum((1, 2, 3)) / w.sum((1, 2, 3))
    assert losses.numpy() == pytest.approx(expected, rel=1e-4)


def test_dice_is_the_mean_over_the_classes_of_an_image():
    logits, target, weight = random_masks()
    target[0, 1] = 0
    losses = MaskLosses(Segmentation(core=0, bce_weight=0, dice_weight=3))(
        logits, MaskTargets(target, weight)
    )
    p, t, w = (a.double().numpy() for a in (logits.sigmoid(), target, weight))
    for row in range(3):
        by_class = []
        for c in range(2):
            if (w[row, c] * t[row, c]).sum() == 0:
                continue
            overlap = (w[row, c] * p[row, c] * t[row, c]).sum()
            total = (w[row, c] * (p[row, c] + t[row, c])).sum()
            by_class.append(1 - (2 * overlap + 1) / (total + 1))
        assert float(losses[row]) == pytest.approx(3 * np.mean(by_class), rel=1e-4)


def test_cells_of_weight_zero_have_no_gradient():
    logits, target, weight = random_masks()
    logits.requires_grad_()
    MaskLosses(Segmentation(core=0))(logits, MaskTargets(target, weight)).sum().backward()
    assert (logits.grad[weight == 0] == 0).all()
    assert (logits.grad[weight == 1] != 0).any()


def test_an_image_without_any_weight_has_no_loss():
    logits, target, weight = random_masks()
    losses = MaskLosses(Segmentation(core=0))(logits, MaskTargets(target, 0 * weight))
    assert losses.tolist() == [0, 0, 0]


def test_areas_and_their_iou():
    logits = torch.tensor([[[[5.0, 5, -5]], [[-5, -5, -5]]]])
    target = torch.tensor([[[[1.0, 0, 0]], [[0, 0, 0]]]])
    targets, losses = MaskTargets(target, torch.ones_like(target)), MaskLosses(Segmentation(core=0))
    assert [area.tolist() for area in losses.areas(logits, targets)] == [
        [[1, 0]],
        [[2, 0]],
        [[1, 0]],
    ]
    assert MaskLosses(Segmentation(core=0)).correct(logits, targets).tolist() == [0.5]


def test_cores_have_a_loss_and_no_part_in_the_iou():
    logits, target, weight = random_masks(shape=(3, 4, 4, 5))
    both = MaskLosses(Segmentation(core=0.5))
    masks = MaskTargets(target[:, :2], weight[:, :2])
    alone = MaskLosses(Segmentation(core=0)).correct(logits[:, :2], masks)
    assert both.correct(logits, MaskTargets(target, weight)).tolist() == alone.tolist()
    changed = logits.clone()
    changed[:, 2:] += 1
    targets = MaskTargets(target, weight)
    assert (both(changed, targets) != both(logits, targets)).all()


class Drawn(torch.nn.Module):
    """A network that draws what its input's first channel says, in both classes."""

    num_classes = 2
    mean = torch.zeros(3)

    def normalise(self, inputs):
        return inputs.float()

    def forward(self, images):
        return images[:, :2] * 10 - 5


class Loader:
    def eval_batches(self, rows, batch_size):
        drawn = np.array([[[1, 1, 0, 0]], [[0, 0, 0, 1]]])
        true = np.array([[[1, 0, 0, 0]], [[0, 0, 0, 1]]])
        for row in rows:
            images = np.zeros((1, 3, 1, 4), np.uint8)
            images[0, :2] = drawn if row == 0 else 0
            target = (true if row == 0 else 0 * true)[None].astype(np.float32)
            yield rows[:1], MaskedImages(images, target, np.ones_like(target))


def test_accuracy_of_validation_is_mean_iou_over_all_rows():
    metrics = evaluate_masks(
        Drawn(), Model(), Loader(), np.array([0, 1]), MaskLosses(Segmentation(core=0)), 1
    )
    assert metrics["valid_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert metrics["valid_loss"] > 0


def test_labels_are_the_targets_of_inputs_without_masks():
    inputs, targets = inputs_and_targets(
        np.zeros((2, 3), np.float32), torch.tensor([1, 0]), torch.device("cpu")
    )
    assert inputs.shape == (2, 3)
    assert targets.tolist() == [1, 0]
