"""Write a config as TOML, every setting with its value.

`load` reads the text back as the same config.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from lib.config.schema import Config
from lib.config.setting import settings_of

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(config: Config) -> str:
    """All settings of `config` as the text of a TOML file, defaults included."""
    return "\n".join(_lines(config)) + "\n"


def _lines(config: Config) -> Iterator[str]:
    tables = {name: getattr(config, name) for name in settings_of(Config)}
    for name, value in tables.items():
        if not _is_table(value):
            yield f"{name} = {to_toml_value(value)}"
    for name, value in tables.items():
        if dataclasses.is_dataclass(value):
            yield from ("", f"[{name}]", *_settings(value))
        elif isinstance(value, dict):
            for key, table in value.items():
                yield from ("", f"[{name}.{_key(key)}]", *_settings(table))


def _settings(table: Any, prefix: str = "") -> Iterator[str]:
    """`key = value` of each setting; `loss.mixup_alpha = 0.2` of those of tables inside."""
    for name in settings_of(type(table)):
        value = getattr(table, name)
        if dataclasses.is_dataclass(value):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} = {to_toml_value(value)}"


def _is_table(value: Any) -> bool:
    return dataclasses.is_dataclass(value) or isinstance(value, dict)


def to_toml_value(value: Any) -> str:
    """One value of a setting as TOML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(k)} = {to_toml_value(v)}' for k, v in value.items())}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(to_toml_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return _string(value) if isinstance(value, str) else repr(value)


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for the one character DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
