"""Weights of timm's networks: a file beside torch's downloads, the Hugging Face hub, a server."""

import inspect
import sys
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from lib.errors import UserError
from lib.models import weights
from lib.models.backbone import State

CONVERTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")


def download(network: str, given: dict[str, Any]) -> tuple[State, str]:
    """By the first route that answers. `given` is timm's pretrained_cfg.

    Raises UserError that says what to fetch by hand and where to put it.
    """
    hub, url = given.get("hf_hub_id") or "", given.get("url") or ""
    if not hub and not url:
        raise UserError(f'{network} has no weights at timm; set weights = "none" or a path')
    other = given.get("hf_hub_filename")
    file = (other or "model.safetensors") if hub else url.rsplit("/", 1)[-1]
    place = weights.cache() / f"{_full_name(given)}{Path(file).suffix}"
    if place.exists():
        return weights.read(place), str(place)
    routes = {hub: partial(_from_hub, hub, other), url: partial(weights.from_url, url)}
    said = []
    for origin in filter(None, routes):
        try:
            return routes[origin](), origin
        except Exception as error:  # of three libraries, which share no base
            said.append(f"{origin} ({weights.reason(error)})")
    source = f"https://huggingface.co/{hub}" if hub else url
    raise UserError(
        f"{network}: no weights from {' or '.join(said)}; fetch {file} of {source} elsewhere and"
        f' put it in place as {place}, or set weights = "path/to/{file}" (or weights = "none")'
    )


def fitted(body: nn.Module, state: State) -> State:
    """What of a foreign file belongs to the body, under the body's names.

    Only where tensors are missing is the architecture's own converter of older files asked. What
    the body has not is left out, such as classifiers: names of theirs are also names of bodies'
    parts ("head.norm.", "fc_norm.").
    """
    wanted = body.state_dict()

    def missing(found: State) -> int:
        return sum(key not in found or found[key].shape != wanted[key].shape for key in wanted)

    converted = state
    if missing(state):
        for convert in _converters(body):
            try:
                other = convert(dict(state))
            except (KeyError, RuntimeError, AttributeError, TypeError, ValueError):
                continue  # not a file that it converts
            converted = min(converted, other, key=missing)
    return {key: value for key, value in converted.items() if key in wanted}


def _converters(body: nn.Module) -> list[Any]:
    module = sys.modules[type(body).__module__]
    found = [getattr(module, name) for name in CONVERTERS if hasattr(module, name)]
    return [
        partial(convert, model=body)
        if "model" in inspect.signature(convert).parameters
        else convert
        for convert in found
    ]


def _from_hub(hub: str, file: str | None) -> State:
    from timm.models import load_state_dict_from_hf

    state = load_state_dict_from_hf(hub, file) if file else load_state_dict_from_hf(hub)
    return weights.unwrapped(state, hub)


def _full_name(given: dict[str, Any]) -> str:
    tag = given.get("tag")
    return f"{given['architecture']}.{tag}" if tag else given["architecture"]
