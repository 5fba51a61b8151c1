"""Tables of ids and texts, of any kind of file, as `join_texts` reads them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.data.records import CorruptRecord
from lib.data.sources.text_table import TableFormat, column_error, read_header, read_rows
from lib.errors import UserError

OTHER_ID_COLUMN = "_id"  # as in BSON, where a table has no data.id_column

ReadTexts = Callable[[Sequence[str], list[CorruptRecord]], Iterator[tuple[str, list[str]]]]


@dataclass(frozen=True)
class TextTable:
    """A table with texts of products.

    path: named in messages. unit: what the offset of a corrupt row counts. header: its columns.
    read: from columns, and a list that gets the rows that cannot be read, to id and texts of each
    row. missing: the error of a table that lacks a column.
    """

    path: Path
    unit: str
    header: Sequence[str]
    read: ReadTexts
    missing: Callable[[str], UserError]


def csv_texts(path: Path, id_column: str, form: TableFormat) -> TextTable:
    """The texts of a CSV, also a compressed one (.gz). Raises UserError for a bad header."""
    header = read_header(path, form)
    other = id_column not in header and OTHER_ID_COLUMN in header
    key_column = OTHER_ID_COLUMN if other or not id_column else id_column

    def read(
        columns: Sequence[str], corrupt: list[CorruptRecord]
    ) -> Iterator[tuple[str, list[str]]]:
        for _, (key, *texts) in read_rows(path, [key_column, *columns], corrupt, form):
            yield key, texts

    return TextTable(path, "line", header, read, lambda name: column_error(path, header, name))
