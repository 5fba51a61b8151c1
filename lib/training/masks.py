"""Training on coarse masks: targets of a batch, binary cross-entropy and Dice loss, mean IoU

Cells have weights (`lib/data/openimages/masks/targets.py`). Loss and IoU pass over cells of
weight 0.

Source of the Dice loss: Milletari et al., "V-Net: Fully Convolutional Neural Networks for
Volumetric Medical Image Segmentation" (2016).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lib.config.inputs.segmentation import Segmentation
from lib.config.model import Model
from lib.models.classifier import Classifier
from lib.runtime import device as devices
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.training.loaders.image_loader import Loader

THRESHOLD = 0.5  # of a cell that is in a mask, predicted or true
SMOOTH = 1.0  # cells that are added to both terms of the Dice loss, so that tiny objects weigh less
TINY = 1e-6


class MaskedImages(NamedTuple):
    """Images uint8 [b, 3, h, w] and what to draw on them: float32 [b, planes, h', w'] each.

    target: covered fraction of each cell. weight: of each cell in the loss.
    """

    images: np.ndarray
    target: np.ndarray
    weight: np.ndarray


class MaskTargets(NamedTuple):
    """target and weight of `MaskedImages` on the network's device."""

    target: torch.Tensor
    weight: torch.Tensor


def inputs_and_targets(
    batch: Any, labels: torch.Tensor, device: torch.device
) -> tuple[torch.Tensor, Any]:
    """Inputs and targets of a batch on the device: masks if it has any, else its `labels`."""
    if isinstance(batch, MaskedImages):
        images, target, weight = (devices.to_device(array, device) for array in batch)
        return images, MaskTargets(target, weight)
    return devices.to_device(batch, device), labels.to(device, non_blocking=True)


class MaskLosses(nn.Module):
    """logits float [n, planes, h, w] and their `MaskTargets` -> loss of each row, float [n].

    The IoU is that of the masks; the planes of cores, after them, have only a loss.
    """

    num_levels = 0  # masks have no category tree

    def __init__(self, settings: Segmentation) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, logits: torch.Tensor, targets: MaskTargets) -> torch.Tensor:
        """Weighted sum of both losses, float [n]."""
        target, weight = targets
        loss = logits.new_zeros(len(logits))
        if self.settings.bce_weight:
            cells = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
            mean = (cells * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=TINY)
            loss = loss + self.settings.bce_weight * mean
        if self.settings.dice_weight:
            loss = loss + self.settings.dice_weight * _dice_loss(logits, target, weight)
        return loss

    def correct(self, logits: torch.Tensor, targets: MaskTargets) -> torch.Tensor:
        """Mean IoU of each row over the classes that are in it, float [n]; 0 for a row of none."""
        intersection, union, truth = self.areas(logits, targets)
        iou = torch.where(truth > 0, intersection / union.clamp(min=1), 0)
        return iou.sum(1) / (truth > 0).sum(1).clamp(min=1)

    def areas(self, logits: torch.Tensor, targets: MaskTargets) -> tuple[torch.Tensor, ...]:
        """Cells of intersection, union and true mask, float [n, channels] each."""
        masks = slice(logits.shape[1] // self.settings.num_planes)
        counts = targets.weight[:, masks] > 0
        found = (logits[:, masks].sigmoid() >= THRESHOLD) & counts
        true = (targets.target[:, masks] >= THRESHOLD) & counts
        return tuple(m.sum((2, 3)).float() for m in (found & true, found | true, true))


def _dice_loss(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean Dice loss of each row over its classes, float [n]; an absent class has no overlap."""
    probs = logits.sigmoid() * weight
    target = target * weight
    overlap = (probs * target / weight.clamp(min=TINY)).sum((2, 3))
    total = probs.sum((2, 3)) + target.sum((2, 3))
    dice = 1 - (2 * overlap + SMOOTH) / (total + SMOOTH)
    present = (target.sum((2, 3)) > 0).float()
    return (dice * present).sum(1) / present.sum(1).clamp(min=1)


def evaluate_masks(
    model: Classifier,
    model_cfg: Model,
    loader: Loader,
    rows: np.ndarray,
    losses: MaskLosses,
    batch_size: int,
    group: ProcessGroup = SINGLE,
) -> dict[str, Any]:
    """Loss of `rows`, and as accuracy the mean IoU of their masks.

    rows: int64 [n], at least one. The IoU of a class is over all rows, the mean over classes. Each
    rank evaluates its shard and returns the figures of all rows.
    """
    model.eval()
    device = model.mean.device
    shard = rows[group.shard(len(rows))]
    loss, sums = 0.0, np.zeros((3, model.num_classes // losses.settings.num_planes))
    for batch_rows, batch in loader.eval_batches(shard, batch_size):
        inputs, targets = inputs_and_targets(batch, torch.empty(0), device)
        with torch.inference_mode(), devices.autocast(model_cfg, device):
            logits = model(model.normalise(inputs)).float()
        loss += float(losses(logits, targets).mean()) * len(batch_rows)
        sums += np.stack([area.sum(0).cpu().numpy() for area in losses.areas(logits, targets)])
    totals = group.all_reduce_mean(np.concatenate([[loss], sums.ravel()])) * group.world_size
    intersection, union, truth = totals[1:].reshape(sums.shape)
    iou = intersection[truth > 0] / np.maximum(union[truth > 0], 1)
    mean_iou = float(iou.mean()) if len(iou) else 0.0
    return {"valid_loss": float(totals[0]) / len(rows), "valid_accuracy": mean_iou}
