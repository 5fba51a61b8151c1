"""Texts and attributes in the documents of a BSON file: top-level keys beside `_id` and `imgs`.

Each document is found by the scan of the index, without hashes; pictures are jumped over.
"""

import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from lib.data.records import CorruptRecord, load_batch
from lib.data.sources.bson_file import scan_file
from lib.data.sources.bson_kernels import DOUBLE, INT32, INT64, STRING, VALUE_BYTES
from lib.data.texts.tables import TextTable
from lib.errors import UserError

BOOLEAN = 0x08
SIZED = {STRING: 4, 0x0D: 4, 0x0E: 4, 0x05: 5}  # bytes beyond the length that such a value states


def document_texts(source: Path, columns: Sequence[str], processes: int = 1) -> TextTable:
    """The values of some top-level keys of all documents, as texts.

    Strings, numbers and booleans have a text; values of other types and null are missing. Of a
    number with a fraction the text has so many digits that its point is no separator of thousands.
    Its header is those of `columns` that a document has: documents are read until all are found.
    """
    scan = _Scan(source, processes)
    left = set(columns)
    for _, values in _read(scan, columns, []):
        left -= {column for column, value in zip(columns, values, strict=True) if value}
        if not left:
            break
    header = [column for column in columns if column not in left]

    def read(
        chosen: Sequence[str], corrupt: list[CorruptRecord]
    ) -> Iterator[tuple[str, list[str]]]:
        return _read(scan, chosen, corrupt)

    def missing(column: str) -> UserError:
        return UserError(
            f"{source}: no document has a text or number {column}; name another key, or a CSV of"
            " ids and texts in data.train_texts"
        )

    return TextTable(source, "byte", header, read, missing)


class _Scan:
    """Where the documents of a file begin, in temporary files that are deleted with it."""

    def __init__(self, source: Path, processes: int) -> None:
        self.source, self.folder = source, TemporaryDirectory(prefix="documents-")
        self.files, _ = scan_file(source, Path(self.folder.name), processes, md5=False)


def _read(
    scan: _Scan, columns: Sequence[str], corrupt: list[CorruptRecord]
) -> Iterator[tuple[str, list[str]]]:
    """Id and texts of each document; the report of the index has the corrupt ones.

    A string that is not UTF-8 makes a document corrupt here.
    """
    keys = {column.encode(): place for place, column in enumerate(columns)}
    with (
        scan.source.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        for batch in map(load_batch, scan.files):
            ids = batch.product_id.tolist()
            for at, key in zip(batch.location.tolist(), ids, strict=True):
                try:
                    yield str(key), _values(data, at, keys)
                except UnicodeDecodeError as error:
                    corrupt.append(CorruptRecord(at, 0, f"a text that is not UTF-8: {error}"))


def _values(data: mmap.mmap, at: int, keys: dict[bytes, int]) -> list[str]:
    """The texts of some keys of the document at `at`, which the scan has found to be whole."""
    values = [""] * len(keys)
    stop = at + struct.unpack_from("<i", data, at)[0] - 1
    at += 4
    while at < stop:
        kind, name = data[at], at + 1
        value = data.find(b"\0", name, stop) + 1
        place = keys.get(data[name : value - 1])
        if place is not None:
            values[place] = _text(data, kind, value)
        at = _end(data, kind, value, stop)
    return values


def _text(data: mmap.mmap, kind: int, at: int) -> str:
    if kind == STRING:
        length = struct.unpack_from("<i", data, at)[0]
        return data[at + 4 : at + 4 + max(length - 1, 0)].decode()
    if kind == INT32:
        return str(struct.unpack_from("<i", data, at)[0])
    if kind == INT64:
        return str(struct.unpack_from("<q", data, at)[0])
    if kind == DOUBLE:
        text = repr(struct.unpack_from("<d", data, at)[0])
        return f"{text}0" if "." in text and "e" not in text else text
    return ("false", "true")[bool(data[at])] if kind == BOOLEAN else ""


def _end(data: mmap.mmap, kind: int, at: int, stop: int) -> int:
    """The end of a value, as `bson_kernels` has it."""
    fixed = int(VALUE_BYTES[kind])
    if fixed >= 0:
        return at + fixed
    if kind == 0x0B:  # two strings that end with a zero
        return data.find(b"\0", data.find(b"\0", at, stop) + 1, stop) + 1
    length: int = struct.unpack_from("<i", data, at)[0]
    if kind == 0x0C:  # a string and an object id
        return at + 4 + length + 12
    return at + length + SIZED.get(kind, 0)
