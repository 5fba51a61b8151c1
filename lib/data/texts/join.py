"""Join the texts of CSV tables to the products of a catalog, by id

    texts.arrow   a string column for each of `data.text_columns`, null where a text is missing

Its rows are the products of the catalog, in their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from lib.data.catalog import Catalog, write_table
from lib.data.records import CorruptRecord
from lib.data.sources.text_table import TableFormat
from lib.data.texts.tables import TextTable, csv_texts
from lib.errors import UserError
from lib.pipeline.reading import read_table

TABLE = "texts.arrow"


@dataclass
class _Texts:
    """The texts of a column by product (row of the catalog), and what its table has besides."""

    table: TextTable
    of_product: list[dict[int, str]]  # of each column of the table
    matched: set[int] = field(default_factory=set)
    others: int = 0  # rows of products that are not in the catalog
    first_other: str = ""
    corrupt: list[CorruptRecord] = field(default_factory=list)


def join_texts(
    folder: Path,
    catalog: Catalog,
    paths: Sequence[Path],
    columns: Sequence[str],
    id_column: str,
    form: TableFormat,
    max_bad_fraction: float,
    must_match: bool = True,
    own: TextTable | None = None,
) -> dict[str, Any]:
    """Write `texts.arrow`: each column from the first of the tables that has it.

    paths: CSV files, also compressed (.gz). Outer blanks are cut; an empty text is missing. Of
    several rows of a product, the first text counts. A row that cannot be read is passed over.
    own: the table of the catalog itself, if it is no CSV; the first of the tables.
    must_match: whether each column must be in a table, and each table have some of the products;
    else both are only said in "cautions", as are counts worth a warning.
    Returns counts. Raises UserError for a column that no table has, for a table of none of the
    products, and for one with more than `max_bad_fraction` of its rows damaged.
    """
    tables = [csv_texts(path, id_column, form) for path in paths]
    tables = tables if own is None else [own, *tables]
    columns_of = _choose_columns(tables, columns)
    unknown = [c for c in columns if not any(c in chosen for chosen in columns_of)]
    if unknown and must_match:
        raise tables[-1].missing(unknown[0])
    cautions = [f"{', '.join(unknown)}: in no table; these texts are missing"] if unknown else []
    row_of_key = {catalog.key(row): row for row in range(len(catalog.product_id))}
    texts: dict[str, dict[int, str]] = {column: {} for column in columns}
    matched: set[int] = set()
    for table, chosen in zip(tables, columns_of, strict=True):
        if not chosen:
            continue
        found = _read_texts(table, chosen, row_of_key)
        _check(found, catalog, max_bad_fraction, must_match)
        cautions += _cautions(found)
        texts |= zip(chosen, found.of_product, strict=True)
        matched |= found.matched
    rows = range(len(catalog.product_id))
    arrays = {c: pa.array([texts[c].get(row) for row in rows], pa.string()) for c in columns}
    write_table(folder / TABLE, arrays)
    with_text = set().union(*texts.values())
    return {
        "products": len(rows),
        "without_row": len(rows) - len(matched),
        "without_text": len(rows) - len(with_text),
        "texts": {column: len(values) for column, values in texts.items()},
        "cautions": cautions,
    }


def read_texts(folder: Path, columns: Sequence[str]) -> pa.Table:
    """The columns of `texts.arrow`: strings, null where a text is missing; a row is a product."""
    return read_table(folder / TABLE, *columns).select(list(columns))


def _choose_columns(tables: Sequence[TextTable], columns: Sequence[str]) -> list[list[str]]:
    """The columns to read from each table: each from the first that has it."""
    left, chosen = list(columns), []
    for table in tables:
        chosen.append([column for column in left if column in table.header])
        left = [column for column in left if column not in table.header]
    return chosen


def _read_texts(table: TextTable, columns: Sequence[str], row_of_key: dict[str, int]) -> _Texts:
    texts = _Texts(table, [{} for _ in columns])
    for key, values in table.read(columns, texts.corrupt):
        row = row_of_key.get(key.strip())
        if row is None:
            texts.first_other = texts.first_other or key
            texts.others += 1
            continue
        texts.matched.add(row)
        for of_product, value in zip(texts.of_product, values, strict=True):
            if text := value.strip():
                of_product.setdefault(row, text)
    return texts


def _check(texts: _Texts, catalog: Catalog, max_bad_fraction: float, must_match: bool) -> None:
    rows = len(texts.matched) + texts.others
    if must_match and not texts.matched:
        example = f", such as {texts.first_other!a}," if rows else ""
        raise UserError(
            f"{texts.table.path}: none of its {rows:,} ids{example} is a product of"
            f" {catalog.path}; its ids must be those of the products, such as {catalog.key(0)!a}"
        )
    if len(texts.corrupt) > max_bad_fraction * (rows + len(texts.corrupt)):
        raise UserError(f"{_damage(texts)}; mend them, or raise data.max_bad_fraction")


def _cautions(texts: _Texts) -> list[str]:
    cautions = [_damage(texts)] if texts.corrupt else []
    if texts.others:
        cautions.append(
            f"{texts.table.path}: {texts.others:,} rows are of no product of the catalog"
        )
    return cautions


def _damage(texts: _Texts) -> str:
    first, table = texts.corrupt[0], texts.table
    place = f"{table.unit} {first.offset}: {first.reason}"
    return f"{table.path}: {len(texts.corrupt):,} rows cannot be read, {place}"
