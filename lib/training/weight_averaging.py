"""Average of the weights along the training: exponential (EMA), or of the ends of epochs (SWA).

Sources: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging" (1992);
Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (2018).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from lib.config.model import WeightAveraging
from lib.models.classifier import Classifier
from lib.runtime.distributed import SINGLE, ProcessGroup

MAX_BN_BATCHES = 50  # batches that batch norms are measured on


def create_average(settings: WeightAveraging, model: Classifier) -> "WeightAverage | None":
    """The average that the settings ask for, None for none."""
    return None if settings.kind == "none" else WeightAverage(settings, model)


class WeightAverage:
    """The average of a model's weights and batch norm statistics, kept beside the model.

    It uses torch's averaging functions, but neither `AveragedModel` nor `update_bn`: the first
    update of `AveragedModel` copies the weights whatever the decay is, and `update_bn` also
    resets the batch norms of frozen layers, which no batch measures again.
    """

    def __init__(self, settings: WeightAveraging, model: Classifier) -> None:
        self.settings, self.model = settings, model
        self.num_averaged = 0
        self.values = {key: value.clone() for key, value in self._current().items()}

    @property
    def started(self) -> bool:
        """Whether any weights have been averaged."""
        return self.num_averaged > 0

    def after_step(self) -> None:
        """Update an EMA; its decay is lower during the first steps."""
        if self.settings.kind == "ema":
            warmup_decay = (1 + self.num_averaged) / (10 + self.num_averaged)
            self._update(get_ema_multi_avg_fn(min(self.settings.ema_decay, warmup_decay)))

    def after_epoch(self, epoch: int, num_epochs: int) -> None:
        """Update an SWA after its first epochs; epoch: of the body, from 0, of `num_epochs`."""
        if self.settings.kind == "swa" and epoch + 1 > self.settings.swa_start * num_epochs:
            self._update(get_swa_multi_avg_fn())

    @contextmanager
    def swapped_in(
        self, batches: Iterable[torch.Tensor], group: ProcessGroup = SINGLE
    ) -> Iterator[None]:
        """Give the model the averaged weights, and its own weights back at the end.

        batches: normalised training inputs, this rank's shards; SWA measures the batch norms on
            the first of them.
        """
        weights = {key: value.clone() for key, value in self._current().items()}
        self._load(self.values)
        if self.settings.kind == "swa":
            measure_batch_norms(self.model, batches, group)
        try:
            yield
        finally:
            self._load(weights)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs, on the CPU."""
        values = {key: value.cpu() for key, value in self.values.items()}
        return {"taken": self.num_averaged, "mean": values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.num_averaged = state["taken"]
        for key, value in self.values.items():
            value.copy_(state["mean"][key])

    def _update(self, multi_avg_fn: Any) -> None:
        current = self._current()
        values = list(self.values.values())
        multi_avg_fn(values, [current[key] for key in self.values], self.num_averaged)
        self.num_averaged += 1

    def _current(self) -> dict[str, torch.Tensor]:
        return {k: v for k, v in self.model.state_dict().items() if v.is_floating_point()}

    def _load(self, values: dict[str, torch.Tensor]) -> None:
        # Not by copying into the tensors: the model also forgets the fused copies of frozen layers.
        self.model.load_state_dict(values, strict=False)


@torch.no_grad()
def measure_batch_norms(
    model: nn.Module, batches: Iterable[torch.Tensor], group: ProcessGroup = SINGLE
) -> None:
    """Set the statistics of trainable batch norms to their mean over MAX_BN_BATCHES batches.

    batches: normalised inputs, this rank's shards; there may be fewer.
    Batch norms of frozen layers keep their statistics.
    """
    model.train()
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then takes the plain mean
    for batch in islice(batches, MAX_BN_BATCHES):
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    group.average_bn_stats(model)
