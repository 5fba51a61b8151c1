"""Where the pictures lie in a Cdiscount BSON file, without decoding or copying them (C1).

A record is `{_id: int, imgs: [{picture: binary}, ...], category_id: int}` in any key order, with
any other keys. Only lengths and a few integers are looked at, so the pass runs at the speed of
reading the file; pictures are fetched later by (offset, length).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lib.errors import UserError

LEAST_DOCUMENT = 5  # the length itself and the closing zero
MOST_DOCUMENT = 1 << 30  # a length above this is damage, not a record

# Bytes of a value by BSON type; the variable ones are read by `_value_end`.
FIXED = {
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # object id
    0x08: 1,  # boolean
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # int32
    0x11: 8,  # timestamp
    0x12: 8,  # int64
    0x13: 16,  # decimal128
    0xFF: 0,  # least key
    0x7F: 0,  # greatest key
}
LENGTH_AND_BYTES = (0x02, 0x0D, 0x0E)  # string, code, symbol: int32 length, then that many bytes
EMBEDDED = (0x03, 0x04, 0x0F)  # document, array, code with scope: the int32 counts itself
BINARY = 0x05
OLD_BINARY = 2  # a subtype whose payload repeats its length
INTEGERS = {0x10: struct.Struct("<i"), 0x12: struct.Struct("<q")}

_int32 = struct.Struct("<i").unpack_from


class Malformed(ValueError):
    """A record whose inside is not BSON, or not a product. The message says what is wrong."""


@dataclass(frozen=True)
class Record:
    """One product as it lies in the file. `pictures` are (offset in the file, bytes)."""

    offset: int
    product_id: int
    category_id: int | None
    pictures: list[tuple[int, bytes]]


@dataclass(frozen=True)
class Damage:
    """A record that could not be used."""

    offset: int
    reason: str


def scan(path: Path) -> Iterator[Record | Damage]:
    """Every record of `path` in file order.

    A record that is framed well and wrong inside comes as Damage and the pass goes on. Raises
    UserError where the frames themselves break (a truncated or foreign file), since nothing after
    that place can be trusted.
    """
    with path.open("rb", buffering=1 << 20) as file:
        size = file.seek(0, 2)
        file.seek(0)
        offset = 0
        while offset < size:
            document = _read_document(file, path, offset, size)
            try:
                yield _product(document, offset)
            except Malformed as error:
                yield Damage(offset, str(error))
            offset += len(document)


def _read_document(file: BinaryIO, path: Path, offset: int, size: int) -> bytes:
    head = file.read(4)
    length = _int32(head)[0] if len(head) == 4 else LEAST_DOCUMENT
    if len(head) < 4 or (offset + length > size and LEAST_DOCUMENT <= length <= MOST_DOCUMENT):
        raise UserError(
            f"{path}: truncated: the record at byte {offset} needs {length} bytes and"
            f" {size - offset} are left; fetch the file again"
        )
    if not LEAST_DOCUMENT <= length <= MOST_DOCUMENT:
        raise UserError(
            f"{path}: not BSON at byte {offset}: a record of {length} bytes cannot be;"
            " fetch the file again"
        )
    document = head + file.read(length - 4)
    if document[-1] != 0:
        raise UserError(
            f"{path}: the record at byte {offset} does not end where its length says;"
            " fetch the file again"
        )
    return document


def _product(document: bytes, offset: int) -> Record:
    product_id: int | None = None
    category_id: int | None = None
    pictures: list[tuple[int, bytes]] = []
    for kind, key, start, _ in _elements(document, 0):
        if key == b"_id":
            product_id = _integer(document, kind, start, "_id")
        elif key == b"category_id":
            category_id = _integer(document, kind, start, "category_id")
        elif key == b"imgs":
            if kind != 0x04:
                raise Malformed("imgs is not an array")
            pictures = [(offset + at, document[at:stop]) for at, stop in _pictures(document, start)]
    if product_id is None:
        raise Malformed("no _id")
    return Record(offset, product_id, category_id, pictures)


def _pictures(document: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Payload ranges of `picture` in each document of the array that starts at `start`."""
    for kind, _, item, _ in _elements(document, start):
        if kind != 0x03:
            raise Malformed("imgs holds something that is not a document")
        for inner, key, value, end in _elements(document, item):
            if key != b"picture":
                continue
            if inner != BINARY:
                raise Malformed("picture is not binary")
            skip = 9 if document[value + 4] == OLD_BINARY else 5
            yield value + skip, end


def _elements(document: bytes, start: int) -> Iterator[tuple[int, bytes, int, int]]:
    """(type, key, value's start, value's end) of each element of the document at `start`."""
    length = _int32(document, start)[0] if start + 4 <= len(document) else -1
    stop = start + length - 1
    if length < LEAST_DOCUMENT or stop >= len(document) or document[stop] != 0:
        raise Malformed("a length inside the record does not fit")
    at = start + 4
    while at < stop:
        kind = document[at]
        name_end = document.find(b"\0", at + 1, stop)
        if name_end < 0:
            raise Malformed("a key without an end")
        value = name_end + 1
        end = _value_end(document, kind, value, stop)
        if not value <= end <= stop:
            raise Malformed("a value longer than its record")
        yield kind, document[at + 1 : name_end], value, end
        at = end


def _value_end(document: bytes, kind: int, value: int, stop: int) -> int:
    if kind in FIXED:
        return value + FIXED[kind]
    if kind == 0x0B:  # regular expression: two C strings
        first = document.find(b"\0", value, stop)
        return document.find(b"\0", first + 1, stop) + 1 if first >= 0 else -1
    if value + 4 > stop:
        return -1
    length = _int32(document, value)[0]
    if length < 0:
        return -1
    if kind in EMBEDDED:
        return value + length
    if kind == BINARY:
        return value + 5 + length
    if kind in LENGTH_AND_BYTES:
        return value + 4 + length
    if kind == 0x0C:  # database pointer
        return value + 4 + length + 12
    raise Malformed(f"unknown BSON type 0x{kind:02x}")


def _integer(document: bytes, kind: int, start: int, key: str) -> int:
    if kind not in INTEGERS:
        raise Malformed(f"{key} is not an integer")
    return int(INTEGERS[kind].unpack_from(document, start)[0])
