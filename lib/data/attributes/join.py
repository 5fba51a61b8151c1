"""Join the attributes of tables to the products of a catalog, by id, as typed columns

    attributes.arrow   data.categorical_columns: strings of a dictionary; data.numeric_columns:
                       float64; null where a value is missing
    readings.json      which separator of each numeric column is the decimal one

Its rows are the products of the catalog, in their order.
"""

import json
import unicodedata
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from lib.data.attributes.numbers import MISSING_WORDS, Decimal, NumberColumn
from lib.data.catalog import Catalog, write_table
from lib.data.texts.matching import match_rows
from lib.data.texts.tables import TextTable
from lib.errors import UserError
from lib.pipeline.reading import read_json, read_table

TABLE, READINGS = "attributes.arrow", "readings.json"
MAX_UNREADABLE = 0.5  # of the values of a numeric column
MAX_DISTINCT = 0.5  # of the values of a categorical column: with more, it is an id


@dataclass
class CategoryColumn:
    """A column of categories that is filled value by value.

    code: index of each product's value in `code_of`, in the order of first use; -1 if missing.
    """

    code: "array[int]"
    code_of: dict[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, num_products: int) -> "CategoryColumn":
        """A column in which every value is missing."""
        return cls(array("i", [-1]) * num_products)

    def take(self, row: int, text: str) -> None:
        """Set the value of a product, unless it has one."""
        if self.code[row] < 0 and text.casefold() not in MISSING_WORDS:
            self.code[row] = self.code_of.setdefault(same_spelling(text), len(self.code_of))

    def to_arrow(self) -> pa.DictionaryArray:
        """Strings of a dictionary, null where missing."""
        code = np.array(self.code, np.int32)
        values = pa.array(list(self.code_of), pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(code, mask=code < 0), values)


