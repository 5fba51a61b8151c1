"""The compiled half of the BSON scan: from record to record by their lengths (C1).

`data` uint8 [n] is a mapped part of the file and positions are places in it. Types, keys and
lengths follow the BSON specification, and what `bson` does with it: of a key that stands twice the
last counts. Nothing here looks into a picture.
"""

from typing import Any

import numpy as np
from numba import njit

from lib.data.found import MOST_PICTURES, NO_CATEGORY

MOST_DOCUMENT = 64 << 20  # a length above this is damage (MongoDB itself stops at 16 MiB)

# What a record is found to be.
GOOD, FULL = 0, 1
BEYOND, LENGTH, INSIDE, KEY, VALUE, UNKNOWN, NO_ID, ID, CATEGORY, IMGS, ITEM, PICTURE, MANY = range(
    2, 15
)
REASONS = {
    BEYOND: "truncated, or a wrong length: it announces {length} bytes and {left} are left",
    LENGTH: "garbage where a record should begin, or a wrong length ({length})",
    INSIDE: "a length inside the record does not fit",
    KEY: "a key without an end",
    VALUE: "a value longer than its record",
    UNKNOWN: "a value of an unknown BSON type",
    NO_ID: "no _id",
    ID: "_id is not an integer",
    CATEGORY: "category_id is not an integer",
    IMGS: "imgs is not an array",
    ITEM: "imgs holds something that is not a document",
    PICTURE: "picture is not binary",
    MANY: f"more than {MOST_PICTURES} pictures",
}

ID_KEY = np.frombuffer(b"_id", np.uint8)
CATEGORY_KEY = np.frombuffer(b"category_id", np.uint8)
IMGS_KEY = np.frombuffer(b"imgs", np.uint8)
PICTURE_KEY = np.frombuffer(b"picture", np.uint8)
LEAST_PRODUCT = 14  # a document with an int32 `_id` and nothing else

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, INT32, INT64 = 0x01, 0x02, 0x03, 0x04, 0x05, 0x10, 0x12
OLD_BINARY = 2  # a subtype whose payload repeats its length

# Bytes of a value by type; -1 where the value says it itself, -2 for what is no type.
FIXED = np.full(256, -2, np.int64)
for _kind, _bytes in {
    DOUBLE: 8,
    0x06: 0,  # undefined
    0x07: 12,  # object id
    0x08: 1,  # boolean
    0x09: 8,  # date
    0x0A: 0,  # null
    INT32: 4,
    0x11: 8,  # timestamp
    INT64: 8,
    0x13: 16,  # decimal128
    0xFF: 0,  # least key
    0x7F: 0,  # greatest key
}.items():
    FIXED[_kind] = _bytes
# String, document, array, binary, regular expression, database pointer, code, symbol, scoped code.
FIXED[[STRING, DOCUMENT, ARRAY, BINARY, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F]] = -1


@njit(cache=True, nogil=True)
def _int32(data: np.ndarray, at: int) -> int:
    value: Any = (
        np.int64(data[at])
        | np.int64(data[at + 1]) << 8
        | np.int64(data[at + 2]) << 16
        | np.int64(data[at + 3]) << 24
    )
    return value - (1 << 32) if value >= 1 << 31 else value


@njit(cache=True, nogil=True)
def _integer(data: np.ndarray, kind: int, at: int) -> int:
    low = _int32(data, at)
    if kind == INT32:
        return low
    return (low & 0xFFFFFFFF) | (_int32(data, at + 4) << 32)


@njit(cache=True, nogil=True)
def _is(data: np.ndarray, start: int, end: int, key: np.ndarray) -> bool:
    if end - start != len(key):
        return False
    same = True
    for i in range(len(key)):
        same &= data[start + i] == key[i]
    return same


@njit(cache=True, nogil=True)
def announced(data: np.ndarray, at: int) -> int:
    return _int32(data, at) if at + 4 <= len(data) else LEAST_PRODUCT


@njit(cache=True, nogil=True)
def framed(data: np.ndarray, at: int) -> bool:
    """Does something that looks like a record begin here, or the file end?"""
    if at == len(data):
        return True
    if at + 5 > len(data):
        return False
    length = _int32(data, at)
    return 5 <= length <= len(data) - at and data[at + length - 1] == 0


@njit(cache=True, nogil=True)
def _value_end(data: np.ndarray, kind: int, value: int, stop: int) -> int:
    """Where a value ends; beyond `stop` if it does not fit, -1 for an unknown type."""
    fixed = FIXED[kind]
    if fixed >= 0:
        return value + fixed
    if fixed == -2:
        return -1
    beyond = stop + 1
    if kind == 0x0B:  # two strings that end with a zero
        for _ in range(2):
            while value < stop and data[value] != 0:
                value += 1
            value += 1
        return value
    if value + 4 > stop:
        return beyond
    length = _int32(data, value)
    if length < 0:
        return beyond
    if kind == BINARY:
        return value + 5 + length
    if kind == STRING or kind == 0x0D or kind == 0x0E:
        return value + 4 + length
    if kind == 0x0C:  # a string and an object id
        return value + 4 + length + 12
    return value + length if length >= 5 else beyond


@njit(cache=True, nogil=True)
def _element(data: np.ndarray, at: int, stop: int) -> tuple[int, int, int]:
    """(code, value's start, value's end) of the element at `at`; its key ends before its value."""
    name = at + 1
    while name < stop and data[name] != 0:
        name += 1
    if name >= stop:
        return KEY, 0, 0
    end = _value_end(data, data[at], name + 1, stop)
    if end < 0:
        return UNKNOWN, 0, 0
    return (GOOD if end <= stop else VALUE), name + 1, end


