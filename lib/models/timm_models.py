"""Backbones of timm: modern convolutional networks and transformers.

Nothing about them is written down here. A backbone runs without data on torch's "meta"
device to find which image sizes it accepts, whether it returns a feature map, and how wide that is.
"""

import copy
from dataclasses import dataclass, replace
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch
from torch import nn

from lib.errors import UserError
from lib.models import weights, workarounds
from lib.models.backbone import Backbone, InputSize, InputStats, Units

PREFIX = "timm/"  # before a name that another source of models has too
MULTIPLES = (1, 4, 8, 14, 16, 32)  # accepted sides are multiples of one of these, or one size only
MIN_SIZES = (16, 32, 64, 96, 128, 160, 224)  # candidates for the smallest accepted side
BEYOND_NATIVE = 33  # pixels added to the native size, so that the feature map grows


@dataclass(frozen=True)
class _Properties:
    """Properties of a backbone that `_probe` measures.

    map_channels: 0 if there is no feature map. channels_last: whether the map is [n, h, w, c].
    """

    input_size: InputSize
    channels_last: bool
    map_channels: int
    num_features: int


_probed: dict[str, _Properties] = {}  # by name


def is_model(name: str) -> bool:
    """Whether timm has the model; `name` may have the prefix "timm/" and a tag."""
    return bool(_timm().is_model(name.removeprefix(PREFIX)))


def list_models() -> list[str]:
    """All model names of timm, without tags."""
    return list(_timm().list_models())


def pretrained_cfg(name: str) -> dict[str, Any]:
    """timm's description of the weights of a model with a tag, as its models have it."""
    return dict(_timm().get_pretrained_cfg(name).to_dict())


def create_backbone(name: str) -> Backbone:
    """The backbone of any model of timm. Raises UserError for an unknown tag."""
    timm_name = name.removeprefix(PREFIX)
    module = _create_module(timm_name)
    cfg = module.pretrained_cfg
    if timm_name not in _probed:
        _probed[timm_name] = _probe(module, max(cfg["input_size"][1:]))
    properties = _probed[timm_name]
    mean, std = (tuple(255 * value for value in cfg[key]) for key in ("mean", "std"))
    last = properties.channels_last
    return Backbone(
        module,
        _units(module),
        properties.num_features,
        properties.map_channels,
        InputStats(mean, std),
        properties.input_size,
        forward_features=_forward_channels_last if last else _forward_features,
        pool=_pool_channels_last if last else _pool,
        load_pretrained=partial(weights.from_timm, name, cfg),
        convert_state_dict=partial(weights.convert_timm_state_dict, module),
    )


@cache
def _timm() -> ModuleType:
    """Imported when it is first needed, because that takes seconds."""
    workarounds.import_torchvision()
    try:
        import timm
    except ImportError:
        raise UserError("models of timm: pip install timm==1.0.31") from None
    return timm


def _create_module(name: str) -> Any:
    """The model without its classifier, and with any input size if its class offers that."""
    create = partial(_timm().create_model, name, pretrained=False, num_classes=0)
    try:
        fixed = _timm().get_pretrained_cfg(name).fixed_input_size
    except RuntimeError as error:
        tags = ", ".join(_timm().list_models(f"{name.split('.')[0]}.*", pretrained=True))
        raise UserError(f"unknown model {name!r}: {error} Known: {tags or 'no tag'}") from None
    options = {"dynamic_img_size": True, "strict_img_size": False} if fixed else {}
    for option, value in options.items():
        try:
            return create(**{option: value})
        except TypeError:  # the class does not have this option
            continue
    return create()


def _forward_features(module: Any, images: torch.Tensor) -> Any:
    """[n, 3, h, w] -> a map [n, channels, h, w], or tokens, or a vector."""
    return module.forward_features(images)


def _pool(module: Any, features: Any) -> torch.Tensor:
    """Output of `_forward_features` -> [n, num_features]."""
    return module.forward_head(features, pre_logits=True).flatten(1)


