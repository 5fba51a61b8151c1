"""Strided 1x1 convolutions of few channels, kept off a path of oneDNN that writes past its memory.

On a CPU, in float32 and with the channels last, the gradient of such a convolution's weights goes
into a scratch buffer that is too small where the input has fewer channels than a vector register
(oneDNN issue 6035; torch 2.13 has it). The process dies, or goes on with a damaged heap. The first
layers of RepVGG and FastViT are of this kind. To pick every second pixel and convolve them all is
the same function, and takes another path.
"""

from functools import partial

import torch
from torch import nn

REGISTER = 16  # float32 in AVX-512


def thin_out_first(body: nn.Module) -> nn.Module:
    """`body`, in place, whose strided 1x1 convolutions of few channels pick their pixels first."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d) and _endangered(module):
            module.register_forward_pre_hook(partial(_thin_out, steps=module.stride))
            module.stride = (1, 1)
    return body


def _endangered(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (1, 1)
        and convolution.stride != (1, 1)
        and convolution.padding == (0, 0)
        and convolution.in_channels // convolution.groups < REGISTER
    )


def _thin_out(
    _: nn.Module, given: tuple[torch.Tensor], *, steps: tuple[int, ...]
) -> tuple[torch.Tensor]:
    return (given[0][..., :: steps[0], :: steps[1]],)
