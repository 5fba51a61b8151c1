"""Tables as shops export them: encoding, separator, and the values of some columns, row by row."""

import codecs
import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from lib.data.records import CorruptRecord
from lib.errors import UserError

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
BYTE_ORDER_MARKS = {  # the longer ones first: that of UTF-16 begins that of UTF-32
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SAMPLE_BYTES = 4096  # of the head of a table, to recognize UTF-16 without a mark
MAX_FIELD = (1 << 31) - 1  # characters; Python's own limit is 131,072
PACKED_SUFFIX = ".gz"
MAX_SHOWN = 8  # columns named in a message

# What a user can do about rows that cannot be read, for the end of a message.
OTHER_ENCODING = 'set data.encoding, such as "cp1252" for a table of Excel, or save it as UTF-8'


@dataclass(frozen=True)
class TableFormat:
    """How a table is written. encoding: a name of Python; separator: a key of SEPARATORS.

    "auto": recognized, the encoding by its first bytes, the separator by the header.
    """

    encoding: str = "auto"
    separator: str = "auto"


def read_rows(
    source: Path,
    columns: Sequence[str],
    corrupt: list[CorruptRecord],
    form: TableFormat | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, values of `columns`) of each row; blank lines are skipped.

    corrupt: gets the rows that cannot be read, with the reason: another number of fields than the
    header, quotes that do not fit, values that are not in the encoding. A row with such quotes may
    have swallowed lines, so each of its lines counts.
    Raises UserError if the header cannot be read, or does not name each column once.
    """
    form = form or TableFormat()
    with _open_table(source, form) as (file, encoding):
        reader, header, skipped = _read_header(source, file, form, columns)
        indices = [_column_index(source, header, column) for column in columns]
        yield from _read_body(reader, skipped, len(header), indices, corrupt, encoding)


def read_header(source: Path, form: TableFormat | None = None) -> list[str]:
    """The names of the columns, without outer blanks. Raises UserError if they cannot be read."""
    form = form or TableFormat()
    with _open_table(source, form) as (file, _):
        return _read_header(source, file, form, [])[1]


@contextmanager
def _open_table(source: Path, form: TableFormat) -> Iterator[tuple[TextIO, str]]:
    """The table as text, and its encoding. Raises UserError for bytes that are not in it."""
    csv.field_size_limit(MAX_FIELD)
    encoding = ""
    try:
        encoding = _encoding(source, form)
        options: dict[str, Any] = {"newline": "", "encoding": encoding}
        opener = gzip.open if _is_packed(source) else open
        with opener(source, "rt", errors="surrogateescape", **options) as file:
            yield cast(TextIO, file), encoding
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{source}: a damaged gzip archive: {error}; fetch it again") from None
    except UnicodeError as error:
        raise UserError(f"{source}: not {encoding}: {error}; {OTHER_ENCODING}") from None


def _is_packed(source: Path) -> bool:
    return source.name.lower().endswith(PACKED_SUFFIX)


def _read_header(
    source: Path, file: TextIO, form: TableFormat, columns: Sequence[str]
) -> tuple[Any, list[str], int]:
    """A reader of the rows below the header, its names, and how many lines are above it."""
    first = file.readline()
    skipped = int(first.startswith("sep="))  # of Excel: the separator
    first = file.readline() if skipped else first
    separator = SEPARATORS.get(form.separator) or _recognize_separator(first, columns)
    reader = csv.reader(chain([first], file), delimiter=separator, strict=True)
    return reader, [name.strip() for name in _next_row(source, reader)], skipped


def _read_body(
    reader: Any,
    skipped: int,
    width: int,
    indices: Sequence[int],
    corrupt: list[CorruptRecord],
    encoding: str,
) -> Iterator[tuple[int, list[str]]]:
    """The rows after the header.

    reader: of `csv`. skipped: lines before the header. width: fields of the header. indices: of
    the fields that are wanted.
    """
    while True:
        line = reader.line_num + skipped + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            lines = range(line, reader.line_num + skipped + 1)
            corrupt += [CorruptRecord(number, 0, f"{error}: mend the quotes") for number in lines]
            continue
        if row is None:
            return
        if not any(row):
            continue
        if len(row) < width or any(row[width:]):
            reason = f"{len(row)} fields, but the header has {width}: quote values with a separator"
            corrupt.append(CorruptRecord(line, 0, reason))
            continue
        values = [row[index] for index in indices]
        if all(map(_is_decoded, values)):
            yield line, values
        else:
            corrupt.append(
                CorruptRecord(line, 0, f"not {encoding.removesuffix('-sig')}: {OTHER_ENCODING}")
            )


def _next_row(source: Path, reader: Any) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error as error:
        raise UserError(f"{source}: line 1: {error}; mend the quotes of the header") from None


def _is_decoded(value: str) -> bool:
    """Whether no byte of a value was left undecoded (`errors="surrogateescape"`)."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encoding(source: Path, form: TableFormat) -> str:
    """The encoding that is set, or that the first bytes show; UTF-8 if they show none."""
    with cast(BinaryIO, (gzip.open if _is_packed(source) else open)(source, "rb")) as file:
        sample = file.read(SAMPLE_BYTES)
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if sample.startswith(mark)), "")
    if form.encoding != "auto":
        name = _known_encoding(form.encoding)
        return "utf-8-sig" if name == "utf-8" else name
    if marked:
        return marked
    if b"\0" in sample:  # of ASCII text in UTF-16 every other byte is zero
        return "utf-16-le" if sample[1::2].count(0) >= sample[::2].count(0) else "utf-16-be"
    return "utf-8-sig"


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except LookupError:
        raise UserError(
            f"data.encoding = {name!r}: no encoding of this name; use one such as utf-8, cp1252,"
            " latin-1, utf-16, cp1250 or shift_jis"
        ) from None


def _recognize_separator(first: str, columns: Sequence[str]) -> str:
    """The separator that finds the most columns in the first line; of equals, the most fields."""

    def found(separator: str) -> tuple[int, int]:
        try:
            names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
        except csv.Error:
            return 0, 0
        return len(set(columns) & set(names)), len(names)

    return max(SEPARATORS.values(), key=found)


def _column_index(source: Path, header: list[str], name: str) -> int:
    if not any(header):
        raise UserError(f"{source}: the file is empty; its first line must name the columns")
    if header.count(name) > 1:
        raise UserError(
            f"{source}: line 1: {header.count(name)} columns are named {name}; rename all but one"
        )
    if name not in header:
        raise column_error(source, header, name)
    return header.index(name)


def column_error(source: Path, header: list[str], name: str) -> UserError:
    """The error of a table that lacks a column; header: the columns that it has."""
    shown = ", ".join(header[:MAX_SHOWN]) + (", ..." if len(header) > MAX_SHOWN else "")
    shown = shown.encode("utf-8", "replace").decode()
    return UserError(
        f"{source}: line 1: no column {name}; it has: {shown}. Name your"
        " columns in the config (data.id_column, label_column, images_column, group_by,"
        " text_columns), or set data.separator and data.encoding"
    )
