"""What a section of the report is made of: text, tiles, tables, charts and pictures.

A block names the macro of `templates/blocks.html` that shows it. Its texts may come from a catalog:
Jinja2 escapes all of them. Only charts and pictures, which are made here, are taken as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from markupsafe import Markup

from lib.evaluation.metrics import Estimate

OUT_OF_FOLD, LOCKED, ALL_LABELLED = "out-of-fold", "locked part", "all labelled products"


@dataclass(frozen=True)
class Text:
    """A paragraph; `missing`: it says which data a section lacks."""

    macro: ClassVar[str] = "text"
    text: str
    missing: bool = False


@dataclass(frozen=True)
class Lines:
    """Lines of a program, shown as they are. folded: closed until the reader opens them."""

    macro: ClassVar[str] = "lines"
    text: str
    title: str
    folded: bool = False


@dataclass(frozen=True)
class Tile:
    """One figure: what it is, its value, what stands below it, and where it comes from."""

    label: str
    value: str
    detail: str
    origin: str


@dataclass(frozen=True)
class Tiles:
    """Figures side by side."""

    macro: ClassVar[str] = "tiles"
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Chart:
    """A drawing (`charts.draw`) with its caption. wide: it takes the whole width."""

    macro: ClassVar[str] = "chart"
    svg: Markup
    caption: str
    origin: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first `num_text` columns are text, the others numbers.

    folded: it is closed until the reader opens it.
    """

    macro: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    origin: str
    num_text: int = 1
    folded: bool = False


@dataclass(frozen=True)
class Pair:
    """Two classes that are confused, with pictures (data URIs) of both."""

    title: str
    detail: str
    left_title: str
    left: Sequence[str]
    right_title: str
    right: Sequence[str]


@dataclass(frozen=True)
class Pairs:
    """Pairs of classes."""

    macro: ClassVar[str] = "pairs"
    pairs: Sequence[Pair]
    origin: str


@dataclass(frozen=True)
class Choice:
    """A class that was proposed for a product; mark: "truth", "label", "suggestion" or
    ""."""

    name: str
    value: str
    share: float
    mark: str = ""


@dataclass(frozen=True)
class Neighbor:
    """A product beside another: a picture (data URI, "" for none), its id, and what it is.

    mark: "truth" where it is of the other's class, else "".
    """

    picture: str
    title: str
    detail: str
    mark: str = ""


@dataclass(frozen=True)
class Strip:
    """Neighbors of a product; folded: closed until the reader opens it."""

    title: str
    neighbors: Sequence[Neighbor]
    folded: bool = False


@dataclass(frozen=True)
class Card:
    """A product: its id, pictures (data URIs), and what is said of it.

    category: what the filter compares. keys: numbers by which cards are sorted. strips: its
    neighbors.
    """

    title: str
    pictures: Sequence[str]
    facts: Sequence[tuple[str, str]]
    choices: Sequence[Choice]
    category: str
    keys: Sequence[tuple[str, float]]
    strips: Sequence[Strip] = ()


@dataclass(frozen=True)
class Gallery:
    """Cards that are filtered by category and sorted by a key of all of them.

    name: unique in the page.
    """

    macro: ClassVar[str] = "gallery"
    name: str
    cards: Sequence[Card]
    origin: str

    @property
    def sort_keys(self) -> list[str]:
        """The names of the keys, the first being the order of the cards."""
        return [name for name, _ in self.cards[0].keys] if self.cards else []

    @property
    def has_strips(self) -> bool:
        """Whether any card shows neighbors."""
        return any(card.strips for card in self.cards)


Block = Text | Lines | Tiles | Chart | Table | Pairs | Gallery


@dataclass(frozen=True)
class Section:
    """A section: its anchor, title, a sentence on what it shows, and its blocks."""

    key: str
    title: str
    lead: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def percent(value: float, digits: int = 1) -> str:
    """A share in percent."""
    return f"{100 * value:.{digits}f} %"


def interval(estimate: Estimate) -> str:
    """A share in percent with its 95 % interval, as in "86.1 % (82.7 .. 89.4)"."""
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{percent(estimate.value)} ({low:.1f} .. {high:.1f})"


def missing(text: str) -> list[Block]:
    """The blocks of a section whose data do not exist."""
    return [Text(text, missing=True)]
