"""Turn a tree of TOML values into dataclasses, with checks of every key, type and range."""

import dataclasses
import difflib
from typing import Any, TypeVar

from lib.config.setting import (
    LARGEST,
    Range,
    base_of,
    choices_of,
    constraint_of,
    items_of,
    settings_of,
)
from lib.errors import UserError

T = TypeVar("T")

MAX_SHOWN = 60  # characters of a wrong value in a message
MAX_LENGTH = 1000  # characters of a string


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
        return _checked(kind, _convert_list(items, value, origin, key), origin, key)
    if base is float and type(value) is int and abs(value) <= LARGEST:
        value = float(value)
    whole = base is float and type(value) is int
    if container or not (whole or type(value) is base):
        raise UserError(f"{origin}: {key} takes {type_name(kind)}, not {_shown(value)}")
    if base is str:
        _check_string(value, origin, key)
    return _checked(kind, value, origin, key)


def _convert_list(items: tuple[Any, ...], value: list[Any], origin: str, key: str) -> Any:
    if items[-1] is Ellipsis:
        return tuple(_convert(items[0], item, origin, key) for item in value)
    if len(value) != len(items):
        raise UserError(f"{origin}: {key} takes {len(items)} values, not {_shown(value)}")
    pairs = zip(items, value, strict=True)
    return tuple(_convert(kind, item, origin, key) for kind, item in pairs)


def _checked_choice(choices: tuple[Any, ...], value: Any, origin: str, key: str) -> Any:
    if value not in choices or type(value) is not type(choices[0]):
        listed = ", ".join(map(str, choices))
        raise UserError(f"{origin}: {key} = {_shown(value)}; choose one of {listed}")
    return value


def _check_string(value: str, origin: str, key: str) -> None:
    """No file, column or name of a model is blank, has a NUL, or is longer than this."""
    if "\0" in value or len(value) > MAX_LENGTH or value.isspace():
        words = f"at most {MAX_LENGTH} characters, not blanks alone, without NUL"
        raise UserError(f"{origin}: {key} = {_shown(value)}: {words}")


def _checked(kind: Any, value: Any, origin: str, key: str) -> Any:
    """The value, if the constraint of its type allows it."""
    constraint = constraint_of(kind)
    if constraint is None or value in constraint:
        return value
    words = str(constraint)
    if isinstance(constraint, Range) and not abs(value) <= LARGEST and "to " not in words:
        words += f", at most {LARGEST}"
    shown = list(value) if isinstance(value, tuple) else value
    raise UserError(f"{origin}: {key} = {_shown(shown)}: {words}")


def _shown(value: Any) -> str:
    """A wrong value, cut where it is long: a message is one line."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def type_name(kind: Any) -> str:
    """A type in words: "a number", "a list"."""
    base, (container, _) = base_of(kind), items_of(kind)
    if container is tuple:
        return "a list"
    if container is dict or dataclasses.is_dataclass(base):
        return "a table"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[base]
