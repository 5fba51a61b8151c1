"""Models for drawings of 28x28 gray pixels, and one for pen strokes.

    draw_dense     784, 25, 12, num_classes; ReLU: 20,067 parameters for ten classes
    draw_cnn1      4 maps of 3x3, 8 of 2x2, 64 values, num_classes; ReLU: 320,890
    draw_cnn2      the same with 2x2 max pooling after each convolution: 19,322
    draw_modern    five convolutions with BatchNorm, global mean pooling: 84,442
    StrokeNetwork  1-d convolutions along the points of the pen

The first three are those of the Quick, Draw! report. The last layer of the draw_* models is the
head (lib/models/heads.py). They read images of three equal channels and average these to one.
"""

import torch
from torch import nn
from torch.nn import functional

from lib.data.strokes import SQUARE
from lib.models.backbone import Backbone, InputSize, InputStats, Units
from lib.models.classifier import SingleStageClassifier
from lib.models.heads import LastLinear

SIDE = 28
STATS = InputStats((0.0,) * 3, (255.0,) * 3)
MODERN_CHANNELS = (16, 32, 48, 64, 64)

STROKE_CHANNELS = (64, 96, 128, 128)
NUM_STROKE_POOLS = 2  # max pooling follows this many of the first layers
STROKE_KERNEL = 5
STEP_SCALE = 32.0  # pen units that become a step of 1


class ToGrayscale(nn.Module):
    """Mean of the channels: [n, 3, h, w] -> [n, 1, h, w]."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images float [n, 3, h, w] -> [n, 1, h, w]."""
        return images.mean(1, keepdim=True)


def create_backbone(name: str) -> Backbone:
    """The backbone of one of `NAMES`."""
    return NAMES[name]()


def _dense() -> Backbone:
    layers = [
        [ToGrayscale(), nn.Flatten(), nn.Linear(SIDE * SIDE, 25), nn.ReLU()],
        [nn.Linear(25, 12), nn.ReLU()],
    ]
    return _sequential(layers, 12)


def _cnn1() -> Backbone:
    return _report_cnn([], [], 8 * 25 * 25)


def _cnn2() -> Backbone:
    return _report_cnn([nn.MaxPool2d(2)], [nn.MaxPool2d(2)], 8 * 6 * 6)


def _report_cnn(pool1: list[nn.Module], pool2: list[nn.Module], flat_size: int) -> Backbone:
    layers = [
        [ToGrayscale(), nn.Conv2d(1, 4, 3), nn.ReLU(), *pool1],
        [nn.Conv2d(4, 8, 2), nn.ReLU(), *pool2],
        [nn.Flatten(), nn.Linear(flat_size, 64), nn.ReLU()],
    ]
    return _sequential(layers, 64)


def _modern() -> Backbone:
    layers: Units = []
    channels = zip((1, *MODERN_CHANNELS), MODERN_CHANNELS, strict=False)
    for i, (channels_in, channels_out) in enumerate(channels):
        kernel, stride = (5 if i == 0 else 3), (2 if i in (0, 2) else 1)
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        layers.append([conv, nn.BatchNorm2d(channels_out), nn.ReLU()])
    layers[0] = [ToGrayscale(), *layers[0]]
    return _sequential(layers, MODERN_CHANNELS[-1], MODERN_CHANNELS[-1])


def _sequential(layers: Units, num_features: int, map_channels: int = 0) -> Backbone:
    units = [nn.Sequential(*layer) for layer in layers]
    return Backbone(
        nn.Sequential(*units),
        [[unit] for unit in units],
        num_features,
        map_channels,
        STATS,
        InputSize(fixed=SIDE),
    )


NAMES = {
    "draw_dense": _dense,
    "draw_cnn1": _cnn1,
    "draw_cnn2": _cnn2,
    "draw_modern": _modern,
}


class StrokeNetwork(SingleStageClassifier):
    """Pen strokes float32 [n, 6, points] (from `normalise`) -> logits float32 [n, num_classes].

    1-d convolutions along the points; the maximum and the mean over the points; a linear layer.
    """

    body: nn.Sequential
    mean: torch.Tensor

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        channels = zip((6, *STROKE_CHANNELS), STROKE_CHANNELS, strict=False)
        self.body = nn.Sequential(*(_stroke_layer(*pair) for pair in channels))
        self.dropout = dropout
        self.head = LastLinear(2 * STROKE_CHANNELS[-1], num_classes)
        self.register_buffer("mean", torch.full((2,), SQUARE / 2))

    def normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        """Points int16 [n, points, 3] of `StrokeLoader` -> float32 [n, 6, points].

        The six values: position x, y; step x, y from the previous point; line or jump; 1 for a
        point, 0 for padding (x < 0 in the input), where all values are 0.
        """
        values = inputs.float()
        mask = (inputs[..., :1] >= 0).float()
        position = (values[..., :2] - self.mean) / self.mean
        step = functional.pad(values[:, 1:, :2] - values[:, :-1, :2], (0, 0, 1, 0)) / STEP_SCALE
        features = torch.cat([position, step, values[..., 2:], mask], 2) * mask
        return features.transpose(1, 2).contiguous()

    def forward(self, strokes: torch.Tensor) -> torch.Tensor:
        """Normalised strokes float32 [n, 6, points] -> logits float32 [n, num_classes]."""
        mask = strokes[:, 5:]
        maps = strokes
        for i, layer in enumerate(self.body):
            maps = layer(maps) * mask
            if i < NUM_STROKE_POOLS:
                maps = functional.max_pool1d(maps, 2)
                mask = functional.max_pool1d(mask, 2)
        mean = maps.sum(2) / mask.sum(2).clamp(min=1)
        pooled = torch.cat([maps.amax(2), mean], 1)
        return self.head(functional.dropout(pooled, self.dropout, self.training))


def _stroke_layer(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels_in, channels_out, STROKE_KERNEL, padding=STROKE_KERNEL // 2, bias=False),
        nn.BatchNorm1d(channels_out),
        nn.ReLU(inplace=True),
    )
