"""Read the TOML file of an experiment into the dataclasses of `lib/config/schema.py`.

    config = load("configs/sample.toml", ["train.lr=0.01", "models.small.epochs=2"])

`extends = "other.toml"` at the top of a file names a file, relative to this one, whose settings
hold where this one is silent. `[train]` holds the defaults of every model, and a `[models.NAME]`
table overrides them. `--set` overrides the files.
"""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.config.convert import MAX_SHOWN, build
from lib.config.data import SOURCE_DEFAULTS
from lib.config.renamed import check_renamed
from lib.config.schema import Config
from lib.config.validate import check
from lib.errors import UserError

Tree = dict[str, Any]

OF_BACKBONES = ("freeze_until", "unfreeze_schedule", "aspect")  # settings of [train]
MAX_DOTS = 100  # of a key; tomllib takes the square of their number
NO_KEY = re.compile(r"[=,\n{\[]")  # ends what may be a key


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read `path`, apply `key.sub=value` overrides in order, check every key, type and range.

    Raises UserError for a missing or unreadable file, an unknown key, or a value that is not
    allowed.
    """
    path = Path(path)
    try:
        return from_tree(_read_extended(path), overrides, str(path))
    except RecursionError:
        raise UserError(
            f"{path}: tables or lists are nested too deeply; no setting has more than three levels"
        ) from None


def from_tree(tree: Tree, overrides: Sequence[str], origin: str) -> Config:
    """The config of a tree of TOML values, with `key.sub=value` overrides in order.

    origin: what messages name as the place of a wrong setting. Raises UserError as `load`.
    """
    for override in overrides:
        tree = _override(tree, override)
    config = _build(_with_source_defaults(tree), origin)
    check(config, origin)
    return config


def _with_source_defaults(tree: Tree) -> Tree:
    """The tree with those defaults of [data] that depend on its source."""
    data = tree.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("source"), str):
        return tree
    return tree | {"data": SOURCE_DEFAULTS.get(data["source"], {}) | data}


def _build(tree: Tree, origin: str) -> Config:
    """The settings of a file or of one override, each checked alone."""
    check_renamed(tree, origin)
    return build(Config, tree | {"models": _model_tables(tree, origin)}, origin)


def _read_extended(path: Path, extending: tuple[Path, ...] = ()) -> Tree:
    """The settings of a file over those of the files that it extends.

    `name` is not inherited: two experiments must not share a folder.
    """
    tree = _read(path)
    base = tree.pop("extends", None)
    _build(tree, str(path))
    if base is None:
        return tree
    if not isinstance(base, str):
        raise UserError(f"{path}: extends takes the path of one file, not {base!r}")
    chain = (*extending, path.resolve())
    base_path = path.parent / base
    if base_path.resolve() in chain:
        raise UserError(f"{path}: extends = {base!r} is a cycle")
    inherited = _read_extended(base_path, chain)
    inherited.pop("name", None)
    return _merge(inherited, tree)


def _read(path: Path) -> Tree:
    try:
        with path.open("rb") as file:
            return _parse(file.read().decode())
    except FileNotFoundError:
        raise UserError(f"{path}: config not found; see configs/ for examples") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # of tomllib, of UTF-8, of a number of 5000 digits
        raise UserError(f"{path}: not a readable TOML file: {error}") from None


def _parse(text: str) -> Tree:
    """The tree of a TOML text. Raises ValueError."""
    if any(part.count(".") > MAX_DOTS for part in NO_KEY.split(text)):
        raise ValueError(f"a key of more than {MAX_DOTS} names joined by dots")
    return tomllib.loads(text)


def _override(tree: Tree, override: str) -> Tree:
    """The tree with the value of one key replaced, even if it is a table: `data.sha256={}`."""
    origin = f"--set {' '.join(override[:MAX_SHOWN].split())}"
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"{origin}: write key=value, as in --set train.lr=0.01")
    if key.count(".") > MAX_DOTS:
        raise UserError(f"{origin}: a key of more than {MAX_DOTS} names joined by dots")
    path, table = key.strip().split("."), tree
    for parent in path[:-1]:
        table = table.get(parent, {})
        if not isinstance(table, dict):
            raise UserError(f"{origin}: {parent} is a value, not a table")
    value = _parse_value(text)
    _build(_with_value({}, path, value), origin)
    return _with_value(tree, path, value)


def _with_value(tree: Tree, path: Sequence[str], value: Any) -> Tree:
    """A copy of the tree with the value at the path."""
    key, *rest = path
    return tree | {key: _with_value(tree.get(key, {}), rest, value) if rest else value}


def _parse_value(text: str) -> Any:
    try:
        return _parse(f"value = {text}")["value"]
    except ValueError:
        return text  # a bare word is a string: the shell removes quotes


def _model_tables(tree: Tree, origin: str) -> Tree:
    """The `[models.NAME]` tables over the defaults in `[train]`.

    A model that sees no images takes over nothing that is for backbones alone.
    """
    models, defaults = tree.get("models", {}), tree.get("train", {})
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise UserError(f"{origin}: models: write one table for each model, [models.NAME]")
    if not isinstance(defaults, dict):
        return models
    others = {key: value for key, value in defaults.items() if key not in OF_BACKBONES}

    def with_defaults(model: Tree) -> Tree:
        sees_images = model.get("input", defaults.get("input")) not in ("embedding", "text")
        return _merge(defaults if sees_images else others, model)

    return {name: with_defaults(model) for name, model in models.items()}


def _merge(below: Tree, above: Tree) -> Tree:
    """`above` over `below`, table by table; the keys of `below` come first."""
    merged = dict(below)
    for key, value in above.items():
        base = below.get(key)
        tables = isinstance(base, dict) and isinstance(value, dict)
        merged[key] = _merge(base, value) if tables else value  # type: ignore[arg-type]
    return merged
