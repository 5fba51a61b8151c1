"""The networks of pretrainedmodels, without their classifiers and fixed-size pools."""

import copy
import re
import warnings
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from lib.models import torchvision_ops, weights
from lib.models.backbone import Backbone, InputSize, InputStats, State

NOT_IN_TURN = ("bninception", "nasnetalarge", "nasnetamobile", "pnasnet5large")
VECTORS = ("vgg", "alexnet")  # their bodies end in fully connected layers
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


def names() -> list[str]:
    """All that pretrainedmodels has."""
    return list(_pretrained_settings())


def backbone(network: str) -> Backbone:
    """Of any name of `names`."""
    body, width = _body(network)
    units = [[body.get_submodule(name) for name in unit] for unit in _unit_names(network, body)]
    in_turn = network not in NOT_IN_TURN
    if network.startswith(RELU_AFTER) and in_turn:
        units[-1].append(nn.ReLU())
    return Backbone(
        body,
        units,
        width,
        0 if network.startswith(VECTORS) else width,
        input_of(network),
        _sides(network),
        None if in_turn else _rectified if network.startswith(RELU_AFTER) else _features,
        own_weights=partial(weights.download, network, settings(network)["url"]),
        fitted=partial(_fitted, network),
    )


def settings(network: str) -> dict:
    """Of the first set of weights that pretrainedmodels lists ("imagenet" where there is one)."""
    return next(iter(_pretrained_settings()[network].values()))


def input_of(network: str) -> InputStats:
    """Means, deviations and order of colours that its weights were trained with."""
    given = settings(network)
    scale = 255 / given["input_range"][1]
    bgr = given["input_space"] == "BGR"
    order = slice(None, None, -1 if bgr else 1)
    mean, std = ([scale * v for v in given[key]][order] for key in ("mean", "std"))
    return InputStats(mean, std, bgr)


def _pretrained_settings() -> dict[str, dict]:
    torchvision_ops.ensure()
    with torch.random.fork_rng(devices=[]):  # to load it makes networks, out of torch's generator
        from pretrainedmodels.models import utils

    return utils.pretrained_settings


def _body(network: str) -> tuple[nn.Module, int]:
    """(the body, the number of values that its own classifier saw)."""
    import pretrainedmodels

    with warnings.catch_warnings():
        # torchvision complains of the argument `pretrained`, which pretrainedmodels hands on
        warnings.simplefilter("ignore")
        body = getattr(pretrainedmodels, network)(num_classes=1000, pretrained=None)
    width = _without_classifier(body)
    if network.startswith("resnext"):  # all instances share one module, random since the import
        body.features = copy.deepcopy(body.features)
        for module in body.features.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    for bound in ("features", "logits", "forward"):  # bound to this very instance: copies break
        body.__dict__.pop(bound, None)
    return body, width


def _without_classifier(body: nn.Module) -> int:
    last = "last_linear" if hasattr(body, "last_linear") else "last_conv"
    classifier = getattr(body, last)
    setattr(body, last, nn.Identity())
    if hasattr(body, "AuxLogits"):
        body.AuxLogits = nn.Identity()
    return getattr(classifier, "in_features", None) or classifier.in_channels


def _features(body: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    return body.features(pictures)  # type: ignore[operator]


def _rectified(body: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    return functional.relu(_features(body, pictures))


def _sides(network: str) -> InputSize:
    least = _by_start(network, LEAST_SIZE, 16)
    return InputSize(least, _by_start(network, PADDED_TO, 1), MEETING.get(network, (1, 0, 1)))


def _by_start(name: str, table: dict[str, int], otherwise: int) -> int:
    return next((value for start, value in table.items() if name.startswith(start)), otherwise)


def _unit_names(network: str, body: nn.Module) -> list[tuple[str, ...]]:
    """Children in the order of the data, those grouped that freeze together."""
    children = [name for name, _ in body.named_children()]
    if network.startswith(("resnet", "fbresnet", "cafferesnet")):
        layers = [(f"layer{i}",) for i in range(1, 5)]
        return [("conv1", "bn1", "relu", "maxpool"), *layers]
    if network.startswith(VECTORS):
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


def _fitted(network: str, state: State) -> State:
    """A file of pretrainedmodels or torchvision under the body's names."""
    return weights.without_head({_renamed(network, key): value for key, value in state.items()})


def _renamed(network: str, key: str) -> str:
    """The name in pretrainedmodels' module of a tensor in the file of its original."""
    if network.startswith("densenet"):  # files older than torch 0.4
        return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", key)
    linear = {"vgg": ("0", "3"), "ale": ("1", "4")}.get(network[:3])
    if linear:
        key = re.sub(r"^features\.", "_features.", key)
        key = re.sub(rf"^classifier\.{linear[0]}\.", "linear0.", key)
        key = re.sub(rf"^classifier\.{linear[1]}\.", "linear1.", key)
    return key
