"""A network on the embeddings of all of a product's pictures (T2): gated, joined, hidden layers.

It is trained as any other, by `lib/training/trainer.py`, on an `EmbeddingLoader`. Pictures are
alike: one
gate serves them all, so neither their order nor how many places stay empty changes the answer.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from lib.config.schema import Fusion
from lib.models.trainable import SingleStageClassifier
from lib.training.embedding_loader import EmbeddingLoader
from lib.training.evaluate import spread

SQUEEZE = 16  # the gate's inner layer is narrower by this
SAMPLE = 20_000  # products that means and deviations are measured on
BATCH = 512  # of them at a time
LEAST_DEVIATION = 1e-6  # what varies less is a constant, and stays near 0


class FusionModel(SingleStageClassifier):
    """seen float [n, views, width + 1] (from `normalise`) -> logits [n, classes]."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, settings: Fusion, width: int, classes: int) -> None:
        super().__init__()
        self.body = _Body(settings, width)
        self.head = nn.Linear(
            settings.hidden_sizes[-1] if settings.hidden_sizes else width, classes
        )
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(seen)).float()

    def normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        """[n, views, width], NaN where there is no picture -> float32 [n, views, width + 1].

        The last value is 1 for a picture and 0 for none, whose other values are 0, the mean.
        """
        there = ~inputs.isnan().any(2, keepdim=True)
        values = torch.where(there, (inputs.float() - self.mean) / self.std, 0.0)
        return torch.cat([values, there.float()], 2)


class _Body(nn.Module):
    """[n, views, width + 1] -> [n, last of the hidden sizes]."""

    def __init__(self, settings: Fusion, width: int) -> None:
        super().__init__()
        self.join = settings.pooling
        self.gate = _gate(width) if settings.squeeze_excitation else None
        self.layers = _hidden(settings, width)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        values, there = seen[..., :-1], seen[..., -1:]
        if self.gate is not None:
            values = values * self.gate(values)
        if self.join == "max":
            highest = values.masked_fill(there == 0, -torch.inf).amax(1)
            return self.layers(torch.where((there > 0).any(1), highest, 0.0))
        # What is missing is 0 before and after its gate. Mixup adds shares of two pictures there,
        # which a product with the mask would weigh a second time.
        return self.layers(values.sum(1))


def _gate(width: int) -> nn.Module:
    """Squeeze and excitation: each value of a picture is weighed between 0 and 1."""
    inner = max(width // SQUEEZE, 1)
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width), nn.Sigmoid())


def _hidden(settings: Fusion, width: int) -> nn.Module:
    layers: list[nn.Module] = []
    for size in settings.hidden_sizes:
        layers += [nn.Linear(width, size), nn.PReLU(), nn.Dropout(settings.dropout)]
        width = size
    return nn.Sequential(*layers)


def build(settings: Fusion, classes: int, feed: EmbeddingLoader, rows: np.ndarray) -> FusionModel:
    """A network for what `feed` gives, at first random, from torch's generator: seed it before.

    rows int64, ascending: products that train; means and deviations are measured on some of them.
    """
    net = FusionModel(settings, feed.width, classes)
    mean, std = _moments(feed, spread(rows, SAMPLE))
    net.mean.copy_(torch.from_numpy(mean))
    net.std.copy_(torch.from_numpy(std))
    return net


def _moments(feed: EmbeddingLoader, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each value over the pictures of these products, [width]."""
    count, total = 0, np.zeros(feed.width)
    for values in _pictures(feed, rows):
        count += len(values)
        total += values.sum(0)
    mean = total / max(count, 1)
    squares = np.zeros(feed.width)
    for values in _pictures(feed, rows):  # a second time: exact where the mean is large
        squares += np.square(values - mean).sum(0)
    std = np.sqrt(squares / max(count, 1))
    return mean, np.where(std < LEAST_DEVIATION, 1.0, std)


def _pictures(feed: EmbeddingLoader, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Embeddings of the pictures that are there, float64 [n, width]."""
    for _, seen in feed.plain(rows, BATCH):
        yield seen[~np.isnan(seen).any(2)].astype(np.float64)
