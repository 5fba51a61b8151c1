"""Networks of many makers behind one face (C2): a body, a mean over its map, a linear head.

Bodies are pretrainedmodels' own (all of its names), `efficientnet_lite0` to `2`, and `small`,
which trains in a minute on a CPU. Their own classifiers and fixed-size pools are left out, so any
input from `least_size` up works and any number of classes.
"""

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError
from lib.vision import torchvision_ops
from lib.vision import weights as weight_files

Units = list[list[nn.Module]]

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
NON_SEQUENTIAL = ("bninception", "nasnetalarge", "nasnetamobile", "pnasnet5large")
RELU_AFTER = ("densenet", "xception", "nasnet", "pnasnet")  # their maps end before the activation
# By the start of the name. The pools of these shrink anything smaller to nothing.
LEAST_SIZE = {"alexnet": 63, "densenet": 32, "vgg": 32, "squeezenet": 32}
PADDED_TO = {"inception": 75, "polynet": 75}
# In these, branches meet whose maps agree only where (side - start) % period < width.
MEETING = {
    "bninception": (32, 31, 8),
    "nasnetamobile": (32, 31, 4),
    "nasnetalarge": (16, 11, 8),
    "pnasnet5large": (16, 11, 8),
}


@dataclass(frozen=True)
class Input:
    """What a body was trained on: RGB means and deviations on the 0..255 scale; its order."""

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    bgr: bool = False


class Network(nn.Module):
    """pictures float [n, 3, h, w] (from `normalise`) -> logits [n, classes].

    `units` lists the body's parts in the order of the data; `freeze_until` counts them. With
    `in_turn` they are run one after the other, else the body's own `features` is called.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        name: str,
        body: nn.Module,
        units: Units,
        width: int,
        classes: int,
        given: Input,
        in_turn: bool = True,
    ) -> None:
        super().__init__()
        self.name = name
        self.body = body
        self.units = units
        self.width = width
        self.head = nn.Linear(width, classes)
        self.least_size = _by_start(name, LEAST_SIZE, 16)
        self._in_turn = in_turn
        self._relu_after = name.startswith(RELU_AFTER)
        self._bgr = given.bgr
        self._frozen_units = 0
        self._frozen_body = False
        self.register_buffer("mean", torch.tensor(given.mean, dtype=torch.float32), False)
        self.register_buffer("std", torch.tensor(given.std, dtype=torch.float32), False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(pictures)).float()

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """[n, width]: what the head sees."""
        maps = self._padded(pictures)
        if self._in_turn:
            for unit in self.units:
                for module in unit:
                    maps = module(maps)
        else:
            maps = self.body.features(maps)  # type: ignore[operator]
        if self._relu_after:
            maps = functional.relu(maps)
        return maps.mean((2, 3)) if maps.ndim == 4 else maps

    def normalise(self, pictures: torch.Tensor) -> torch.Tensor:
        """uint8 RGB [n, 3, h, w] -> float32, in the memory order that convolutions like best."""
        values = pictures.to(torch.float32, memory_format=torch.channels_last)
        values = (values - self.mean[:, None, None]) / self.std[:, None, None]
        return values.flip(1) if self._bgr else values

    def freeze_until(self, unit: int) -> None:
        """Keep `units[:unit]` as they are: no gradient, BatchNorm with its stored statistics.

        Autograd records nothing before the first unit that trains, so a frozen prefix costs what
        a prediction does.
        """
        if not 0 <= unit <= len(self.units):
            raise UserError(
                f"trainable_from = {unit}: {self.name} has units 0 to {len(self.units) - 1}"
                f" ({len(self.units)} trains the head alone)"
            )
        self._frozen_units = unit
        self._apply_freeze()

    def freeze_body(self, frozen: bool) -> None:
        """Freeze everything but the head, or only what `freeze_until` froze."""
        self._frozen_body = frozen
        self._apply_freeze()

    def train(self, mode: bool = True) -> "Network":
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self._frozen_body:
            return [self.body]
        return [module for unit in self.units[: self._frozen_units] for module in unit]

    def _apply_freeze(self) -> None:
        self.body.requires_grad_(True)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train(self.training)

    def _padded(self, pictures: torch.Tensor) -> torch.Tensor:
        height, width = pictures.shape[-2:]
        bottom, right = (_next_side(self.name, side) - side for side in (height, width))
        return functional.pad(pictures, (0, right, 0, bottom)) if bottom or right else pictures


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


def check_size(net: Network, size: tuple[int, int]) -> None:
    """Raises UserError for a (height, width) that the network's pools would shrink to nothing."""
    if min(size) < net.least_size:
        raise UserError(
            f"crop = {list(size)}: {net.name} needs at least {net.least_size} pixels a side"
        )


def _next_side(name: str, side: int) -> int:
    """The least side from `side` up that the body can take; the mean colour fills the rest."""
    side = max(side, _by_start(name, PADDED_TO, 1))
    period, start, width = MEETING.get(name, (1, 0, 1))
    while (side - start) % period >= width:
        side += 1
    return side


def _by_start(name: str, table: dict[str, int], otherwise: int) -> int:
    return next((value for start, value in table.items() if name.startswith(start)), otherwise)


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
