"""Where the pictures lie in a Cdiscount BSON file, without decoding or copying them (C1).

A record is `{_id: int, imgs: [{picture: binary}, ...], category_id: int}` in any key order, with
any other keys. `scan` walks the records of one byte range of the file and looks at lengths and a
few integers only; pictures are fetched later by (offset, length).

Where a record cannot be, the walk finds its feet again: at the next record if the damage lies
inside a well-framed one, else at the next byte where a whole product begins. A range other than
the first starts in the same way, so ranges can be walked side by side.
"""

import hashlib
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from lib.catalogue.found import MOST_PICTURES, NO_CATEGORY, Damage, Found

MOST_DOCUMENT = 64 << 20  # a length above this is damage (MongoDB itself stops at 16 MiB)
BATCH_RECORDS, BATCH_PICTURES = 1 << 14, 1 << 16  # rows found between two looks at the pictures

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


def scan(path: Path, first: int, stop: int, start: int | None = None, md5: bool = True) -> Found:
    """The records that begin in bytes [first, stop) of `path`.

    start: where the first of them begins, known from the range before; None: find it, passing
    over what lies before. Memory: one mapping of the range, and its rows.
    """
    size = path.stat().st_size
    stop = min(stop, size)
    begin = first if start is None else start
    if begin >= stop:  # an empty file, or a range that lies within one record
        return _Walk(b"", 0, 0).found(begin, begin, False)
    base = begin - begin % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), first, stop - first, os.POSIX_FADV_WILLNEED)
        window = min(size, stop + 2 * MOST_DOCUMENT) - base  # the last record, and a look after it
        with mmap.mmap(file.fileno(), window, offset=base, access=mmap.ACCESS_READ) as mapped:
            walk = _Walk(mapped, base, stop - base)
            try:
                return walk.run(first, stop, start, md5)
            finally:
                walk.close()  # a mapping with a view of it cannot be closed


class _Walk:
    """One pass over a mapped range; positions inside are relative to `base`."""

    def __init__(self, mapped: mmap.mmap | bytes, base: int, stop: int) -> None:
        self.view = memoryview(mapped)
        self.data = np.frombuffer(self.view, np.uint8)
        self.base, self.stop = base, stop
        self.records = np.empty((4, BATCH_RECORDS), np.int64)
        self.pictures = np.empty((2, BATCH_PICTURES), np.int64)
        self.record_rows: list[np.ndarray] = [self.records[:, :0].copy()]
        self.picture_rows: list[np.ndarray] = [self.pictures[:, :0].copy()]
        self.digests: list[bytes] = []
        self.damage: list[Damage] = []

    def close(self) -> None:
        del self.data
        self.view.release()

    def run(self, first: int, stop: int, start: int | None, md5: bool) -> Found:
        at = (first if start is None else start) - self.base
        if start is None and first > 0:
            at = _search(self.data, at, self.stop, self.pictures)
            if at < 0:
                return self.found(-1, stop, True)
        begin = at
        while at < self.stop:
            at, records, pictures, code = _walk(
                self.data, at, self.stop, self.records, self.pictures
            )
            self._keep(records, pictures, md5)
            if code not in (GOOD, FULL):
                after = self._step_over(at, code)
                if after < 0:
                    return self.found(begin + self.base, stop, True)
                at = after
        return self.found(begin + self.base, at + self.base, False)

    def _keep(self, records: int, pictures: int, md5: bool) -> None:
        found = self.pictures[:, :pictures].copy()
        if md5:
            # A copy of an empty hash costs less than a new one.
            view, empty = self.view, hashlib.md5(usedforsecurity=False).copy
            keep = self.digests.append
            for start, end in zip(found[0].tolist(), (found[0] + found[1]).tolist(), strict=True):
                one = empty()
                one.update(view[start:end])
                keep(one.digest())
        found[0] += self.base
        rows = self.records[:, :records].copy()
        rows[0] += self.base
        self.record_rows.append(rows)
        self.picture_rows.append(found)

    def _step_over(self, at: int, code: int) -> int:
        """Note the damage at `at`; where to go on, or -1 if that lies beyond the range."""
        length, left = _announced(self.data, at), len(self.data) - at
        after = at + length
        if code in (BEYOND, LENGTH) or not _framed(self.data, after):
            after = _search(self.data, at + 1, self.stop, self.pictures)
        reason = REASONS[code].format(length=length, left=left)
        end = self.stop if after < 0 else after
        self.damage.append(Damage(at + self.base, end - at, reason))
        return after

    def found(self, start: int, end: int, lost: bool) -> Found:
        records = np.concatenate(self.record_rows, axis=1)
        pictures = np.concatenate(self.picture_rows, axis=1)
        return Found(
            place=records[0],
            product_id=records[1],
            category_id=records[2],
            image_count=records[3].astype(np.int32),
            offset=pictures[0],
            length=pictures[1].astype(np.int32),
            md5=np.frombuffer(b"".join(self.digests), np.uint8).reshape(-1, 16),
            start=start,
            end=end,
            lost=lost,
            damage=self.damage,
        )


# What follows is compiled. `data` uint8 [n] is the mapped range, positions are places in it.

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
def _announced(data: np.ndarray, at: int) -> int:
    return _int32(data, at) if at + 4 <= len(data) else LEAST_PRODUCT


@njit(cache=True, nogil=True)
def _framed(data: np.ndarray, at: int) -> bool:
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
    length = _announced(data, at)
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
def _walk(
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
def _search(data: np.ndarray, at: int, stop: int, scratch: np.ndarray) -> int:
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
