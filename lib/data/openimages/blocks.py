"""Blocks of a table of annotations: typed columns, by pyarrow, or row by row with every fault.

pyarrow parses bytes to typed columns in threads, and gives up at the first value or row that does
not fit. `plain_blocks` reads the same table with the line of each fault.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from lib.data.records import CorruptRecord
from lib.data.sources.text_table import TableFormat, read_rows
from lib.errors import UserError

BLOCK_BYTES = 1 << 23  # of a table, parsed at a time
BLOCK_ROWS = 100_000  # of a table that is read row by row
MAX_SHOWN = 8  # columns named in a message


class Block(NamedTuple):
    """Consecutive rows of a table: line int64 [R], columns of text and of numbers (NaN: none).

    texts: by column, (codes int64 [R], the distinct values that they number).
    """

    line: np.ndarray
    texts: dict[str, tuple[np.ndarray, list[str]]]
    numbers: dict[str, np.ndarray]


class Columns(NamedTuple):
    """The columns of a table that are read: of text, of fractions, of flags (-1, 0, 1)."""

    texts: list[str]
    floats: list[str]
    flags: list[str]

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.texts, *self.floats, *self.flags]


def columns_present(path: Path, required: Sequence[str], optional: Sequence[str]) -> set[str]:
    """Which of the columns a table has. Raises UserError if it lacks a required one."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            header = [name.strip() for name in next(csv.reader(file), [])]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; set data.train or data.test") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except csv.Error as error:
        raise UserError(f"{path}: line 1: {error}; it is not a table of Open Images") from None
    for name in (*required, *optional):
        if header.count(name) > 1:
            raise UserError(f"{path}: line 1: {header.count(name)} columns are named {name}")
        if name in required and name not in header:
            shown = ", ".join(header[:MAX_SHOWN])[:200].encode("ascii", "replace").decode()
            raise UserError(
                f"{path}: line 1: no column {name}; it has: {shown or 'nothing'}. A table of Open"
                f" Images has {', '.join(required)}"
            )
    return {name for name in (*required, *optional) if name in header}


def typed_blocks(path: Path, columns: Columns) -> Iterator[Block]:
    """Blocks of a table, parsed by pyarrow; raises ArrowInvalid or ArrowKeyError at a fault."""
    text = pa.dictionary(pa.int32(), pa.string())
    types = dict.fromkeys(columns.texts, text)
    types |= dict.fromkeys(columns.floats, pa.float32()) | dict.fromkeys(columns.flags, pa.int8())
    line = 2
    with arrow_csv.open_csv(
        path,
        arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
        arrow_csv.ParseOptions(ignore_empty_lines=False),
        arrow_csv.ConvertOptions(column_types=types, include_columns=columns.names),
    ) as reader:
        for batch in reader:
            numbers = {
                name: batch[name].to_numpy(zero_copy_only=False)
                for name in (*columns.floats, *columns.flags)
            }
            texts = {}
            for name in columns.texts:
                values = batch[name]
                texts[name] = (values.indices.to_numpy(), values.dictionary.to_pylist())
            yield Block(np.arange(line, line + len(batch)), texts, numbers)
            line += len(batch)


def plain_blocks(path: Path, columns: Columns, corrupt: list[CorruptRecord]) -> Iterator[Block]:
    """The same blocks, read row by row; rows that cannot be read are appended to `corrupt`."""
    rows = read_rows(path, columns.names, corrupt, TableFormat("auto", "comma"))
    lines: list[int] = []
    values: list[list[str]] = []
    for line, row in rows:
        lines.append(line)
        values.append(row)
        if len(lines) == BLOCK_ROWS:
            yield _plain_block(columns, lines, values)
            lines, values = [], []
    if lines:
        yield _plain_block(columns, lines, values)


def _plain_block(columns: Columns, lines: list[int], rows: list[list[str]]) -> Block:
    by_name = dict(zip(columns.names, zip(*rows, strict=True), strict=True))
    texts = {}
    for name in columns.texts:
        distinct = {text: number for number, text in enumerate(dict.fromkeys(by_name[name]))}
        codes = np.array([distinct[text] for text in by_name[name]], np.int64)
        texts[name] = (codes, list(distinct))
    numbers = {
        name: np.array([_number(text) for text in by_name[name]], np.float32)
        for name in (*columns.floats, *columns.flags)
    }
    return Block(np.array(lines, np.int64), texts, numbers)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