def same_spelling(text: str) -> str:
    """A value without differences of case, blanks and Unicode's forms: "NIKE " is "nike"."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def join_attributes(
    folder: Path,
    catalog: Catalog,
    tables: Sequence[TextTable],
    categorical: Sequence[str],
    numeric: Sequence[str],
    max_bad_fraction: float,
    must_match: bool = True,
    decimal: Literal["auto", "point", "comma"] = "auto",
    trained: Mapping[str, Decimal] | None = None,
) -> dict[str, Any]:
    """Write `attributes.arrow` and `readings.json`.

    Of several rows of a product, the first value counts. Words for no value, such as "n/a", are
    missing; what is no number in a numeric column is missing too, and counted.
    decimal: the decimal separator; "auto": by each column as a whole. trained: that of the labelled
    products, which other products are read by. The other arguments are those of `match_rows`.
    Returns counts, lines to say, and cautions. Raises UserError as `match_rows` does, and for a
    numeric column that mostly holds no numbers.
    """
    num_products = len(catalog.product_id)
    categories = {name: CategoryColumn.empty(num_products) for name in categorical}
    numbers = {name: NumberColumn.empty(num_products) for name in numeric}
    take_of = {name: column.take for name, column in (categories | numbers).items()}
    matched = match_rows(catalog, tables, take_of, max_bad_fraction, must_match)
    said: list[str] = []
    cautions = list(matched.cautions)
    arrays: dict[str, pa.Array] = {}
    for name, category in categories.items():
        arrays[name] = category.to_arrow()
        cautions += _category_cautions(name, arrays[name])
    readings: dict[str, Decimal] = {}
    for name, number in numbers.items():
        if must_match:
            _check_numbers(tables, name, number)
        readings[name] = _reading(name, number, decimal, trained or {}, said, cautions)
        cautions += _number_cautions(name, number)
        values = number.values(readings[name])
        arrays[name] = pa.array(values, mask=np.isnan(values))
    write_table(folder / TABLE, arrays)
    (folder / READINGS).write_text(json.dumps(readings) + "\n")
    return {
        "products": num_products,
        "without_row": num_products - matched.products,
        "present": {name: len(column) - column.null_count for name, column in arrays.items()},
        "unreadable": {name: number.unreadable for name, number in numbers.items()},
        "said": said,
        "cautions": cautions,
    }


def read_attributes(folder: Path, columns: Sequence[str]) -> pa.Table:
    """The columns of `attributes.arrow`: a row is a product."""
    return read_table(folder / TABLE, *columns).select(list(columns))


def read_readings(folder: Path, columns: Sequence[str]) -> dict[str, Decimal]:
    """The decimal separator of each numeric column."""
    readings: dict[str, Decimal] = read_json(folder / READINGS, *columns)
    return readings


def category_codes(column: pa.ChunkedArray, values: Mapping[str, int]) -> np.ndarray:
    """The code of each product's value: int32 [P]; -1 where it is missing.

    values: codes by value, as `value_codes` returns them. Other values have the code `len(values)`.
    """
    array = column.combine_chunks()
    known = [values.get(value, len(values)) for value in array.dictionary.to_pylist()]
    return np.array([*known, -1], np.int32)[array.indices.fill_null(-1).to_numpy()]


def value_codes(column: pa.ChunkedArray) -> dict[str, int]:
    """A code of each value of a categorical column, in the order of its dictionary."""
    values = column.combine_chunks().dictionary.to_pylist()
    return {value: code for code, value in enumerate(values)}


def _check_numbers(tables: Sequence[TextTable], name: str, number: NumberColumn) -> None:
    path = next(table.path for table in tables if name in table.header)
    total = number.numbers + number.unreadable
    if number.unreadable > MAX_UNREADABLE * total:
        raise UserError(
            f"{path}: column {name}: {number.unreadable:,} of {total:,} values are no numbers,"
            f" such as {', '.join(number.unreadable_values())}; take it out of"
            " data.numeric_columns, or name it in data.categorical_columns"
        )


def _reading(
    name: str,
    number: NumberColumn,
    decimal: Literal["auto", "point", "comma"],
    trained: Mapping[str, Decimal],
    said: list[str],
    cautions: list[str],
) -> Decimal:
    """The decimal separator of a column, and lines that say how it was found."""
    own, is_shown = number.decide()
    chosen = own if decimal == "auto" else decimal
    chosen = trained.get(name, chosen)
    unclear = number.ambiguous.total()
    if not unclear:
        said.append(f"{name}: {number.numbers:,} numbers; all can be read in one way only")
        return chosen
    example = f"{number.first_ambiguous!a}"
    how = (
        f"{name}: {unclear:,} of {number.numbers:,} numbers are like {example}; the decimal"
        f" separator is a {chosen}"
    )
    if name in trained:
        said.append(f"{how}, as in the labelled products")
        if is_shown and own != chosen:
            cautions.append(f"{how} as in the labelled products, but these values show a {own}")
    elif decimal != "auto":
        said.append(f"{how}, as data.decimal says")
    elif is_shown:
        shown = f"{number.says['point']:,} numbers show a point, {number.says['comma']:,} a comma"
        said.append(f"{how}: {shown}")
        if min(number.says["point"], number.says["comma"]):
            cautions.append(f"{how}, but {shown}; set data.decimal if this is wrong")
    else:
        cautions.append(f"{how}, though no value shows it; set data.decimal if this is wrong")
    return chosen


def _number_cautions(name: str, number: NumberColumn) -> list[str]:
    cautions = []
    if number.unreadable:
        cautions.append(
            f"{name}: {number.unreadable:,} values are no numbers and count as missing:"
            f" {', '.join(number.unreadable_values())}"
        )
    if units := number.units():
        cautions.append(
            f"{name}: numbers of different units are compared as they are: {', '.join(units)}"
        )
    return cautions


def _category_cautions(name: str, column: pa.DictionaryArray) -> list[str]:
    present, distinct = len(column) - column.null_count, len(column.dictionary)
    if distinct > max(MAX_DISTINCT * present, 2):
        return [f"{name}: {distinct:,} different values of {present:,} products: hardly a category"]
    return []
