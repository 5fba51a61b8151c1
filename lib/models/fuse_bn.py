"""Folds BatchNorm into the convolutions before it: what is frozen then costs a fifth less or more.

With its stored statistics, BatchNorm scales and shifts each channel; a convolution's weights and
bias can do that on the way.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

WRONG = 1e-3  # share of what the layers give by which a right copy never differs, in float64


def fold(layers: nn.Module, sample: torch.Tensor) -> nn.Module:
    """A copy of `layers` in eval mode that computes the same with fewer passes over the maps.

    sample: any input of `layers`, [n, channels, h, w]. It is run once to see which BatchNorm reads
    the result of which convolution; those that read anything else stay. All do where the copy gives
    something else for the sample: convolutions that alter their weights on the way cannot be told
    by their kind. `layers` itself comes back where there is no BatchNorm.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in layers.modules()):
        return layers
    with (
        torch.inference_mode(False),  # so that training may use the copy too
        torch.no_grad(),
        torch.autocast(sample.device.type, enabled=False),
    ):
        dtype = next(p.dtype for p in layers.parameters() if p.is_floating_point())
        whole = copy.deepcopy(layers).eval().double()
        sample = sample.double()
        wanted, pairs = _pairs(whole, sample)
        folded = copy.deepcopy(whole)
        for convolution, norm in pairs:
            modules: Any = folded.get_submodule(convolution), folded.get_submodule(norm)
            folded.set_submodule(convolution, fuse_conv_bn_eval(*modules))
            folded.set_submodule(norm, _rest_of(modules[1]))
        right = _alike(folded(sample), wanted)
        return (folded if right else whole).to(dtype).requires_grad_(False)


def _rest_of(norm: nn.Module) -> nn.Module:
    """What a BatchNorm of timm does besides: an activation of its own."""
    return getattr(norm, "act", None) or nn.Identity()


def _alike(got: Any, wanted: Any) -> bool:
    if not torch.is_tensor(wanted):
        return all(_alike(one, other) for one, other in zip(got, wanted, strict=True))
    if wanted.is_meta:
        return True
    return bool((got - wanted).norm() <= WRONG * wanted.norm())


def _pairs(layers: nn.Module, sample: torch.Tensor) -> tuple[Any, list[tuple[str, str]]]:
    """(what the layers give, names of (convolution, BatchNorm that reads its result)).

    Each of a pair runs once, and nothing changes the result in place between them.
    """
    made: dict[int, tuple[str, torch.Tensor, int]] = {}  # holds tensors, so that ids stay theirs
    found: list[tuple[str, str]] = []
    runs: dict[str, int] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def after(_: nn.Module, given: tuple[torch.Tensor], result: torch.Tensor) -> None:
            runs[name] = runs.get(name, 0) + 1
            if isinstance(module, nn.Conv2d):
                made[id(result)] = (name, result, result._version)

        def before(_: nn.Module, given: tuple[torch.Tensor]) -> None:
            convolution, _result, version = made.get(id(given[0]), ("", None, -1))
            if version == given[0]._version:
                found.append((convolution, name))

        if isinstance(module, nn.BatchNorm2d):  # timm's change their own result in place
            hooks.append(module.register_forward_pre_hook(before))
        return module.register_forward_hook(after)

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks: list[torch.utils.hooks.RemovableHandle] = []
    hooks += [watch(name, m) for name, m in layers.named_modules() if isinstance(m, kinds)]
    result = layers(sample)
    for hook in hooks:
        hook.remove()
    return result, [pair for pair in found if all(runs[name] == 1 for name in pair)]
