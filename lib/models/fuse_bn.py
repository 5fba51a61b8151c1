"""Fuses BatchNorm into the convolution before it, which saves a fifth or more of frozen layers.

With stored statistics, BatchNorm scales and shifts each channel; the convolution's weights and bias
can do the same.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

MAX_RELATIVE_ERROR = 1e-3  # a correct copy stays far below this in float64


def fuse_conv_bn(layers: nn.Module, sample: torch.Tensor) -> nn.Module:
    """A copy of `layers` in eval mode with BatchNorm fused into the convolutions.

    sample: any input of `layers`, float [n, channels, h, w]. It is run once to find which BatchNorm
    reads the output of which convolution; a BatchNorm that reads anything else stays. Nothing is
    fused if the copy's output for the sample differs: a convolution that changes its weights in
    its forward pass cannot be recognised otherwise. Both are compared in float32, which takes a
    tenth of the time, and in float64 where they seem to differ. Weights are fused in float64.
    Returns `layers` itself if it has no BatchNorm.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in layers.modules()):
        return layers
    with (
        torch.inference_mode(False),  # so that the copy can also be used in training
        torch.no_grad(),
        torch.autocast(sample.device.type, enabled=False),
    ):
        dtype = next(p.dtype for p in layers.parameters() if p.is_floating_point())
        for precision in (torch.float32, torch.float64):
            original = copy.deepcopy(layers).eval().to(precision)
            expected, pairs = _conv_bn_pairs(original, sample.to(precision, copy=True))
            fused = _with_fused_pairs(original.double(), pairs).to(precision)
            if _all_close(fused(sample.to(precision, copy=True)), expected):
                return fused.to(dtype).requires_grad_(False)
        return copy.deepcopy(layers).eval().requires_grad_(False)


def _with_fused_pairs(layers: nn.Module, pairs: list[tuple[str, str]]) -> nn.Module:
    """The same layers, changed: each convolution does what the BatchNorm of its pair did."""
    for conv_name, bn_name in pairs:
        conv: Any = layers.get_submodule(conv_name)
        bn: Any = layers.get_submodule(bn_name)
        layers.set_submodule(conv_name, fuse_conv_bn_eval(conv, bn))
        layers.set_submodule(bn_name, _activation_of(bn))
    return layers


def _activation_of(bn: nn.Module) -> nn.Module:
    """timm's BatchNorm includes an activation."""
    return getattr(bn, "act", None) or nn.Identity()


def _all_close(output: Any, expected: Any) -> bool:
    if not torch.is_tensor(expected):
        return all(_all_close(a, b) for a, b in zip(output, expected, strict=True))
    if expected.is_meta:
        return True
    return bool((output - expected).norm() <= MAX_RELATIVE_ERROR * expected.norm())


def _conv_bn_pairs(layers: nn.Module, sample: torch.Tensor) -> tuple[Any, list[tuple[str, str]]]:
    """(output of `layers`, names of (convolution, BatchNorm that reads its output)).

    Each module of a pair runs once, and nothing changes the output in place between them.
    """
    # Keeping the tensors keeps their ids unique.
    conv_outputs: dict[int, tuple[str, torch.Tensor, int]] = {}
    pairs: list[tuple[str, str]] = []
    num_runs: dict[str, int] = {}
    handles: list[torch.utils.hooks.RemovableHandle] = []

    def add_hooks(name: str, module: nn.Module) -> None:
        def after(_: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            num_runs[name] = num_runs.get(name, 0) + 1
            if isinstance(module, nn.Conv2d):
                conv_outputs[id(output)] = (name, output, output._version)

        def before(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            conv_name, _output, version = conv_outputs.get(id(inputs[0]), ("", None, -1))
            if version == inputs[0]._version:
                pairs.append((conv_name, name))

        if isinstance(module, nn.BatchNorm2d):  # before: timm's change their own output in place
            handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))

    for name, module in layers.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            add_hooks(name, module)
    output = layers(sample)
    for handle in handles:
        handle.remove()
    return output, [pair for pair in pairs if all(num_runs[name] == 1 for name in pair)]
