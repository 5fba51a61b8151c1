"""Texts of the rows of Parquet or Arrow tables."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.data.records import CorruptRecord
from lib.data.sources.parquet.listing import iter_texts
from lib.data.sources.parquet.table_file import column_error, read_schema
from lib.data.texts.tables import TextTable


def table_texts(source: Path, paths: Sequence[Path], id_column: str) -> TextTable:
    """The texts of all rows of the files. Raises UserError for a file that cannot be read.

    source: named in messages. Its header has the columns that every file has.
    """
    names = [read_schema(path).names for path in paths]
    header = [name for name in names[0] if all(name in others for others in names)]

    def read(
        columns: Sequence[str], corrupt: list[CorruptRecord]
    ) -> Iterator[tuple[str, list[str]]]:
        for path in paths:
            yield from iter_texts(path, columns, id_column)

    return TextTable(source, "row", header, read, lambda c: column_error(source, header, c))
