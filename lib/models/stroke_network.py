"""A network on the way of the pen (Q8): convolutions along the points, their largest and mean."""

import torch
from torch import nn
from torch.nn import functional

from lib.data.strokes import SQUARE
from lib.models.trainable import SingleStageClassifier

WIDTHS = (64, 96, 128, 128)  # channels
HALVED = 2  # the first so many, after which there are half the points
KERNEL = 5
STEP = 32.0  # units that a step of 1 stands for


class StrokeNetwork(SingleStageClassifier):
    """seen float [n, 6, points] (from `normalise`) -> logits [n, classes]."""

    body: nn.Sequential
    mean: torch.Tensor

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((6, *WIDTHS), WIDTHS, strict=False):
            layers.append(
                nn.Sequential(
                    nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2, bias=False),
                    nn.BatchNorm1d(after),
                    nn.ReLU(inplace=True),
                )
            )
        self.body = nn.Sequential(*layers)
        self.dropout = dropout
        self.head = nn.Linear(2 * WIDTHS[-1], classes)
        self.register_buffer("mean", torch.full((2,), SQUARE / 2))

    def normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        """int16 [n, points, 3] (`drawing_feed.points`) -> place, step, line or jump, and 1 for a
        point, 0 for none; float32 [n, 6, points]."""
        values = inputs.float()
        there = (inputs[..., :1] >= 0).float()
        place = (values[..., :2] - self.mean) / self.mean
        step = functional.pad(values[:, 1:, :2] - values[:, :-1, :2], (0, 0, 1, 0)) / STEP
        seen = torch.cat([place, step, values[..., 2:], there], 2) * there
        return seen.transpose(1, 2).contiguous()

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        there = seen[:, 5:]
        maps = seen
        for number, layer in enumerate(self.body):
            maps = layer(maps) * there
            if number < HALVED:
                maps = functional.max_pool1d(maps, 2)
                there = functional.max_pool1d(there, 2)
        mean = maps.sum(2) / there.sum(2).clamp(min=1)
        pooled = torch.cat([maps.amax(2), mean], 1)
        return self.head(functional.dropout(pooled, self.dropout, self.training)).float()
