"""Workarounds for defects of other projects, each with the reason and when to delete it.

Imports only torch: `import_torchvision` must run before anything imports torchvision.
"""

import importlib
import pickle
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

MAX_MESSAGE = 1000  # characters of an error of torch's unpickler
FLOATS_PER_REGISTER = 16  # float32 values in an AVX-512 register
_NMS_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_original_load: list[Any] = []  # of torch's unpickler, once it is replaced
_libraries: list[torch.library.Library] = []  # a Library that is dropped removes its operators


def load_tensors(path: Path) -> Any:
    """`torch.load` onto the CPU with `weights_only=True`: no code in the file is run.

    Defect: torch looks for words in the message of its unpickler by patterns that take the square
    of its length, and the message holds names from the file: 100 kB of it take minutes. The
    message is cut before torch sees it. It also advises to run the code; ours does not.
    Delete when: `torch.load` no longer searches its messages by regular expressions.
    Raises ValueError for a file that holds more than tensors and plain values.
    """
    unpickler = importlib.import_module("torch._weights_only_unpickler").Unpickler
    if unpickler.load is not _load_with_short_message:
        _original_load.append(unpickler.load)
        unpickler.load = _load_with_short_message
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error: ")[2].strip() or "no pickle of them"
        raise ValueError(f"not tensors alone: {reason.splitlines()[0][:200]}") from None


@contextmanager
def hub_without_retries() -> Iterator[None]:
    """Read the cache of huggingface_hub alone where the name of its server cannot be resolved.

    Defect: the library asks an unknown name again and again, which takes a minute for each file.
    Behind a proxy, which resolves names itself, nothing is changed.
    Delete when: huggingface_hub takes an unknown host for an answer.
    Raises ConnectionError, for a file that is not in the cache either.
    """
    constants: Any = importlib.import_module("huggingface_hub.constants")
    host, before = urlsplit(constants.ENDPOINT).hostname, constants.HF_HUB_OFFLINE
    reason = "" if urllib.request.getproxies() else _why_unknown(host)
    if not reason:
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except Exception:
        raise ConnectionError(f"{host}: {reason}") from None
    finally:
        constants.HF_HUB_OFFLINE = before


def _why_unknown(host: str | None) -> str:
    """Why a name of a server cannot be resolved; "" if it can."""
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        return error.strerror or "unknown host"
    return ""


def import_torchvision() -> None:
    """Import torchvision, with stand-ins for its compiled operators if they are missing.

    Defect: the registry's torchvision beside a CPU-only torch fails on import with "operator
    torchvision::nms does not exist", because it was built for another torch. pretrainedmodels and
    timm import torchvision but use none of its operators; declaring the two that the import needs
    is enough. The stand-ins raise NotImplementedError when run. A torchvision that works is left
    alone.
    Delete when: torch and torchvision are installed from the same index, or no longer imported.
    """
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    if not _libraries:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(operator + _NMS_SCHEMA)
        _libraries.append(library)
    importlib.import_module("torchvision")


def avoid_strided_1x1(body: nn.Module) -> nn.Module:
    """Make strided 1x1 convolutions of few channels subsample their input first; in place.

    Defect: oneDNN issue 6035, present in torch 2.13. On a CPU, in float32 with channels last, the
    weight gradient of such a convolution is written into a buffer that is too small if the input
    has fewer channels than a vector register holds. The process crashes or goes on with a corrupt
    heap. The first layers of RepVGG and FastViT are of this kind. Subsampling and a convolution
    with stride 1 compute the same function by another path.
    Delete when: torch ships a oneDNN with the issue fixed
    (`test_a_model_with_strided_1x1_convolutions_trains_with_a_checked_heap` passes without this).
    """
    for module in body.modules():
        if isinstance(module, nn.Conv2d) and _is_affected(module):
            module.register_forward_pre_hook(partial(_subsample, stride=module.stride))
            module.stride = (1, 1)
    return body


def _is_affected(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (1, 1)
        and conv.stride != (1, 1)
        and conv.padding == (0, 0)
        and conv.in_channels // conv.groups < FLOATS_PER_REGISTER
    )


def _subsample(
    _: nn.Module, inputs: tuple[torch.Tensor], *, stride: tuple[int, ...]
) -> tuple[torch.Tensor]:
    """[n, channels, h, w] -> every stride-th row and column."""
    return (inputs[0][..., :: stride[0], :: stride[1]],)


def _load_with_short_message(unpickler: Any) -> Any:
    try:
        return _original_load[0](unpickler)
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(str(error)[:MAX_MESSAGE]) from None
