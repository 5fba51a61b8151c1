"""Turn a tree of TOML values into dataclasses, with checks of every key, type and range."""

import dataclasses
import difflib
from typing import Any, TypeVar

from lib.config.setting import base_of, choices_of, items_of, range_of, settings_of
from lib.errors import UserError

T = TypeVar("T")


def build(table: type[T], tree: dict[str, Any], origin: str, prefix: str = "") -> T:
    """The dataclass `table` filled with the values of `tree`; defaults for the rest.

    origin: name of the file, for errors; prefix: of the table, such as "train." .
    Raises UserError for an unknown key, and for a value of a wrong type or outside its range.
    """
    known = settings_of(table)
    for key in tree:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {', '.join(known)}"
            raise UserError(f"{origin}: unknown key {prefix}{key}; {hint}")
    values = {
        key: _convert(known[key].type, value, origin, f"{prefix}{key}")
        for key, value in tree.items()
    }
    return table(**values)


def _convert(kind: Any, value: Any, origin: str, key: str) -> Any:
    """The value of one key, checked against its type."""
    base, (container, items) = base_of(kind), items_of(kind)
    if choices := choices_of(kind):
        return _checked_choice(choices, value, origin, key)
    if dataclasses.is_dataclass(base) and isinstance(value, dict):
        return build(base, value, origin, f"{key}.")  # type: ignore[arg-type]
    if container is dict and isinstance(value, dict):
        return {k: _convert(items[1], v, origin, f"{key}.{k}") for k, v in value.items()}
    if container is tuple and isinstance(value, list):
        return _convert_list(items, value, origin, key)
    if base is float and type(value) is int:
        value = float(value)
    if container or type(value) is not base:
        raise UserError(f"{origin}: {key} takes {type_name(kind)}, not {value!r}")
    return _checked_range(kind, value, origin, key)


def _convert_list(items: tuple[Any, ...], value: list[Any], origin: str, key: str) -> Any:
    if items[-1] is not Ellipsis and len(value) != len(items):
        raise UserError(f"{origin}: {key} takes {len(items)} values, not {value!r}")
    return tuple(_convert(items[0], item, origin, key) for item in value)


def _checked_choice(choices: tuple[Any, ...], value: Any, origin: str, key: str) -> Any:
    if value not in choices or isinstance(value, bool):
        listed = ", ".join(map(str, choices))
        raise UserError(f"{origin}: {key} = {value!r}; choose one of {listed}")
    return value


def _checked_range(kind: Any, value: Any, origin: str, key: str) -> Any:
    bounds = range_of(kind)
    if bounds is not None and value not in bounds:
        raise UserError(f"{origin}: {key} = {value!r}: {bounds}")
    return value


def type_name(kind: Any) -> str:
    """A type in words: "a number", "a list"."""
    base, (container, _) = base_of(kind), items_of(kind)
    if container is tuple:
        return "a list"
    if container is dict or dataclasses.is_dataclass(base):
        return "a table"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[base]
