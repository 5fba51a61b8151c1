"""The networks of timm, without their classifiers: modern convolutions and transformers.

Nothing about them is written down here: which sizes a body takes, whether it ends in a map, and how
wide, is seen by running it on shapes without numbers (torch's "meta" device).
"""

import copy
from dataclasses import replace
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch
from torch import nn

from lib.errors import UserError
from lib.models import timm_weights, torchvision_ops
from lib.models.backbone import Backbone, InputSize, InputStats, Units

ALWAYS = "timm/"  # before a name that another maker has too
PERIODS = (1, 4, 8, 14, 16, 32)  # a body takes multiples of one of these, or one size alone
ROWS = (nn.Sequential, nn.ModuleList)
STEPS = (16, 32, 64, 96, 128, 160, 224)  # the least size is found among these
OTHER = 33  # pixels above the native size: its map is larger by one at least
_seen: dict[str, tuple[InputSize, bool, int, int]] = {}  # what `_look` found, by name


@cache
def _timm() -> ModuleType:
    """Imported when one of its names is asked for: it takes seconds."""
    torchvision_ops.ensure()
    try:
        import timm
    except ImportError:
        raise UserError("networks of timm: pip install timm==1.0.31") from None
    return timm


def knows(network: str) -> bool:
    """Whether a name, with `timm/` before it or not and with a tag or not, is one of timm's."""
    return bool(_timm().is_model(network.removeprefix(ALWAYS)))


def names() -> list[str]:
    """All that timm has, without tags."""
    return list(_timm().list_models())


def backbone(network: str) -> Backbone:
    """Of any name that timm knows. Raises UserError for a tag that it does not know."""
    name = network.removeprefix(ALWAYS)
    body = _body(name)
    given = body.pretrained_cfg
    if name not in _seen:
        _seen[name] = _look(body, max(given["input_size"][1:]))
    sides, last, channels, width = _seen[name]
    mean, std = (tuple(255 * value for value in given[key]) for key in ("mean", "std"))
    return Backbone(
        body,
        _units(body),
        width,
        channels,
        InputStats(mean, std),
        sides,
        run=_run_last if last else _run,
        pool=_pool_last if last else _pool,
        own_weights=partial(timm_weights.download, network, given),
        fitted=partial(timm_weights.fitted, body),
    )


def _body(name: str) -> Any:
    """Without its classifier; one that takes any size where its class offers to."""
    create = partial(_timm().create_model, name, pretrained=False, num_classes=0)
    try:
        fixed = _timm().get_pretrained_cfg(name).fixed_input_size
    except RuntimeError as error:
        tags = ", ".join(_timm().list_models(f"{name.split('.')[0]}.*", pretrained=True))
        raise UserError(f"unknown network {name!r}: {error} Known: {tags or 'no tag'}") from None
    for offered in ("dynamic_img_size", "strict_img_size") if fixed else ():
        try:
            return create(**{offered: offered.startswith("dynamic")})
        except TypeError:  # the argument is unknown to this class
            continue
    return create()


def _run(body: Any, pictures: torch.Tensor) -> Any:
    return body.forward_features(pictures)


def _pool(body: Any, maps: Any) -> torch.Tensor:
    return body.forward_head(maps, pre_logits=True).flatten(1)


def _run_last(body: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Of a body whose maps have the channels last."""
    return body.forward_features(pictures).permute(0, 3, 1, 2)


def _pool_last(body: Any, maps: torch.Tensor) -> torch.Tensor:
    return _pool(body, maps.permute(0, 2, 3, 1))


def _look(body: Any, native: int) -> tuple[InputSize, bool, int, int]:
    """(sides that it takes, whether channels come last, channels of its map or 0, width)."""
    twin = copy.deepcopy(body).to("meta").eval()
    maps = _run(twin, _nothing(native))
    channels, last = 0, False
    if torch.is_tensor(maps) and maps.ndim == 4:
        last = maps.shape[1] != body.num_features
        channels = maps.shape[3 if last else 1]
    return _sides(twin, native), last, channels, _pool(twin, maps).shape[1]


def _sides(twin: nn.Module, native: int) -> InputSize:
    """By trying: a period counts where a multiple of it that nobody trained on works."""
    for period in PERIODS:
        sides = InputSize(meeting=(period, 0, 1))
        if _takes(twin, sides.next(native + OTHER)):
            break
    else:
        return InputSize(least=native, only=native)
    least = native
    for side in reversed([side for side in STEPS if side < native]):
        if not _takes(twin, sides.next(side)):
            break
        least = side
    return replace(sides, least=least)


def _takes(twin: nn.Module, side: int) -> bool:
    try:
        _pool(twin, _run(twin, _nothing(side)))
    except Exception:  # shapes that do not meet are told in many ways
        return False
    return True


def _nothing(side: int) -> torch.Tensor:
    return torch.empty(1, 3, side, side, device="meta")


def _units(body: Any) -> Units:
    """timm's own groups for rates by layer: stem, stages (of a transformer blocks), what follows.

    A group's parameters are found as the largest modules that hold no others; loose ones, such as
    a transformer's class token, in a list of their own.
    """
    places = _places(body)
    units: Units = [[] for _ in range(1 + max(places.values()))]

    def put(module: nn.Module) -> None:
        groups = {places[id(parameter)] for parameter in module.parameters()}
        if len(groups) == 1:
            units[groups.pop()].append(module)
            return
        for parameter in module.parameters(recurse=False):
            units[places[id(parameter)]].append(nn.ParameterList([parameter]))
        for child in module.children():
            put(child)

    put(body)
    return [unit for unit in units if unit]


def _places(body: Any) -> dict[int, int]:
    """The group of each parameter, by its id."""
    if not hasattr(body, "group_matcher"):
        return _places_by_child(body)
    from timm.models import group_parameters

    named = dict(body.named_parameters())
    groups = group_parameters(body, body.group_matcher(coarse=True), reverse=True)
    return {id(named[name]): place for name, place in groups.items()}


def _places_by_child(body: nn.Module) -> dict[int, int]:
    """Loose parameters, then child by child; those in a row are a group each."""
    children: list[nn.Module] = []
    for child in body.children():
        children += child.children() if isinstance(child, ROWS) else [child]
    places = {id(parameter): 0 for parameter in body.parameters(recurse=False)}
    for place, child in enumerate(children, 1):
        places |= {id(parameter): place for parameter in child.parameters()}
    return places
