"""One Parquet, Arrow or Feather file: its schema, and its rows in a stream of small batches."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lib.data.sources.file_kind import ARROW, PARQUET, check_kind
from lib.errors import UserError

BATCH_ROWS = 32  # of images, of which one may have megabytes
BUFFER_BYTES = 1 << 20
MAGIC_BYTES = 6
PARQUET_MAGIC, ARROW_MAGIC, FEATHER1_MAGIC = b"PAR1", b"ARROW1", b"FEA1"


def read_schema(path: Path) -> pa.Schema:
    """The columns of a file and their types. Raises UserError for a file that is no table."""
    with _reading(path):
        if _magic(path).startswith(PARQUET_MAGIC):
            schema = pq.read_schema(path)
        else:
            with _open_arrow(path) as reader:
                schema = reader.schema
        _ = schema.names  # raises for a name that is not UTF-8
        return schema


def iter_batches(
    path: Path, columns: Sequence[str], batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of some columns, at most `batch_rows` at a time; each batch is validated.

    Memory: pages of Parquet, and batches of Arrow as they were written. Raises UserError for damage
    and for a column that is not there.
    """
    check_columns(path, read_schema(path), columns)
    with _reading(path):
        if _magic(path).startswith(PARQUET_MAGIC):
            with pq.ParquetFile(
                path, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
            ) as file:
                for batch in file.iter_batches(
                    batch_rows, columns=list(columns), use_threads=False
                ):
                    batch.validate(full=True)
                    yield batch.select(list(columns))
            return
        with _open_arrow(path) as reader:
            for whole in _batches_of(reader):
                batch = whole.select(list(columns))
                batch.validate(full=True)
                for first in range(0, batch.num_rows, batch_rows):
                    yield batch.slice(first, batch_rows)


def check_columns(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    """Raise UserError if a table lacks a column, or has it twice."""
    for column in columns:
        count = schema.names.count(column)
        if count > 1:
            raise UserError(f"{path}: {count} columns are named {column}; rename all but one")
        if not count:
            raise column_error(path, schema.names, column)


def column_error(path: Path, names: Sequence[str], column: str) -> UserError:
    """The error of a table that lacks a column."""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return UserError(
        f"{path}: no column {column}; it has: {shown}. Name your columns in the config"
        " (data.images_column, label_column, id_column, group_by, text_columns)"
    )


def class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """The names of a ClassLabel of the package `datasets`, which stores their numbers; else None.

    They stand in the metadata of the schema under "huggingface".
    """
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        feature = info["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list else None


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAGIC_BYTES)


@contextmanager
def _open_arrow(path: Path) -> Iterator[Any]:
    """A reader of an Arrow file (Feather), or of a stream as `datasets` caches it."""
    magic = _magic(path)
    if magic.startswith(FEATHER1_MAGIC):
        raise UserError(f"{path}: Feather of version 1; write it as Parquet or as Feather 2")
    if not magic.startswith(ARROW_MAGIC):
        check_kind(path, "a Parquet or Arrow table", ARROW)
    with pa.memory_map(str(path)) as source:
        opener = pa.ipc.open_file if magic.startswith(ARROW_MAGIC) else pa.ipc.open_stream
        with opener(source) as reader:
            yield reader


def _batches_of(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
    else:
        yield from reader


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise UserError in place of the errors of pyarrow."""
    try:
        check_kind(path, "a Parquet or Arrow table", PARQUET if _is_parquet(path) else ARROW)
        yield
    except (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError, KeyError) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: a damaged or incomplete table: {line}; write or fetch it again"
        ) from None


def _is_parquet(path: Path) -> bool:
    return _magic(path).startswith(PARQUET_MAGIC)
