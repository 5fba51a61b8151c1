"""Networks for drawings of 28x28 grey pixels: the Quick, Draw! report's (Q3, Q4) and one more.

    draw_dense   784, 25, 12, the classes; ReLU: 20,067 parameters for ten classes
    draw_cnn1    4 maps of 3x3, 8 of 2x2, 64 values, the classes; ReLU: 320,890
    draw_cnn2    the same with a 2x2 maximum after each convolution: 19,322
    draw_modern  five convolutions with BatchNorm, the mean of the last map: 84,442

The last layer is the head (`heads.py`). Pixels come as three equal channels on a scale of 0 to 1;
the networks see one.
"""

import torch
from torch import nn

from lib.models.backbone import Backbone, InputSize, InputStats, Units

SIDE = 28
GIVEN = InputStats((0.0,) * 3, (255.0,) * 3)
WIDTHS = (16, 32, 48, 64, 64)  # channels of draw_modern


class ToGrayscale(nn.Module):
    """[n, 3, h, w] -> [n, 1, h, w]."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean(1, keepdim=True)


def backbone(network: str) -> Backbone:
    """The body of one of `NAMES`."""
    return NAMES[network]()


def _dense() -> Backbone:
    layers = [
        [ToGrayscale(), nn.Flatten(), nn.Linear(SIDE * SIDE, 25), nn.ReLU()],
        [nn.Linear(25, 12), nn.ReLU()],
    ]
    return _made(layers, 12)


def _cnn1() -> Backbone:
    return _of_the_report([], [], 8 * 25 * 25)


def _cnn2() -> Backbone:
    return _of_the_report([nn.MaxPool2d(2)], [nn.MaxPool2d(2)], 8 * 6 * 6)


def _of_the_report(after: list[nn.Module], then: list[nn.Module], seen: int) -> Backbone:
    layers = [
        [ToGrayscale(), nn.Conv2d(1, 4, 3), nn.ReLU(), *after],
        [nn.Conv2d(4, 8, 2), nn.ReLU(), *then],
        [nn.Flatten(), nn.Linear(seen, 64), nn.ReLU()],
    ]
    return _made(layers, 64)


def _modern() -> Backbone:
    layers: Units = []
    for number, (before, after) in enumerate(zip((1, *WIDTHS), WIDTHS, strict=False)):
        kernel, stride = (5 if number == 0 else 3), (2 if number in (0, 2) else 1)
        convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
        layers.append([convolution, nn.BatchNorm2d(after), nn.ReLU()])
    layers[0] = [ToGrayscale(), *layers[0]]
    return _made(layers, WIDTHS[-1], WIDTHS[-1])


def _made(layers: Units, width: int, channels: int = 0) -> Backbone:
    units = [nn.Sequential(*layer) for layer in layers]
    return Backbone(
        nn.Sequential(*units),
        [[unit] for unit in units],
        width,
        channels,
        GIVEN,
        InputSize(only=SIDE),
    )


NAMES = {
    "draw_dense": _dense,
    "draw_cnn1": _cnn1,
    "draw_cnn2": _cnn2,
    "draw_modern": _modern,
}
