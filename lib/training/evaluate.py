"""How well a network does on rows that it does not learn from."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from lib.config.model import Model
from lib.models.classifier import Classifier
from lib.runtime import device as devices
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.training.loader import Loader
from lib.training.losses import Losses


def watch(
    net: Classifier,
    model: Model,
    feed: Loader,
    rows: np.ndarray,
    labels: torch.Tensor,
    losses: Losses,
    batch: int,
    ranks: ProcessGroup = SINGLE,
) -> dict[str, Any]:
    """Cross-entropy and accuracy of `rows` int64 [n], and accuracy by level of the tree.

    labels int64 [I]: class of each row of the feed. Without rows both are None. Each rank looks
    at its part of the rows and finds what all do: rates and choices that follow are the same.
    """
    if len(rows) == 0:
        return {"valid_loss": None, "valid_accuracy": None}
    net.eval()
    device = net.mean.device
    own = rows[ranks.part(len(rows))]
    loss, right, by_level = 0.0, 0, np.zeros(losses.count)
    for some, inputs in feed.plain(own, batch):
        truth = labels[some].to(device)
        with torch.inference_mode(), devices.autocast(model, device):
            logits = net(net.normalise(devices.to_device(inputs, device))).float()
        loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
        right += int((logits.argmax(1) == truth).sum())
        by_level += [int(level.sum()) for level in losses.right_by_level(logits, truth)]
    means = np.array([loss, right, *by_level]) / len(own)
    loss, accuracy, *shares = ranks.mean(means * ranks.weight(len(rows))).tolist()
    found = {"valid_loss": loss, "valid_accuracy": accuracy}
    return found | {f"valid_accuracy_level{i}": share for i, share in enumerate(shares, 1)}


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
