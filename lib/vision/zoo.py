"""Builds networks of many makers (C2), all of them a `Network`.

Bodies are pretrainedmodels' own (all of its names), `efficientnet_lite0` to `2`, and `small`,
which trains in a minute on a CPU. Their own classifiers and fixed-size pools are left out, so any
input from `least_size` up works and any number of classes.
"""

import copy
import warnings

import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError
from lib.vision import torchvision_ops
from lib.vision import weights as weight_files
from lib.vision.network import Input, Network, Units

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
NON_SEQUENTIAL = ("bninception", "nasnetalarge", "nasnetamobile", "pnasnet5large")


def build(network: str, classes: int, weights: str) -> Network:
    """A network of the zoo with a fresh head for `classes` classes.

    weights: "imagenet", "none", or the path of a state dict. Random parts come from torch's
    generator: seed it before. Raises UserError for an unknown name and for weights that cannot be
    had or do not fit.
    """
    url = None
    if network == "small":
        net = _small(classes)
    elif network in LITE:
        net = _lite(network, classes)
    elif network in _pretrained_settings():
        net = _pretrained(network, classes)
        url = _settings(network)["url"]
    else:
        raise UserError(f"unknown network {network!r}; choose one of {', '.join(names())}")
    weight_files.fill(network, net.body, net.head, weights, url)
    return net


def names() -> list[str]:
    """All that `build` knows."""
    return ["small", *LITE, *_pretrained_settings()]


def _small(classes: int) -> Network:
    """Five convolutions that halve the map four times; about a thousand images/s on two cores."""
    shapes = ((3, 32, 2), (32, 64, 2), (64, 128, 2), (128, 192, 2), (192, 256, 1))
    stages = [
        nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )
        for before, after, stride in shapes
    ]
    return Network("small", nn.Sequential(*stages), [[s] for s in stages], 256, classes, Input())


def _lite(network: str, classes: int) -> Network:
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
    return Network(network, body, units, width, classes, Input((127.0,) * 3, (128.0,) * 3))


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


def _pretrained_settings() -> dict[str, dict]:
    torchvision_ops.ensure()
    from pretrainedmodels.models import utils

    return utils.pretrained_settings


def _settings(network: str) -> dict:
    """Of the first set of weights that pretrainedmodels lists ("imagenet" where there is one)."""
    return next(iter(_pretrained_settings()[network].values()))


def _pretrained(network: str, classes: int) -> Network:
    import pretrainedmodels

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # torchvision on the `pretrained` that pretrainedmodels uses
        body = getattr(pretrainedmodels, network)(num_classes=1000, pretrained=None)
    width = _without_classifier(body)
    if network.startswith("resnext"):  # all instances share one module, random since the import
        body.features = copy.deepcopy(body.features)
        for module in body.features.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    for bound in ("features", "logits", "forward"):  # bound to this very instance: copies break
        body.__dict__.pop(bound, None)
    units = [[body.get_submodule(name) for name in unit] for unit in _unit_names(network, body)]
    in_turn = network not in NON_SEQUENTIAL
    return Network(network, body, units, width, classes, _input(network), in_turn)


def _without_classifier(body: nn.Module) -> int:
    """Drop the own classifier; the number of values that it saw."""
    last = "last_linear" if hasattr(body, "last_linear") else "last_conv"
    classifier = getattr(body, last)
    setattr(body, last, nn.Identity())
    if hasattr(body, "AuxLogits"):
        body.AuxLogits = nn.Identity()
    return getattr(classifier, "in_features", None) or classifier.in_channels


def _input(network: str) -> Input:
    settings = _settings(network)
    scale = 255 / settings["input_range"][1]
    bgr = settings["input_space"] == "BGR"
    order = slice(None, None, -1 if bgr else 1)
    mean, std = ([scale * v for v in settings[key]][order] for key in ("mean", "std"))
    return Input(mean, std, bgr)


def _unit_names(network: str, body: nn.Module) -> list[tuple[str, ...]]:
    """Children in the order of the data, those grouped that freeze together."""
    children = [name for name, _ in body.named_children()]
    if network.startswith(("resnet", "fbresnet", "cafferesnet")):
        layers = [(f"layer{i}",) for i in range(1, 5)]
        return [("conv1", "bn1", "relu", "maxpool"), *layers]
    if network.startswith(("vgg", "alexnet")):
        return _fully_connected(network, body)
    if network == "xception":
        blocks = [(f"block{i}",) for i in range(1, 13)]
        stem = [("conv1", "bn1", "relu"), ("conv2", "bn2", "relu")]
        return [*stem, *blocks, ("conv3", "bn3", "relu"), ("conv4", "bn4")]
    if "features" in children:
        return [
            (f"features.{name}",) for name, _ in body.get_submodule("features").named_children()
        ]
    classifier = ("avg", "global_pool", "dropout", "last_", "relu", "AuxLogits", "fc")
    return [(name,) for name in children if not name.startswith(classifier)]


def _fully_connected(network: str, body: nn.Module) -> list[tuple[str, ...]]:
    """VGG and AlexNet: convolutions, then two wide layers on a map of fixed size."""
    side = 6 if network == "alexnet" else 7
    body.pool, body.flatten = nn.AdaptiveAvgPool2d(side), nn.Flatten()
    convolutions = body.get_submodule("_features").named_children()
    units: list[tuple[str, ...]] = [(f"_features.{name}",) for name, _ in convolutions]
    first = ("linear0", "relu0")
    if network == "alexnet":
        return [*units, ("pool", "flatten", "dropout0", *first), ("dropout1", "linear1", "relu1")]
    return [*units, ("pool", "flatten", *first, "dropout0"), ("linear1", "relu1", "dropout1")]
