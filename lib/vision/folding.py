"""Folds BatchNorm into the convolutions before it: what is frozen then costs a fifth less or more.

With its stored statistics, BatchNorm scales and shifts each channel; a convolution's weights and
bias can do that on the way.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(layers: nn.Module, sample: torch.Tensor) -> nn.Module:
    """A copy of `layers` in eval mode that computes the same with fewer passes over the maps.

    sample: any input of `layers`, [n, channels, h, w]. It is run once to see which BatchNorm reads
    the result of which convolution; those that read anything else stay.
    """
    with torch.inference_mode(False), torch.no_grad():  # so that training may use the copy too
        folded = copy.deepcopy(layers).eval()
        for convolution, norm in _pairs(folded, sample):
            modules: Any = folded.get_submodule(convolution), folded.get_submodule(norm)
            folded.set_submodule(convolution, fuse_conv_bn_eval(*modules))
            folded.set_submodule(norm, nn.Identity())
        folded.requires_grad_(False)
    return folded


def _pairs(layers: nn.Module, sample: torch.Tensor) -> list[tuple[str, str]]:
    """Names of (convolution, BatchNorm that reads its result); each runs once."""
    made: dict[int, tuple[str, torch.Tensor]] = {}  # holds the tensors, so that ids stay theirs
    found: list[tuple[str, str]] = []
    runs: dict[str, int] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def after(_: nn.Module, given: tuple[torch.Tensor], result: torch.Tensor) -> None:
            runs[name] = runs.get(name, 0) + 1
            if isinstance(module, nn.Conv2d):
                made[id(result)] = (name, result)
            elif id(given[0]) in made:
                found.append((made[id(given[0])][0], name))

        return module.register_forward_hook(after)

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [watch(name, m) for name, m in layers.named_modules() if isinstance(m, kinds)]
    layers(sample)
    for hook in hooks:
        hook.remove()
    return [pair for pair in found if all(runs[name] == 1 for name in pair)]
