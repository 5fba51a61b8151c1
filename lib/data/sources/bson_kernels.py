"""Compiled parser of BSON records (numba): from record to record by their lengths.

`data` (uint8 [n]) is a mapped part of the file; positions are indices into it. Types, keys and
lengths follow the BSON specification (bsonspec.org), and the package `bson` where that leaves a
choice: if a key occurs twice, the last one counts. The content of images is never read.
"""

from typing import Any

import numpy as np

from lib.data.records import MAX_IMAGES, NO_CATEGORY
from lib.utils.compiled import njit

MAX_DOCUMENT = 64 << 20  # a larger length is corrupt (MongoDB itself stops at 16 MiB)

# Result of parsing a record: it is good, the arrays are full, or what is wrong with it.
GOOD, FULL = 0, 1
BEYOND, LENGTH, INSIDE, KEY, VALUE, UNKNOWN, NO_ID = 2, 3, 4, 5, 6, 7, 8
ID, CATEGORY, IMGS, ITEM, PICTURE, TOO_MANY = 9, 10, 11, 12, 13, 14
REASONS = {
    BEYOND: "truncated, or a wrong length: {length} bytes expected, {left} left",
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
    TOO_MANY: f"more than {MAX_IMAGES} images",
}

ID_KEY = np.frombuffer(b"_id", np.uint8)
CATEGORY_KEY = np.frombuffer(b"category_id", np.uint8)
IMGS_KEY = np.frombuffer(b"imgs", np.uint8)
PICTURE_KEY = np.frombuffer(b"picture", np.uint8)
SEARCH_BYTES = 64  # of keys that the search for a record may read for each byte of the data
MIN_SEARCH = 1 << 24  # the same of little data
MIN_PRODUCT = 14  # bytes of a document with an int32 `_id` and nothing else

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, INT32, INT64 = 0x01, 0x02, 0x03, 0x04, 0x05, 0x10, 0x12
BINARY_OLD = 2  # a subtype whose payload repeats its length

# Bytes of a value by type; -1: the value begins with its length; -2: not a type.
VALUE_BYTES = np.full(256, -2, np.int64)
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
    0xFF: 0,  # min key
    0x7F: 0,  # max key
}.items():
    VALUE_BYTES[_kind] = _bytes
# String, document, array, binary, regular expression, database pointer, code, symbol, scoped code.
VALUE_BYTES[[STRING, DOCUMENT, ARRAY, BINARY, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F]] = -1


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
def _key_equals(data: np.ndarray, start: int, end: int, key: np.ndarray) -> bool:
    if end - start != len(key):
        return False
    same = True
    for i in range(len(key)):
        same &= data[start + i] == key[i]
    return same


@njit(cache=True, nogil=True)
def record_length(data: np.ndarray, at: int) -> int:
    """The length that the record at `at` states; MIN_PRODUCT if the data ends before it."""
    return _int32(data, at) if at + 4 <= len(data) else MIN_PRODUCT


@njit(cache=True, nogil=True)
def looks_like_record(data: np.ndarray, at: int) -> bool:
    """Whether a plausible length and a closing zero follow at `at`, or the data ends there."""
    if at == len(data):
        return True
    if at + 5 > len(data):
        return False
    length = _int32(data, at)
    return 5 <= length <= len(data) - at and data[at + length - 1] == 0


@njit(cache=True, nogil=True)
def _value_end(data: np.ndarray, kind: int, value: int, stop: int) -> int:
    """End of a value; beyond `stop` if it does not fit, -1 for an unknown type."""
    fixed = VALUE_BYTES[kind]
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
def _element(data: np.ndarray, at: int, stop: int, left: np.ndarray) -> tuple[int, int, int]:
    """(code, start, end) of the value of the element at `at`; its key ends just before it.

    left: int64 [1], from which the bytes of the key are taken.
    """
    name = at + 1
    while name < stop and data[name] != 0:
        name += 1
    left[0] -= name - at
    if name >= stop:
        return KEY, 0, 0
    end = _value_end(data, data[at], name + 1, stop)
    if end < 0:
        return UNKNOWN, 0, 0
    if data[at] == 0x0B:
        left[0] -= end - name
    return (GOOD if end <= stop else VALUE), name + 1, end


@njit(cache=True, nogil=True)
def _document_end(data: np.ndarray, at: int, limit: int) -> int:
    """Position of the closing zero of the document at `at`; -1 if it is wrong or beyond `limit`."""
    if at + 4 > limit:
        return -1
    length = _int32(data, at)
    if length < 5 or at + length > limit or data[at + length - 1] != 0:
        return -1
    return at + length - 1


