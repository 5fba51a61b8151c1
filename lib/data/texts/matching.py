"""Match the rows of tables to the products of a catalog, by id"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib.data.catalog import Catalog
from lib.data.records import CorruptRecord
from lib.data.texts.tables import TextTable
from lib.errors import UserError

Take = Callable[[int, str], Any]  # (row of the catalog, value): what is done with a value


@dataclass(frozen=True)
class Matched:
    """products: that have a row in a table. cautions: counts that are worth a warning, in lines."""

    products: int
    cautions: list[str]


@dataclass
class _Rows:
    """What was found in one table besides the values."""

    table: TextTable
    rows: int = 0  # of products of the catalog
    others: int = 0  # of products that are not in the catalog
    first_other: str = ""
    corrupt: list[CorruptRecord] = field(default_factory=list)


def match_rows(
    catalog: Catalog,
    tables: Sequence[TextTable],
    take_of: Mapping[str, Take],
    max_bad_fraction: float,
    must_match: bool = True,
) -> Matched:
    """Call `take_of[column]` with each value that is not empty, in the order of the tables.

    Each column is read from the first of the tables that has it. Outer blanks are cut. A row that
    cannot be read is passed over. A product may have several rows.
    must_match: whether each column must be in a table, and each table have some of the products;
    else both are only cautions.
    Raises UserError for a column that no table has, for a table of none of the products, and for
    one with more than `max_bad_fraction` of its rows damaged.
    """
    columns = list(take_of)
    columns_of = _choose_columns(tables, columns)
    unknown = [c for c in columns if not any(c in chosen for chosen in columns_of)]
    if unknown and must_match:
        raise tables[-1].missing(unknown[0])
    cautions = [f"{', '.join(unknown)}: in no table; these values are missing"] if unknown else []
    row_of_key = {catalog.key(row): row for row in range(len(catalog.product_id))}
    is_matched = bytearray(len(row_of_key))
    for table, chosen in zip(tables, columns_of, strict=True):
        if not chosen:
            continue
        takes = {column: take_of[column] for column in chosen}
        found = _read(table, takes, row_of_key, is_matched)
        _check(found, catalog, max_bad_fraction, must_match)
        cautions += _cautions(found)
    return Matched(sum(is_matched), cautions)


def _choose_columns(tables: Sequence[TextTable], columns: Sequence[str]) -> list[list[str]]:
    """The columns to read from each table: each from the first that has it."""
    left, chosen = list(columns), []
    for table in tables:
        chosen.append([column for column in left if column in table.header])
        left = [column for column in left if column not in table.header]
    return chosen


def _read(
    table: TextTable,
    take_of: Mapping[str, Take],
    row_of_key: Mapping[str, int],
    is_matched: bytearray,
) -> _Rows:
    """Hand the values of a table on, and set `is_matched` of the products that have a row."""
    found, takes = _Rows(table), list(take_of.values())
    for key, values in table.read(list(take_of), found.corrupt):
        row = row_of_key.get(key.strip())
        if row is None:
            found.first_other = found.first_other or key
            found.others += 1
            continue
        found.rows += 1
        is_matched[row] = True
        for take, value in zip(takes, values, strict=True):
            if text := value.strip():
                take(row, text)
    return found


def _check(found: _Rows, catalog: Catalog, max_bad_fraction: float, must_match: bool) -> None:
    rows = found.rows + found.others
    if must_match and not found.rows:
        example = f", such as {found.first_other!a}," if rows else ""
        raise UserError(
            f"{found.table.path}: none of its {rows:,} ids{example} is a product of"
            f" {catalog.path}; its ids must be those of the products, such as {catalog.key(0)!a}"
        )
    if len(found.corrupt) > max_bad_fraction * (rows + len(found.corrupt)):
        raise UserError(f"{_damage(found)}; mend them, or raise data.max_bad_fraction")


def _cautions(found: _Rows) -> list[str]:
    cautions = [_damage(found)] if found.corrupt else []
    if found.others:
        cautions.append(
            f"{found.table.path}: {found.others:,} rows are of no product of the catalog"
        )
    return cautions


def _damage(found: _Rows) -> str:
    first, table = found.corrupt[0], found.table
    place = f"{table.unit} {first.offset}: {first.reason}"
    return f"{table.path}: {len(found.corrupt):,} rows cannot be read, {place}"
