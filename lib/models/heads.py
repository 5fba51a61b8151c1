"""Heads: a linear layer, or the wide head of the winning Cdiscount team.

A head with `takes_map` reads the backbone's feature map [n, channels, h, w] if there is one; other
heads read the pooled vector [n, num_features]. `out_features` is the number of classes.
"""

import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError

KINDS = ("linear", "wide")


def create_head(
    kind: str,
    num_features: int,
    map_channels: int,
    num_classes: int,
    rank: int = 0,
    dropout: float = 0.0,
) -> nn.Module:
    """A head with random weights from torch's global generator.

    kind: "linear" or "wide".
    num_features: length of the backbone's pooled vector.
    map_channels: channels of its feature map; 0 if there is none.
    rank: of the num_classes x num_classes matrices of a wide head; 0 = full.
    dropout: probability of dropping a pooled value in training.
    Raises UserError for an unknown kind or a value out of range.
    """
    if kind not in KINDS:
        raise UserError(f"head = {kind!r}: choose one of {', '.join(KINDS)}")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout = {dropout}: give a value from 0 to less than 1")
    if rank < 0 or (rank and kind == "linear"):
        raise UserError(f'head_rank = {rank}: 0, or the rank of a head = "wide"')
    if kind == "linear":
        return LinearHead(num_features, num_classes, dropout)
    return WideHead(map_channels or num_features, num_classes, rank, dropout)


class LastLinear(nn.Linear):
    """A linear layer that computes logits in float32, also under autocast.

    bf16 has three digits: of thousands of classes many would have equal logits, and the order of
    the top k would be that of their numbers.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features float [n, in_features] -> logits float32 [n, out_features]."""
        if features.is_meta:  # shapes alone; there is no autocast on meta
            return super().forward(features)
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


class LinearHead(LastLinear):
    """Dropout and a linear layer: [n, num_features] -> [n, num_classes]."""

    takes_map = False

    def __init__(self, num_features: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__(num_features, num_classes)
        self.dropout = dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pooled features float [n, num_features] -> logits float32 [n, num_classes]."""
        return super().forward(functional.dropout(features, self.dropout, self.training))


class WideHead(nn.Module):
    """[n, channels, h, w] -> [n, num_classes].

    A 1x1 convolution to num_classes channels, BatchNorm, ReLU, the mean over the map, then two
    fully connected layers of that width with a ReLU between them.
    Source: winning team of the Cdiscount challenge.
    """

    takes_map = True

    def __init__(
        self, channels: int, num_classes: int, rank: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.out_features = num_classes
        self.dropout = dropout
        self.up = nn.Conv2d(channels, num_classes, 1, bias=False)
        self.norm = nn.BatchNorm2d(num_classes)
        self.first = _square_linear(nn.Linear, num_classes, rank)
        self.second = _square_linear(LastLinear, num_classes, rank)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [n, channels, h, w] or vector [n, channels] -> logits float32 [n, num_classes]."""
        maps = features if features.ndim == 4 else features[:, :, None, None]
        pooled = functional.relu(self.norm(self.up(maps))).mean((2, 3))
        pooled = functional.dropout(pooled, self.dropout, self.training)
        return self.second(functional.relu(self.first(pooled)))


def _square_linear(kind: type[nn.Linear], size: int, rank: int) -> nn.Module:
    """A linear layer of a kind, size -> size, or its factorisation size -> rank -> size."""
    if not rank:
        return kind(size, size)
    return nn.Sequential(nn.Linear(size, rank, bias=False), kind(rank, size))