@njit(cache=True, nogil=True)
def _image(data: np.ndarray, at: int, limit: int, left: np.ndarray) -> tuple[int, int, int]:
    """(code, start, length) of the image in the document at `at`; start -1 if it has none."""
    stop = _document_end(data, at, limit)
    if stop < 0:
        return INSIDE, 0, 0
    start, length = -1, 0
    at += 4
    while at < stop:
        code, value, end = _element(data, at, stop, left)
        if code != GOOD:
            return code, 0, 0
        if _key_equals(data, at + 1, value - 1, PICTURE_KEY):
            if data[at] != BINARY:
                return PICTURE, 0, 0
            start, length = value + 5, end - value - 5
            if data[value + 4] == BINARY_OLD:
                if length < 4 or _int32(data, start) != length - 4:
                    return INSIDE, 0, 0
                start, length = start + 4, length - 4
        at = end
    return GOOD, start, length


@njit(cache=True, nogil=True)
def _image_array(
    data: np.ndarray, at: int, limit: int, images: np.ndarray, first: int, left: np.ndarray
) -> tuple[int, int]:
    """(code, number of images) of the array at `at`; fills `images` from column `first`."""
    stop = _document_end(data, at, limit)
    if stop < 0:
        return INSIDE, 0
    count = 0
    at += 4
    while at < stop:
        code, value, end = _element(data, at, stop, left)
        if code != GOOD:
            return code, 0
        if data[at] != DOCUMENT:
            return ITEM, 0
        code, start, length = _image(data, value, end, left)
        if code != GOOD:
            return code, 0
        if start >= 0:
            if count == MAX_IMAGES:
                return TOO_MANY, 0
            if first + count == images.shape[1]:
                return FULL, 0
            images[0, first + count] = start
            images[1, first + count] = length
            count += 1
        at = end
    return GOOD, count


@njit(cache=True, nogil=True)
def _record(
    data: np.ndarray, at: int, images: np.ndarray, first: int, left: np.ndarray
) -> tuple[int, int, int, int, int]:
    """(code, end, _id, category_id, number of images) of the record at `at`."""
    no_values = (0, 0, NO_CATEGORY, 0)
    length = record_length(data, at)
    if length < 5 or length > MAX_DOCUMENT:
        return (LENGTH, *no_values)
    if at + length > len(data):
        return (BEYOND, *no_values)
    stop = at + length - 1
    if data[stop] != 0:
        return (LENGTH, *no_values)
    number, category, count, has_id = 0, NO_CATEGORY, 0, False
    at += 4
    while at < stop:
        code, value, end = _element(data, at, stop, left)
        if code != GOOD:
            return (code, *no_values)
        kind, name, name_end = data[at], at + 1, value - 1
        if _key_equals(data, name, name_end, ID_KEY):
            if kind != INT32 and kind != INT64:
                return (ID, *no_values)
            number, has_id = _integer(data, kind, value), True
        elif _key_equals(data, name, name_end, CATEGORY_KEY):
            if kind != INT32 and kind != INT64:
                return (CATEGORY, *no_values)
            category = _integer(data, kind, value)
        elif _key_equals(data, name, name_end, IMGS_KEY):
            if kind != ARRAY:
                return (IMGS, *no_values)
            code, count = _image_array(data, value, end, images, first, left)
            if code != GOOD:
                return (code, *no_values)
        at = end
    if not has_id:
        return (NO_ID, *no_values)
    return GOOD, stop + 1, number, category, count


@njit(cache=True, nogil=True)
def parse_range(
    data: np.ndarray, at: int, stop: int, records: np.ndarray, images: np.ndarray
) -> tuple[int, int, int, int]:
    """Parse the records that begin in [at, stop).

    records: int64 [4, R], filled with position, _id, category_id and number of images.
    images: int64 [2, I], filled with start and length.
    Returns (position of the next record, records written, images written, code). code: GOOD at the
    end of the range, FULL if an array is full, else what is wrong with the record at the position.
    """
    num_records, num_images, left = 0, 0, np.zeros(1, np.int64)
    while at < stop:
        if num_records == records.shape[1]:
            return at, num_records, num_images, FULL
        code, end, number, category, count = _record(data, at, images, num_images, left)
        if code != GOOD:
            return at, num_records, num_images, code
        records[0, num_records] = at
        records[1, num_records] = number
        records[2, num_records] = category
        records[3, num_records] = count
        num_records += 1
        num_images += count
        at = end
    return at, num_records, num_images, GOOD


@njit(cache=True, nogil=True)
def resync(data: np.ndarray, at: int, stop: int, scratch: np.ndarray, left: np.ndarray) -> int:
    """First position in [at, stop) where a complete product begins; -1 if there is none.

    scratch: int64 [2, I], overwritten with images.
    left: int64 [1], bytes of keys that may still be read, of which the rest is left. Bytes can be
    laid out so that a long record seems to begin at every position; their search ends with -1.
    """
    last = min(stop, len(data) - MIN_PRODUCT + 1)
    while at < last and left[0] > 0:
        # The highest byte of the length and the type of the first value rule out most positions.
        if data[at + 3] <= MAX_DOCUMENT >> 24 and VALUE_BYTES[data[at + 4]] != -2:
            length = _int32(data, at)
            if (
                MIN_PRODUCT <= length <= min(MAX_DOCUMENT, len(data) - at)
                and data[at + length - 1] == 0
                and _record(data, at, scratch, 0, left)[0] == GOOD
            ):
                return at
        at += 1
    return -1
