"""The reference of all settings, as text for a terminal and as the text of docs/settings.md."""

import dataclasses
import difflib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lib.config.renamed import new_path
from lib.config.schema import Config
from lib.config.setting import Setting, base_of, choices_of, constraint_of, items_of, settings_of
from lib.config.write import to_toml_value
from lib.errors import UserError

NAMED = ("backbones", "text_encoders")  # tables of tables that the user names

INTRODUCTION = """\
# Settings

Every setting of a config: `key = value` in the table of that name in a TOML file, or
`--set train.lr=0.01` on the command line. `[train]` holds the defaults of all models, and a
`[models.NAME]` table overrides them for one. `extends = "other.toml"` at the top of a file takes
over the settings of another file, relative to this one; what this one sets wins.

Numbers are finite and at most 1000000000, also where no upper bound is given. A list that names
something has each name once.

`python -m lib.config [KEY]` prints the same, and `python -m lib.config --markdown` makes this file.
"""


@dataclass(frozen=True)
class Table:
    """A table of settings: its key ("train.loss"), its dataclass, and its own settings."""

    key: str
    kind: type
    settings: tuple[Setting, ...]

    @property
    def description(self) -> str:
        """The docstring of the dataclass."""
        return inspect.getdoc(self.kind) or ""

    def full_key(self, setting: Setting) -> str:
        """The key of a setting for `--set`."""
        return f"{self.key}.{setting.name}" if self.key else setting.name


def tables() -> list[Table]:
    """All tables, each model's as `train`, in the order of their declaration."""
    return list(_tables("", Config))


def _tables(key: str, kind: type) -> Iterator[Table]:
    settings = settings_of(kind).values()
    inner = {setting.name: _table_kind(setting) for setting in settings}
    yield Table(key, kind, tuple(s for s in settings if inner[s.name] is None))
    for name, table in inner.items():
        if table is not None and name != "models":
            named = f"{name}.NAME" if name in NAMED else name
            yield from _tables(f"{key}.{named}" if key else named, table)


def _table_kind(setting: Setting) -> Any:
    """The dataclass of a table's settings; None for a single value."""
    container, items = items_of(setting.type)
    kind = items[1] if container is dict else base_of(setting.type)
    return kind if dataclasses.is_dataclass(kind) else None


def describe(key: str = "") -> str:
    """The reference of one key, of one table, or of all of them, as text of 100 columns.

    Raises UserError for an unknown key, with the nearest one.
    """
    texts = [_table_text(table, key) for table in tables()]
    found = [text for text in texts if text]
    if not found:
        raise UserError(_unknown(key))
    return "\n\n".join(found)


def _unknown(key: str) -> str:
    new = ".".join(new_path(tuple(key.split(".")))[0])
    if new != key:
        return f"{key} is now {new}"
    known = [t.full_key(s) for t in tables() for s in t.settings] + [t.key for t in tables()]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.3)
    return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "")


def _table_text(table: Table, key: str) -> str:
    """The part of a table that `key` names: all of it, one setting, or nothing."""
    key = _general(key)
    whole = key in ("", table.key) or table.key.startswith(f"{key}.")
    settings = [s for s in table.settings if whole or table.full_key(s) == key]
    if not settings:
        return ""
    title = [f"[{table.key}]" if table.key else "Top level"]
    lines = [line for s in settings for line in _setting_lines(table, s)]
    return "\n".join([*title, *table.description.splitlines(), "", *lines] if whole else lines)


def _general(key: str) -> str:
    """`models.a.lr` is described as `train.lr`, `backbones.a.crop` as `backbones.NAME.crop`."""
    first, *rest = key.split(".")
    if first == "models":
        return ".".join(["train", *rest[1:]])
    return ".".join([first, "NAME", *rest[1:]]) if first in NAMED else key


def _setting_lines(table: Table, setting: Setting) -> list[str]:
    head = f"{table.full_key(setting)} = {to_toml_value(setting.default)}"
    text = f"{setting.meaning} ({type_words(setting.type)})"
    return [head, *textwrap.wrap(text, 96, initial_indent="    ", subsequent_indent="    ")]


def type_words(kind: Any) -> str:
    """A type in words, with choices or range: "whole number, at least 1"."""
    if choices := choices_of(kind):
        return f"one of {', '.join(map(str, choices))}"
    constraint, (container, items) = constraint_of(kind), items_of(kind)
    if container is dict:
        return f"table: {type_words(items[1])}"
    if container is tuple:
        count = "list" if items[-1] is Ellipsis else f"list of {len(items)}"
        inner = dict.fromkeys(type_words(item) for item in items if item is not Ellipsis)
        return "; ".join(
            [f"{count}: {'; '.join(inner)}", *([str(constraint)] if constraint else [])]
        )
    words = {int: "whole number", float: "number", str: "string", bool: "true or false"}
    return words[base_of(kind)] + (f", {constraint}" if constraint else "")


def markdown() -> str:
    """The text of docs/settings.md."""
    return "\n".join([INTRODUCTION, *(_table_markdown(table) for table in tables())])


def _table_markdown(table: Table) -> str:
    title = f"`[{table.key}]`" if table.key else "Top level"
    if table.key.startswith("train"):
        title += f" and `[{table.key.replace('train', 'models.NAME', 1)}]`"
    rows = [
        f"| `{s.name}` | {_cell(type_words(s.type))} | `{_cell(to_toml_value(s.default))}` |"
        f" {_cell(s.meaning)} |"
        for s in table.settings
    ]
    head = ["| key | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {title}", "", *_description(table), "", *head, *rows, ""])


def _description(table: Table) -> list[str]:
    """The docstring; its columns of choices become a list."""
    lines = []
    for line in table.description.splitlines():
        choice, gap, meaning = line.partition("  ")
        lines.append(f"- `{choice}`: {meaning.strip()}" if gap and choice else line)
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
