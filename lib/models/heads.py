"""What is put on a body: a linear layer, or the head of the winning team (T1).

A head says with `on_map` whether it wants the body's map [n, channels, h, w] where there is one,
else it gets the pooled vector [n, width]; `out_features` is the number of classes.
"""

import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError

KINDS = ("linear", "wide")


def build(
    kind: str, width: int, channels: int, classes: int, rank: int = 0, dropout: float = 0.0
) -> nn.Module:
    """A fresh head; random numbers come from torch's generator.

    width: of the body's pooled vector. channels: of its map, 0 where it has none. rank: of the
    classes x classes matrices of a wide head, 0 = full. dropout: share of the pooled values that a
    step leaves out. Raises UserError for an unknown kind and values out of range.
    """
    if kind not in KINDS:
        raise UserError(f"head = {kind!r}: choose one of {', '.join(KINDS)}")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout = {dropout}: give a share from 0 to less than 1")
    if rank < 0 or (rank and kind == "linear"):
        raise UserError(f'head_rank = {rank}: 0, or the rank of a head = "wide"')
    if kind == "linear":
        return Linear(width, classes, dropout)
    return WideHead(channels or width, classes, rank, dropout)


class Linear(nn.Linear):
    """[n, width] -> [n, classes]."""

    on_map = False

    def __init__(self, width: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__(width, classes)
        self.dropout = dropout

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.dropout(seen, self.dropout, self.training))


class WideHead(nn.Module):
    """[n, channels, h, w] -> [n, classes]: a 1x1 convolution up to the class count, batch norm,
    ReLU, the mean over the map, two fully connected layers of that width with a ReLU between.

    A vector [n, channels] counts as a map of one pixel.
    """

    on_map = True

    def __init__(self, channels: int, classes: int, rank: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.out_features = classes
        self.dropout = dropout
        self.up = nn.Conv2d(channels, classes, 1, bias=False)
        self.norm = nn.BatchNorm2d(classes)
        self.first = _square(classes, rank)
        self.second = _square(classes, rank)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        maps = seen if seen.ndim == 4 else seen[:, :, None, None]
        pooled = functional.relu(self.norm(self.up(maps))).mean((2, 3))
        pooled = functional.dropout(pooled, self.dropout, self.training)
        return self.second(functional.relu(self.first(pooled)))


def _square(classes: int, rank: int) -> nn.Module:
    """classes -> classes; by way of `rank` values where that is asked for."""
    if not rank:
        return nn.Linear(classes, classes)
    return nn.Sequential(nn.Linear(classes, rank, bias=False), nn.Linear(rank, classes))
