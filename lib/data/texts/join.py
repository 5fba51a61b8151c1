"""Join the texts of CSV tables to the products of a catalog, by id

    texts.arrow   a string column for each of `data.text_columns`, null where a text is missing

Its rows are the products of the catalog, in their order.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lib.data.catalog import Catalog, write_table
from lib.data.sources.text_table import TableFormat
from lib.data.texts.matching import match_rows
from lib.data.texts.tables import TextTable, csv_texts
from lib.pipeline.reading import read_table

TABLE = "texts.arrow"


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

    paths: CSV files, also compressed (.gz). An empty text is missing. Of several rows of a product,
    the first text counts. own: the table of the catalog itself, if it is no CSV; the first of the
    tables. The other arguments, and what is raised, are those of `match_rows`.
    Returns counts.
    """
    tables = [csv_texts(path, id_column, form) for path in paths]
    texts: dict[str, dict[int, str]] = {column: {} for column in columns}
    matched = match_rows(
        catalog,
        tables if own is None else [own, *tables],
        {column: texts[column].setdefault for column in columns},
        max_bad_fraction,
        must_match,
    )
    rows = range(len(catalog.product_id))
    arrays = {c: pa.array([texts[c].get(row) for row in rows], pa.string()) for c in columns}
    write_table(folder / TABLE, arrays)
    with_text = set().union(*texts.values())
    return {
        "products": len(rows),
        "without_row": len(rows) - matched.products,
        "without_text": len(rows) - len(with_text),
        "texts": {column: len(values) for column, values in texts.items()},
        "cautions": matched.cautions,
    }


def read_texts(folder: Path, columns: Sequence[str]) -> pa.Table:
    """The columns of `texts.arrow`: strings, null where a text is missing; a row is a product."""
    return read_table(folder / TABLE, *columns).select(list(columns))
