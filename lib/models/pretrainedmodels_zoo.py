"""Backbones of pretrainedmodels (2018, unmaintained), without classifiers and fixed pools.

Optional: models whose name begins with "timm/" never import this package.
"""

import copy
import re
import warnings
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError
from lib.models import timm_models, weights, workarounds
from lib.models.backbone import Backbone, InputSize, InputStats, StateDict

# Tables by the start of the name, unless said otherwise.
NOT_SEQUENTIAL = ("bninception", "nasnetalarge", "nasnetamobile", "pnasnet5large")  # full names
VECTOR_FEATURES = ("vgg", "alexnet")  # these end in fully connected layers
RELU_AFTER = ("densenet", "xception", "nasnet", "pnasnet")  # their maps precede the last ReLU
MIN_SIZE = {"alexnet": 63, "densenet": 32, "vgg": 32, "squeezenet": 32}  # below, a pool fails
MIN_PADDED = {"inception": 75, "polynet": 75}
# The maps of two branches agree only for these (multiple_of, offset, slack); full names.
SIZE_PATTERN = {
    "bninception": (32, 31, 8),
    "nasnetamobile": (32, 31, 4),
    "nasnetalarge": (16, 11, 8),
    "pnasnet5large": (16, 11, 8),
}
# The same weights at timm, under names that `_convert_state_dict` takes as they are.
TWINS = {
    **{f"resnet{depth}": f"resnet{depth}.tv_in1k" for depth in (18, 34, 50, 101, 152)},
    **{f"densenet{depth}": f"densenet{depth}.tv_in1k" for depth in (121, 161, 169, 201)},
    **{f"dpn{kind}": f"dpn{kind}.mx_in1k" for kind in ("68", "68b", "92", "98", "107", "131")},
    **{f"se_resnet{depth}": f"legacy_seresnet{depth}.in1k" for depth in (50, 101, 152)},
    **{f"se_resnext{d}_32x4d": f"legacy_seresnext{d}_32x4d.in1k" for d in (50, 101)},
    "senet154": "legacy_senet154.in1k",
    "inceptionv3": "inception_v3.tv_in1k",
    "inceptionv4": "inception_v4.tf_in1k",
    "inceptionresnetv2": "inception_resnet_v2.tf_in1k",
    "xception": "legacy_xception.tf_in1k",
    "nasnetalarge": "nasnetalarge.tf_in1k",
    "pnasnet5large": "pnasnet5large.tf_in1k",
}


def list_models() -> list[str]:
    """All model names of pretrainedmodels. Raises UserError if it is not installed."""
    return list(_pretrained_settings())


def create_backbone(name: str) -> Backbone:
    """The backbone of one of `list_models`."""
    module, num_features = _create_module(name)
    units = [[module.get_submodule(part) for part in unit] for unit in _unit_names(name, module)]
    sequential = name not in NOT_SEQUENTIAL
    relu_after = name.startswith(RELU_AFTER)
    if relu_after and sequential:
        units[-1].append(nn.ReLU())
    forward_features = _features_then_relu if relu_after else _features
    return Backbone(
        module,
        units,
        num_features,
        0 if name.startswith(VECTOR_FEATURES) else num_features,
        input_stats(name),
        input_size(name),
        None if sequential else forward_features,
        load_pretrained=partial(_load_pretrained, name),
        convert_state_dict=partial(_convert_state_dict, name),
    )


def settings(name: str) -> dict:
    """pretrainedmodels' settings of the model's first weights ("imagenet" if it has those)."""
    return next(iter(_pretrained_settings()[name].values()))


def input_stats(name: str) -> InputStats:
    """Normalisation and channel order that the weights were trained with."""
    given = settings(name)
    scale = 255 / given["input_range"][1]
    bgr = given["input_space"] == "BGR"
    order = slice(None, None, -1 if bgr else 1)
    mean, std = ([scale * v for v in given[key]][order] for key in ("mean", "std"))
    return InputStats(mean, std, bgr)


def input_size(name: str) -> InputSize:
    """Image sizes that the model accepts."""
    multiple_of, offset, slack = SIZE_PATTERN.get(name, (1, 0, 1))
    return InputSize(
        min=_by_prefix(name, MIN_SIZE, 16),
        min_padded=_by_prefix(name, MIN_PADDED, 1),
        multiple_of=multiple_of,
        offset=offset,
        slack=slack,
    )


def _load_pretrained(name: str) -> tuple[StateDict, str]:
    """Weights from a file on this disk, from their own address, or from timm's copy."""
    twin = TWINS.get(name)
    cfg = timm_models.pretrained_cfg(twin) if twin else None
    return weights.from_server_or_twin(name, settings(name)["url"], cfg)


