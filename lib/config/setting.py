"""How a setting is declared: its type, default, choices, range and meaning in one line.

    epochs: NonNegativeInt = setting(5, "Epochs that train the whole network.")
    optimizer: Literal["sgd", "adamw"] = setting("sgd", "Nesterov SGD or AdamW.")

`settings_of` reads the declarations back, for the reader of TOML and for the reference.
"""

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

T = TypeVar("T")

LARGEST = 1_000_000_000  # of every number: two seeds add up to what all libraries take


@dataclass(frozen=True)
class Range:
    """Bounds of a number; `min` and `max` are allowed, `above` and `below` are not.

    No range contains nan, an infinity, or a number beyond LARGEST.
    """

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            abs(value) <= LARGEST
            and (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.min is not None and self.max is not None:
            return f"from {_digits(self.min)} to {_digits(self.max)}"
        words = {"at least": self.min, "above": self.above}
        words |= {"at most": self.max, "below": self.below}
        bounds = [f"{word} {_digits(b)}" for word, b in words.items() if b is not None]
        return ", ".join(bounds)


def _digits(bound: float) -> str:
    """1000000 rather than 1e+06."""
    return str(int(bound)) if bound == int(bound) else f"{bound:g}"


@dataclass(frozen=True)
class Pattern:
    """What a string looks like: a regular expression for all of it, and the same in words."""

    regex: str
    words: str

    def __contains__(self, value: str) -> bool:
        return re.fullmatch(self.regex, value, re.DOTALL) is not None

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class KnownEncoding:
    """An encoding of text that Python knows, or "auto"."""

    def __contains__(self, value: str) -> bool:
        try:
            return value == "auto" or "".encode(value) is not None
        except (LookupError, ValueError):  # ValueError: a zero byte
            return False

    def __str__(self) -> str:
        return "auto, utf-8, cp1252, latin-1, utf-16 or another name that Python knows"


@dataclass(frozen=True)
class Distinct:
    """A list that names nothing twice."""

    def __contains__(self, value: tuple[Any, ...]) -> bool:
        return len(set(value)) == len(value)

    def __str__(self) -> str:
        return "each once"


Constraint = Range | Pattern | KnownEncoding | Distinct

PositiveInt = Annotated[int, Range(min=1)]
NonNegativeInt = Annotated[int, Range(min=0)]
NonNegativeFloat = Annotated[float, Range(min=0)]
Fraction = Annotated[float, Range(min=0, max=1)]
PositiveFraction = Annotated[float, Range(above=0, max=1)]
BelowOne = Annotated[float, Range(min=0, below=1)]
Color = Annotated[str, Pattern(r"#[0-9a-fA-F]{6}", "# and six hexadecimal digits")]
Precision = Annotated[float, Range(min=0.5, below=1)]
SmallFraction = Annotated[float, Range(min=0, max=0.99)]
Pixels = Annotated[int, Range(min=16, max=4096)]
ImageSize = tuple[Pixels, Pixels]
MAX_CLASSES = 32_767  # a class is an int16
NumClasses = Annotated[int, Range(min=1, max=1000)]
UpTo1000 = Annotated[int, Range(min=0, max=1000)]
BatchSize = Annotated[int, Range(min=1, max=1_000_000)]
NumProducts = Annotated[int, Range(min=2, max=100_000_000)]
Trees = Annotated[int, Range(min=1, max=100_000)]
Threads = Annotated[int, Range(min=0, max=1024)]
NumFolds = Annotated[int, Range(min=1, max=100)]  # a fold is an int8
NonEmptyStr = Annotated[str, Pattern(r".*\S.*", "not empty")]
EmptyOrStr = Annotated[str, Pattern(r"|.*\S.*", "not only blanks")]
FolderName = Annotated[
    str, Pattern(r"(?!\.{1,2}$)[^/\s](?:[^/]{0,98}[^/\s])?", "the name of a folder, without /")
]
Encoding = Annotated[str, KnownEncoding()]
Cluster = Annotated[
    str,
    Pattern(
        r"|local:[1-9]\d{0,2}|[a-z]+://\S+", 'empty, "local:N", or an address as tcp://host:8786'
    ),
]
Separator = Literal["auto", "comma", "semicolon", "tab", "pipe"]
Windows = Annotated[tuple[PositiveInt, ...], Distinct()]
DistinctStrs = Annotated[tuple[NonEmptyStr, ...], Distinct()]


def setting(default: T, meaning: str) -> T:
    """A field of a settings dataclass with its default and a sentence on what it means."""
    metadata = {"meaning": meaning}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)  # type: ignore[return-value]
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One declared setting: its name, type, default and meaning.

    type: as annotated, with Literal choices and Range bounds.
    default: the default, of a table of settings its dataclass built without arguments.
    meaning: one sentence; "" for a table, which has a docstring of its own.
    """

    name: str
    type: Any
    default: Any
    meaning: str


def settings_of(table: type) -> Mapping[str, Setting]:
    """The settings of a dataclass by name, in the order of their declaration."""
    return _settings_of(table)


@functools.cache
def _settings_of(table: Hashable) -> Mapping[str, Setting]:
    hints = typing.get_type_hints(table, include_extras=True)
    found = {
        field.name: Setting(
            field.name, hints[field.name], _default(field), field.metadata.get("meaning", "")
        )
        for field in dataclasses.fields(table)  # type: ignore[arg-type]
    }
    return types.MappingProxyType(found)


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The allowed values of a Literal type; () for any other."""
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def constraint_of(kind: Any) -> Constraint | None:
    """What an Annotated type allows; None for any other type."""
    metadata = getattr(kind, "__metadata__", ())
    return next((item for item in metadata if isinstance(item, Constraint)), None)


def base_of(kind: Any) -> Any:
    """A type without its constraint: int of Annotated[int, Range(min=0)]."""
    return kind.__origin__ if hasattr(kind, "__metadata__") else kind


def items_of(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Container type (tuple, dict or None) and its arguments: (tuple, (int, ...))."""
    kind = base_of(kind)
    if isinstance(kind, types.GenericAlias):
        return typing.get_origin(kind), typing.get_args(kind)
    return None, ()