def _forward_channels_last(module: Any, images: torch.Tensor) -> torch.Tensor:
    """[n, 3, h, w] -> [n, channels, h, w], of a model whose map is [n, h, w, channels]."""
    return module.forward_features(images).permute(0, 3, 1, 2)


def _pool_channels_last(module: Any, maps: torch.Tensor) -> torch.Tensor:
    """Output of `_forward_channels_last` -> [n, num_features]."""
    return _pool(module, maps.permute(0, 2, 3, 1))


def _probe(module: Any, native_size: int) -> _Properties:
    """Find the properties of a backbone by running a copy on the meta device."""
    meta = copy.deepcopy(module).to("meta").eval()
    features = _forward_features(meta, _meta_image(native_size))
    map_channels, channels_last = 0, False
    if torch.is_tensor(features) and features.ndim == 4:
        channels_last = features.shape[1] != module.num_features
        map_channels = features.shape[3 if channels_last else 1]
    num_features = _pool(meta, features).shape[1]
    return _Properties(_input_size(meta, native_size), channels_last, map_channels, num_features)


def _input_size(meta: nn.Module, native_size: int) -> InputSize:
    """Accepted sizes: multiples of the first number of which a multiple above native size works."""
    for multiple in MULTIPLES:
        sizes = InputSize(multiple_of=multiple)
        if _accepts(meta, sizes.round_up(native_size + BEYOND_NATIVE)):
            break
    else:
        return InputSize(min=native_size, fixed=native_size)
    smallest = native_size
    for side in reversed([side for side in MIN_SIZES if side < native_size]):
        if not _accepts(meta, sizes.round_up(side)):
            break
        smallest = side
    return replace(sizes, min=smallest)


def _accepts(meta: nn.Module, side: int) -> bool:
    try:
        _pool(meta, _forward_features(meta, _meta_image(side)))
    except Exception:  # models report shapes that do not fit in many ways
        return False
    return True


def _meta_image(side: int) -> torch.Tensor:
    """[1, 3, side, side] without data."""
    return torch.empty(1, 3, side, side, device="meta")


def _units(module: Any) -> Units:
    """timm's groups for layer-wise learning rates: stem, stages (or blocks), final layers.

    A group consists of the largest modules all of whose parameters are in it. Parameters outside of
    such modules, for example a class token, are wrapped in a ParameterList.
    """
    group_of = _parameter_groups(module)
    units: Units = [[] for _ in range(1 + max(group_of.values()))]

    def add(part: nn.Module) -> None:
        groups = {group_of[id(parameter)] for parameter in part.parameters()}
        if len(groups) == 1:
            units[groups.pop()].append(part)
            return
        for parameter in part.parameters(recurse=False):
            units[group_of[id(parameter)]].append(nn.ParameterList([parameter]))
        for child in part.children():
            add(child)

    add(module)
    return [unit for unit in units if unit]


def _parameter_groups(module: Any) -> dict[int, int]:
    """id(parameter) -> number of its group, in the order of execution."""
    if not hasattr(module, "group_matcher"):
        return _groups_by_child(module)
    from timm.models import group_parameters

    parameters = dict(module.named_parameters())
    groups = group_parameters(module, module.group_matcher(coarse=True), reverse=True)
    return {id(parameters[name]): group for name, group in groups.items()}


def _groups_by_child(module: nn.Module) -> dict[int, int]:
    """Group 0: parameters of the module itself. Then a group for each child or child's layer."""
    children: list[nn.Module] = []
    for child in module.children():
        is_list = isinstance(child, nn.Sequential | nn.ModuleList)
        children += child.children() if is_list else [child]
    groups = {id(parameter): 0 for parameter in module.parameters(recurse=False)}
    for group, child in enumerate(children, 1):
        groups |= {id(parameter): group for parameter in child.parameters()}
    return groups