def _pretrained_settings() -> dict[str, dict]:
    workarounds.import_torchvision()
    with torch.random.fork_rng(devices=[]):  # the import creates models from torch's generator
        try:
            from pretrainedmodels.models import utils
        except ImportError:
            raise UserError(
                "models of pretrainedmodels: pip install pretrainedmodels==0.7.4,"
                ' or use timm\'s: arch = "timm/..."'
            ) from None
    return utils.pretrained_settings


def _create_module(name: str) -> tuple[nn.Module, int]:
    """(the model without its classifier, number of features that the classifier read)."""
    import pretrainedmodels

    with warnings.catch_warnings():
        # torchvision warns about the argument `pretrained`, which pretrainedmodels passes on.
        warnings.simplefilter("ignore")
        module = getattr(pretrainedmodels, name)(num_classes=1000, pretrained=None)
    num_features = _remove_classifier(module)
    if name.startswith("resnext"):  # all instances share one module, initialised at the import
        module.features = copy.deepcopy(module.features)
        for layer in module.features.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    for method in ("features", "logits", "forward"):  # bound to this instance; copies would break
        module.__dict__.pop(method, None)
    return module, num_features


def _remove_classifier(module: nn.Module) -> int:
    last = "last_linear" if hasattr(module, "last_linear") else "last_conv"
    classifier = getattr(module, last)
    setattr(module, last, nn.Identity())
    if hasattr(module, "AuxLogits"):
        module.AuxLogits = nn.Identity()
    return getattr(classifier, "in_features", None) or classifier.in_channels


def _features(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """[n, 3, h, w] -> [n, channels, h, w]."""
    return module.features(images)  # type: ignore[operator]


def _features_then_relu(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """[n, 3, h, w] -> [n, channels, h, w]."""
    return functional.relu(_features(module, images))


def _by_prefix(name: str, table: dict[str, int], default: int) -> int:
    return next((value for prefix, value in table.items() if name.startswith(prefix)), default)


def _unit_names(name: str, module: nn.Module) -> list[tuple[str, ...]]:
    """Names of submodules in the order of execution, grouped by what is frozen together."""
    children = [child for child, _ in module.named_children()]
    if name.startswith(("resnet", "fbresnet", "cafferesnet")):
        layers = [(f"layer{i}",) for i in range(1, 5)]
        return [("conv1", "bn1", "relu", "maxpool"), *layers]
    if name.startswith(VECTOR_FEATURES):
        return _fully_connected_units(name, module)
    if name == "xception":
        blocks = [(f"block{i}",) for i in range(1, 13)]
        stem = [("conv1", "bn1", "relu"), ("conv2", "bn2", "relu")]
        return [*stem, *blocks, ("conv3", "bn3", "relu"), ("conv4", "bn4")]
    if "features" in children:
        features = module.get_submodule("features")
        return [(f"features.{child}",) for child, _ in features.named_children()]
    classifier = ("avg", "global_pool", "dropout", "last_", "relu", "AuxLogits", "fc")
    return [(child,) for child in children if not child.startswith(classifier)]


def _fully_connected_units(name: str, module: nn.Module) -> list[tuple[str, ...]]:
    """Of VGG and AlexNet: convolutions, then two wide layers on a map of fixed size."""
    side = 6 if name == "alexnet" else 7
    module.pool, module.flatten = nn.AdaptiveAvgPool2d(side), nn.Flatten()
    convolutions = module.get_submodule("_features").named_children()
    units: list[tuple[str, ...]] = [(f"_features.{child}",) for child, _ in convolutions]
    first = ("linear0", "relu0")
    if name == "alexnet":
        return [*units, ("pool", "flatten", "dropout0", *first), ("dropout1", "linear1", "relu1")]
    return [*units, ("pool", "flatten", *first, "dropout0"), ("linear1", "relu1", "dropout1")]


def _convert_state_dict(name: str, state: StateDict) -> StateDict:
    """A file of pretrainedmodels or torchvision, under the module's names and without its head."""
    return weights.drop_head({_converted_key(name, key): value for key, value in state.items()})


def _converted_key(name: str, key: str) -> str:
    if name.startswith("densenet"):  # files older than torch 0.4
        return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", key)
    linear_layers = {"vgg": ("0", "3"), "ale": ("1", "4")}.get(name[:3])
    if linear_layers:
        key = re.sub(r"^features\.", "_features.", key)
        key = re.sub(rf"^classifier\.{linear_layers[0]}\.", "linear0.", key)
        key = re.sub(rf"^classifier\.{linear_layers[1]}\.", "linear1.", key)
    return key
