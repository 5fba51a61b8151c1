"""Means of the weights along the way (O6): exponential, or of the ends of epochs (SWA)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import nn

from lib.config.model import WeightAveraging
from lib.models.classifier import Classifier
from lib.runtime.distributed import SINGLE, ProcessGroup

BATCHES = 50  # that batch norms are measured on anew


def averaged(settings: WeightAveraging, net: Classifier) -> "WeightAverage | None":
    return None if settings.kind == "none" else WeightAverage(settings, net)


class WeightAverage:
    """The mean of a network's weights and batch norm statistics, kept beside it."""

    def __init__(self, settings: WeightAveraging, net: Classifier) -> None:
        self.settings, self.net = settings, net
        self.taken = 0  # moments that are in the mean
        self.mean = {key: value.clone() for key, value in self._current().items()}

    @property
    def begun(self) -> bool:
        return self.taken > 0

    def after_step(self) -> None:
        """An exponential mean follows every step, faster while there are few."""
        if self.settings.kind == "ema":
            decay = min(self.settings.ema_decay, (1 + self.taken) / (10 + self.taken))
            self._take(1 - decay)

    def after_epoch(self, epoch: int, epochs: int) -> None:
        """SWA takes the ends of the body's epochs from a share of them on; epoch is from 0."""
        if self.settings.kind == "swa" and epoch + 1 > self.settings.swa_start * epochs:
            self._take(1 / (1 + self.taken))

    @contextmanager
    def in_place(
        self, batches: Iterable[torch.Tensor], ranks: ProcessGroup = SINGLE
    ) -> Iterator[None]:
        """The network has the mean's weights, and its own again at the end.

        batches: normalised training input; SWA's batch norms are measured on the first of it, this
        rank's part.
        """
        own = {key: value.clone() for key, value in self._current().items()}
        self._load(self.mean)
        if self.settings.kind == "swa":
            measure_batch_norms(self.net, batches, ranks)
        try:
            yield
        finally:
            self._load(own)

    def state(self) -> dict[str, Any]:
        return {"taken": self.taken, "mean": {k: v.cpu() for k, v in self.mean.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        self.taken = state["taken"]
        for key, value in self.mean.items():
            value.copy_(state["mean"][key])

    @torch.no_grad()
    def _take(self, share: float) -> None:
        current = self._current()
        torch._foreach_lerp_(list(self.mean.values()), [current[k] for k in self.mean], share)
        self.taken += 1

    def _current(self) -> dict[str, torch.Tensor]:
        return {k: v for k, v in self.net.state_dict().items() if v.is_floating_point()}

    @torch.no_grad()
    def _load(self, values: dict[str, torch.Tensor]) -> None:
        for key, value in self._current().items():
            value.copy_(values[key])


@torch.no_grad()
def measure_batch_norms(
    net: nn.Module, batches: Iterable[torch.Tensor], ranks: ProcessGroup = SINGLE
) -> None:
    """Statistics of the batch norms that train, as the plain mean over at most BATCHES batches."""
    net.train()
    norms = [
        module
        for module in net.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
    ]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the plain mean
    for batch in islice(batches, BATCHES):
        net(batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    ranks.settle(net)