@njit(cache=True, nogil=True)
def _end_of(data: np.ndarray, at: int, limit: int) -> int:
    """The closing zero of the document at `at` that must end by `limit`; -1 if it cannot be."""
    if at + 4 > limit:
        return -1
    length = _int32(data, at)
    if length < 5 or at + length > limit or data[at + length - 1] != 0:
        return -1
    return at + length - 1


@njit(cache=True, nogil=True)
def _item(data: np.ndarray, at: int, limit: int) -> tuple[int, int, int]:
    """(code, start, length) of the picture in the document at `at`; start -1 without one."""
    stop = _end_of(data, at, limit)
    if stop < 0:
        return INSIDE, 0, 0
    start, length = -1, 0
    at += 4
    while at < stop:
        code, value, end = _element(data, at, stop)
        if code != GOOD:
            return code, 0, 0
        if _is(data, at + 1, value - 1, PICTURE_KEY):
            if data[at] != BINARY:
                return PICTURE, 0, 0
            start, length = value + 5, end - value - 5
            if data[value + 4] == OLD_BINARY:
                if length < 4 or _int32(data, start) != length - 4:
                    return INSIDE, 0, 0
                start, length = start + 4, length - 4
        at = end
    return GOOD, start, length


@njit(cache=True, nogil=True)
def _images(
    data: np.ndarray, at: int, limit: int, pictures: np.ndarray, first: int
) -> tuple[int, int]:
    """(code, pictures) of the array at `at`, written to `pictures` from `first` on."""
    stop = _end_of(data, at, limit)
    if stop < 0:
        return INSIDE, 0
    count = 0
    at += 4
    while at < stop:
        code, value, end = _element(data, at, stop)
        if code != GOOD:
            return code, 0
        if data[at] != DOCUMENT:
            return ITEM, 0
        code, start, length = _item(data, value, end)
        if code != GOOD:
            return code, 0
        if start >= 0:
            if count == MOST_PICTURES:
                return MANY, 0
            if first + count == pictures.shape[1]:
                return FULL, 0
            pictures[0, first + count] = start
            pictures[1, first + count] = length
            count += 1
        at = end
    return GOOD, count


@njit(cache=True, nogil=True)
def _record(
    data: np.ndarray, at: int, pictures: np.ndarray, first: int
) -> tuple[int, int, int, int, int]:
    """(code, where it ends, _id, category_id, pictures) of the record at `at`."""
    nothing = (0, 0, NO_CATEGORY, 0)
    length = announced(data, at)
    if length < 5 or length > MOST_DOCUMENT:
        return (LENGTH, *nothing)
    if at + length > len(data):
        return (BEYOND, *nothing)
    stop = at + length - 1
    if data[stop] != 0:
        return (LENGTH, *nothing)
    number, category, count, named = 0, NO_CATEGORY, 0, False
    at += 4
    while at < stop:
        code, value, end = _element(data, at, stop)
        if code != GOOD:
            return (code, *nothing)
        kind, name, name_end = data[at], at + 1, value - 1
        if _is(data, name, name_end, ID_KEY):
            if kind != INT32 and kind != INT64:
                return (ID, *nothing)
            number, named = _integer(data, kind, value), True
        elif _is(data, name, name_end, CATEGORY_KEY):
            if kind != INT32 and kind != INT64:
                return (CATEGORY, *nothing)
            category = _integer(data, kind, value)
        elif _is(data, name, name_end, IMGS_KEY):
            if kind != ARRAY:
                return (IMGS, *nothing)
            code, count = _images(data, value, end, pictures, first)
            if code != GOOD:
                return (code, *nothing)
        at = end
    if not named:
        return (NO_ID, *nothing)
    return GOOD, stop + 1, number, category, count


@njit(cache=True, nogil=True)
def walk(
    data: np.ndarray, at: int, stop: int, records: np.ndarray, pictures: np.ndarray
) -> tuple[int, int, int, int]:
    """Fill `records` (place, _id, category_id, pictures) and `pictures` (start, length).

    Returns (place of the next record, records, pictures, code): GOOD at the end of the range,
    FULL where the arrays are, or what is wrong with the record at the place.
    """
    found, shown = 0, 0
    while at < stop:
        if found == records.shape[1]:
            return at, found, shown, FULL
        code, after, number, category, count = _record(data, at, pictures, shown)
        if code != GOOD:
            return at, found, shown, code
        records[0, found] = at
        records[1, found] = number
        records[2, found] = category
        records[3, found] = count
        found += 1
        shown += count
        at = after
    return at, found, shown, GOOD


@njit(cache=True, nogil=True)
def search(data: np.ndarray, at: int, stop: int, scratch: np.ndarray) -> int:
    """The first place in [at, stop) where a whole product begins; -1 if there is none."""
    last = min(stop, len(data) - LEAST_PRODUCT + 1)
    while at < last:
        # Most bytes are refused here: the length's highest byte, and the first value's type.
        if data[at + 3] <= MOST_DOCUMENT >> 24 and FIXED[data[at + 4]] != -2:
            length = _int32(data, at)
            if (
                LEAST_PRODUCT <= length <= min(MOST_DOCUMENT, len(data) - at)
                and data[at + length - 1] == 0
                and _record(data, at, scratch, 0)[0] == GOOD
            ):
                return at
        at += 1
    return -1
