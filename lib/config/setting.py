"""How a setting is declared: its type, default, choices, range and meaning in one line.

    epochs: NonNegativeInt = setting(5, "Epochs that train the whole network.")
    optimizer: Literal["sgd", "adamw"] = setting("sgd", "Nesterov SGD or AdamW.")

`settings_of` reads the declarations back, for the reader of TOML and for the reference.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Bounds of a number; `min` and `max` are allowed, `above` and `below` are not."""

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.min is not None and self.max is not None:
            return f"from {self.min:g} to {self.max:g}"
        words = {"at least": self.min, "above": self.above}
        words |= {"at most": self.max, "below": self.below}
        return ", ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)


PositiveInt = Annotated[int, Range(min=1)]
NonNegativeInt = Annotated[int, Range(min=0)]
NonNegativeFloat = Annotated[float, Range(min=0)]
Fraction = Annotated[float, Range(min=0, max=1)]
SmallFraction = Annotated[float, Range(min=0, max=0.99)]
ImageSize = tuple[Annotated[int, Range(min=16)], Annotated[int, Range(min=16)]]


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


def settings_of(table: type) -> dict[str, Setting]:
    """The settings of a dataclass by name, in the order of their declaration."""
    hints = typing.get_type_hints(table, include_extras=True)
    return {
        field.name: Setting(
            field.name, hints[field.name], _default(field), field.metadata.get("meaning", "")
        )
        for field in dataclasses.fields(table)
    }


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The allowed values of a Literal type; () for any other."""
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def range_of(kind: Any) -> Range | None:
    """The bounds of an Annotated number; None for any other type."""
    bounds = getattr(kind, "__metadata__", ())
    return next((bound for bound in bounds if isinstance(bound, Range)), None)


def base_of(kind: Any) -> Any:
    """A type without its bounds: int of Annotated[int, Range(min=0)]."""
    return kind.__origin__ if hasattr(kind, "__metadata__") else kind


def items_of(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Container type (tuple, dict or None) and its arguments: (tuple, (int, ...))."""
    if isinstance(kind, types.GenericAlias):
        return typing.get_origin(kind), typing.get_args(kind)
    return None, ()
