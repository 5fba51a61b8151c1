"""Heads: a linear layer, a wide head, or strips of convolutions in place of pooling.

A head with `takes_map` reads the backbone's feature map [n, channels, h, w] if there is one; other
heads read the pooled vector [n, num_features]. `out_features` is the number of classes.
"""

import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError

KINDS = ("linear", "wide", "strips", "shape_strips")
GRID = 8  # cells a side of the map that strips see; a network of stride 32 has 8 at 256 pixels
STRIP_CHANNELS = 256  # outputs of a strip; as many as the map has would be 20 times the weights
WIDE_RATIO = 2**0.5  # of width to height, between shapes: half way, in octaves, from 1:1 to 2:1


def create_head(
    kind: str,
    num_features: int,
    map_channels: int,
    num_classes: int,
    rank: int = 0,
    dropout: float = 0.0,
) -> nn.Module:
    """A head with random weights from torch's global generator.

    kind: one of KINDS.
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
    if rank < 0 or (rank and kind != "wide"):
        raise UserError(f'head_rank = {rank}: 0, or the rank of a head = "wide"')
    if kind == "linear":
        return LinearHead(num_features, num_classes, dropout)
    if kind == "wide":
        return WideHead(map_channels or num_features, num_classes, rank, dropout)
    num_shapes = 3 if kind == "shape_strips" else 1
    return StripHead(map_channels or num_features, num_classes, num_shapes, dropout)


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


class StripHead(nn.Module):
    """[n, channels, h, w] -> [n, num_classes], without a mean over the map.

    The map is brought to GRID x GRID cells by adaptive pooling; a 1 x GRID convolution reads its
    rows, a GRID x 1 convolution the column of what it found. With three shapes, tall, square and
    wide maps have weights of their own; the maps of a batch have one shape, as aspect clusters
    have.
    Source: "Solving class imbalance on Google open images" (snakers41, 2018), which found both too
    heavy or no better than adaptive pooling.
    """

    takes_map = True

    def __init__(
        self, channels: int, num_classes: int, num_shapes: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.out_features = num_classes
        self.num_shapes, self.dropout = num_shapes, dropout
        # One tensor for all shapes, so that those which a batch lacks have a gradient of 0: several
        # processes that train together need one for every parameter. The shapes follow each other
        # in the first axis, as channels-last memory takes tensors of four axes.
        self.rows = nn.Parameter(torch.empty(num_shapes * STRIP_CHANNELS, channels, 1, GRID))
        self.column = nn.Parameter(
            torch.empty(num_shapes * STRIP_CHANNELS, STRIP_CHANNELS, GRID, 1)
        )
        nn.init.kaiming_normal_(self.rows, nonlinearity="relu")
        nn.init.kaiming_normal_(self.column, nonlinearity="relu")
        self.first_norm = nn.BatchNorm2d(STRIP_CHANNELS)
        self.second_norm = nn.BatchNorm2d(STRIP_CHANNELS)
        self.last = LastLinear(STRIP_CHANNELS, num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Feature map [n, channels, h, w], or vector [n, channels] -> logits [n, num_classes]."""
        maps = features if features.ndim == 4 else features[:, :, None, None]
        rows, column = (
            weights.chunk(self.num_shapes)[self.shape_of(*maps.shape[2:])]
            for weights in (self.rows, self.column)
        )
        maps = functional.adaptive_avg_pool2d(maps, GRID)
        maps = functional.relu(self.first_norm(functional.conv2d(maps, rows)))
        maps = functional.relu(self.second_norm(functional.conv2d(maps, column)))
        pooled = functional.dropout(maps.flatten(1), self.dropout, self.training)
        return self.last(pooled)

    def shape_of(self, height: int, width: int) -> int:
        """Whose weights a map has: 0 for the only shape, or for tall; 1 for square; 2 for wide."""
        if self.num_shapes == 1:
            return 0
        return 1 + int(width > WIDE_RATIO * height) - int(height > WIDE_RATIO * width)


def _square_linear(kind: type[nn.Linear], size: int, rank: int) -> nn.Module:
    """A linear layer of a kind, size -> size, or its factorisation size -> rank -> size."""
    if not rank:
        return kind(size, size)
    return nn.Sequential(nn.Linear(size, rank, bias=False), kind(rank, size))
