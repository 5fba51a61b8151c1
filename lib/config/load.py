"""Reads the TOML file of an experiment into the dataclasses of `lib/config/schema.py`.

    cfg = load("configs/sample.toml", ["train.lr=0.01", "models.small.epochs=2"])

Unknown keys and values of the wrong type are errors that name the nearest known key. `[train]`
holds the defaults of every model, a `[models.NAME]` table overrides them, and `--set` overrides
the file.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.config.schema import Config
from lib.config.validate import check
from lib.errors import UserError


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read `path`, apply `key.sub=value` overrides in order, check every key and type.

    Raises UserError for a missing or unreadable file, an unknown key, or a value of a wrong type.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such config; the ready ones lie in configs/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not a readable TOML file: {error}") from None
    for override in overrides:
        _override(tree, override)
    _inherit_train(tree, str(path))
    config = _build(Config, tree, str(path), "")
    check(config, str(path))
    return config


def _override(tree: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key.strip():
        raise UserError(f"--set {override}: write key=value, as in --set train.lr=0.01")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string: the shell has eaten its quotes
    *parents, last = key.strip().split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise UserError(f"--set {override}: {parent} is a value, not a table")
    tree[last] = value


def _inherit_train(tree: dict[str, Any], origin: str) -> None:
    """Lay `[train]` under every `[models.NAME]`, so that a model's table names only differences."""
    models = tree.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise UserError(f"{origin}: models: write one table for each model, [models.NAME]")
    defaults = tree.get("train", {})
    if isinstance(defaults, dict):
        tree["models"] = {name: _laid_over(defaults, own) for name, own in models.items()}


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, table by table: [models.NAME.loss] names only differences too."""
    both = dict(below)
    for key, value in above.items():
        known = below.get(key)
        tables = isinstance(known, dict) and isinstance(value, dict)
        both[key] = _laid_over(known, value) if tables else value  # type: ignore[arg-type]
    return both


def _build(kind: Any, tree: dict[str, Any], origin: str, where: str) -> Any:
    hints = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    values = {}
    for key, value in tree.items():
        full = f"{where}{key}"
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {where}{near[0]}?" if near else f"known here: {', '.join(known)}"
            raise UserError(f"{origin}: unknown key {full}; {hint}")
        values[key] = _convert(hints[key], value, origin, full)
    return kind(**values)


def _convert(kind: Any, value: Any, origin: str, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _build(kind, value, origin, f"{where}.")
    if isinstance(kind, types.GenericAlias):
        base, arguments = typing.get_origin(kind), typing.get_args(kind)
        if base is dict and isinstance(value, dict):
            return {k: _convert(arguments[1], v, origin, f"{where}.{k}") for k, v in value.items()}
        if base is tuple and isinstance(value, list):
            if arguments[-1] is not Ellipsis and len(value) != len(arguments):
                raise UserError(f"{origin}: {where} takes {len(arguments)} values, not {value!r}")
            return tuple(_convert(arguments[0], v, origin, where) for v in value)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise UserError(f"{origin}: {where} takes {_name(kind)}, not {value!r}")


def _name(kind: Any) -> str:
    if dataclasses.is_dataclass(kind):
        return "a table"
    if isinstance(kind, types.GenericAlias):
        return "a list" if typing.get_origin(kind) is tuple else "a table"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[kind]
