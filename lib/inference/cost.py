"""What networks cost: milliseconds of a forward pass for each image, measured side by side"""

import time
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

from lib.config.model import Backbone, Model
from lib.models.classifier import Classifier
from lib.runtime import device as devices

ROUNDS = 5  # of all networks in turn; the median counts, so that other work on the machine does not


class TimedNetwork(NamedTuple):
    """A network, its settings, and images uint8 [b, 3, h, w] of the size that it takes."""

    net: Classifier
    model: Model | Backbone
    images: np.ndarray


@torch.inference_mode()
def measure_forward_ms(
    networks: Mapping[str, TimedNetwork], rounds: int = ROUNDS
) -> dict[str, float]:
    """Milliseconds for each image, of normalising and the forward pass; reading is left out.

    All networks run in every round, after one that is not measured.
    """
    times: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(rounds + 1):
        for name, (net, model, images) in networks.items():
            device = net.mean.device
            start = time.perf_counter()
            with devices.autocast(model, device):
                net(net.normalise(devices.to_device(images, device)))
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                times[name].append(1000 * (time.perf_counter() - start) / len(images))
    return {name: median(values) for name, values in times.items()}
