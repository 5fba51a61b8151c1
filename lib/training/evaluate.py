"""Loss and accuracy of a network on rows that do not train it."""

from typing import Any

import numpy as np
import torch

from lib.config.model import Model
from lib.models.classifier import Classifier
from lib.runtime import device as devices
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.training.loaders.image_loader import Loader
from lib.training.losses import LabelSetLosses, Losses
from lib.training.masks import MaskLosses, evaluate_masks


def evaluate(
    model: Classifier,
    model_cfg: Model,
    loader: Loader,
    rows: np.ndarray,
    labels: torch.Tensor,
    losses: Losses | LabelSetLosses | MaskLosses,
    batch_size: int,
    group: ProcessGroup = SINGLE,
) -> dict[str, Any]:
    """Cross-entropy and accuracy of `rows`, and accuracy of each level of the category tree.

    Of networks that draw masks, their loss and mean IoU (`evaluate_masks`).

    rows: int64 [n]; if empty, loss and accuracy are None.
    labels: int64 [R], class id of each row of the loader; or int8 [R, classes], its label set.
    losses: knows the levels of the tree.
    group: each rank evaluates its shard and returns the figures of all rows, so that schedules
        and choices that follow are the same in every rank.
    """
    if len(rows) == 0:
        return {"valid_loss": None, "valid_accuracy": None}
    if isinstance(losses, MaskLosses):
        return evaluate_masks(model, model_cfg, loader, rows, losses, batch_size, group)
    model.eval()
    device = model.mean.device
    shard = rows[group.shard(len(rows))]
    loss, num_correct, correct_by_level = 0.0, 0, np.zeros(losses.num_levels)
    for batch_rows, inputs in loader.eval_batches(shard, batch_size):
        targets = labels[batch_rows].to(device)
        with torch.inference_mode(), devices.autocast(model_cfg, device):
            logits = model(model.normalise(devices.to_device(inputs, device))).float()
        loss += float(losses.plain_sum(logits, targets))
        num_correct += int(losses.correct(logits, targets).sum())
        correct_by_level += [int(c.sum()) for c in losses.correct_by_level(logits, targets)]
    means = np.array([loss, num_correct, *correct_by_level]) / len(shard)
    weighted = means * group.shard_weight(len(rows))
    loss, accuracy, *by_level = group.all_reduce_mean(weighted).tolist()
    metrics = {"valid_loss": loss, "valid_accuracy": accuracy}
    return metrics | {f"valid_accuracy_level{i}": value for i, value in enumerate(by_level, 1)}


def evenly_spaced(rows: np.ndarray, max_rows: int) -> np.ndarray:
    """At most `max_rows` of the rows, evenly spaced."""
    if len(rows) <= max_rows:
        return rows
    return rows[np.linspace(0, len(rows) - 1, max_rows).astype(np.int64)]
