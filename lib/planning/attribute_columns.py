"""Which columns of a CSV are brands, prices and the like, for features beside the pictures."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lib.config.data import Data
from lib.data.attributes.join import same_spelling
from lib.data.attributes.numbers import MISSING_WORDS, parse
from lib.data.sources.text_table import read_header
from lib.planning.columns import LABEL_WORDS, read_table

# Names without case, blanks and signs. What repeats without such a name may be made of the class.
CATEGORY_NAMES = {
    *("brand", "brandname", "vendor", "manufacturer", "maker", "producer", "supplier", "designer"),
    *("marke", "hersteller", "marque", "fabricant", "marca", "fabricante", "merk", "seller"),
    *("color", "colour", "colorname", "basecolor", "basecolour", "farbe", "couleur", "material"),
    *("gender", "sex", "agegroup", "season", "condition", "pattern", "usage", "collection"),
}
NUMBER_NAMES = {
    *("price", "saleprice", "regularprice", "listprice", "retailprice", "unitprice", "msrp", "uvp"),
    *("preis", "prix", "precio", "prezzo", "prijs", "cost", "variantprice", "weight", "gewicht"),
    *("width", "height", "length", "depth", "year", "modelyear", "volume"),
}
MONEY = re.compile(r"[$€£¥₹]|\b(?:eur|usd|gbp|chf|inr|jpy)\b", re.IGNORECASE)
MIN_PRESENT = 0.05  # of the products, that have a value
MIN_NUMBERS = 0.9  # of the values of a numeric column
MIN_MONEY = 0.5  # of the values of a column without such a name
MIN_REPEATS = 2  # products of a category, on average


def find_attributes(path: Path, data: Data) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of categories and of numbers, each in the order of the table.

    data: with the other columns of the table, which are no attributes, but texts may be; of
    products to classify, the table must have the columns too. A column whose name says that it is a
    kind of category is none, because new products may not have it.
    """
    table = read_table(path, data)
    used = {data.id_column, data.label_column, data.images_column, data.split_column}
    used.add(data.group_column)
    names = [name for name in table.columns if name not in used and not _is_of_label(name)]
    if data.test:
        header = read_header(Path(data.root) / data.test, table.form)
        names = [name for name in names if name in header]
    numeric = tuple(name for name in names if _is_number(name, table.columns[name]))
    others = [name for name in names if name not in numeric]
    return tuple(n for n in others if _is_category(n, table.columns[n])), numeric


def attribute_lines(data: Data) -> list[str]:
    """What the attributes are used for, in lines; none without any."""
    lines = []
    if data.categorical_columns:
        lines.append(
            f"categories: {_named(data.categorical_columns)} by name, and because values repeat;"
            " boosters see the classes of the labelled products of the same value"
            " (--set data.categorical_columns=[] leaves them out)"
        )
    if data.numeric_columns:
        lines.append(
            f"numbers: {_named(data.numeric_columns)} by name or currency, and because values are"
            " numbers; boosters see where a number lies among those of a class"
            " (--set data.numeric_columns=[] leaves them out)"
        )
    return lines


def _named(columns: Iterable[str]) -> str:
    return ", ".join(map(repr, columns))


def _is_of_label(name: str) -> bool:
    return any(word in _plain(name) for word in LABEL_WORDS)


def _is_number(name: str, values: Sequence[str]) -> bool:
    """Numbers that differ, with a name for it or the signs of money."""
    present = _present(values)
    read = [value for value in present if parse(value) is not None]
    if len(set(read)) < 2 or len(read) < max(MIN_NUMBERS * len(present), 1):
        return False
    money = sum(MONEY.search(value) is not None for value in read)
    return _plain(name) in NUMBER_NAMES or money >= MIN_MONEY * len(read)


def _is_category(name: str, values: Sequence[str]) -> bool:
    """Values that repeat, with a name for it."""
    present = _present(values)
    distinct = len({same_spelling(value) for value in present})
    repeats = 2 <= distinct <= len(present) / MIN_REPEATS
    return repeats and _plain(name) in CATEGORY_NAMES


def _present(values: Sequence[str]) -> list[str]:
    """The values that are not missing; none at all if they are too few."""
    present = [value for value in values if value and value.casefold() not in MISSING_WORDS]
    return present if len(present) >= MIN_PRESENT * len(values) else []


def _plain(name: str) -> str:
    """A name in small letters and digits alone, without a unit in brackets."""
    return re.sub(r"[\W_]+", "", re.sub(r"[(\[].*", "", name.lower()))
