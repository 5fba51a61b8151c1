"""Compiled reader of tar headers (numba): from member to member by their sizes.

`data` (uint8 [n]) is a mapped tar; positions are indices into it. Headers follow POSIX (ustar, pax)
and GNU tar, and the standard library's `tarfile` where these leave a choice. The content of members
is never read, but for long names.
"""

from typing import Any

import numpy as np

from lib.utils.compiled import njit

BLOCK = 512  # bytes of a header, and the unit of sizes

# Rows of the table of members. A name is (prefix /) name; a span is a start and a length.
START, CONTENT, SIZE, NAME, NAME_LENGTH, PREFIX, PREFIX_LENGTH, KIND = range(8)
NUM_ROWS = 8
FILE, SPARSE, LINK = 0, 1, 2  # kinds of members

# Why reading stopped.
FULL, END, CUT, HEADER, CONTENT_CUT, PAX = range(6)
REASONS = {
    CUT: "the file ends inside a header",
    HEADER: "a damaged header",
    CONTENT_CUT: "the file ends inside a member",
    PAX: "a damaged pax header",
}

CHECKSUM, CHECKSUM_LENGTH, TYPE, MAGIC = 148, 8, 156, 257
SIZE_FIELD, SIZE_LENGTH, PREFIX_FIELD, PREFIX_FIELD_LENGTH = 124, 12, 345, 155
NAME_FIELD_LENGTH = 100
GNU_EXTENDED, GNU_SPARSE_EXTENDED = 482, 504  # whether blocks with more holes follow
USTAR = np.frombuffer(b"ustar\0", np.uint8)
PATH_KEY = np.frombuffer(b"path", np.uint8)
SIZE_KEY = np.frombuffer(b"size", np.uint8)
SPARSE_KEY = np.frombuffer(b"GNU.sparse.", np.uint8)
MAX_SIZE = 1 << 60


@njit(cache=True, nogil=True)
def _number(data: np.ndarray, at: int, length: int) -> int:
    """A number of a header, octal or base 256; -1 if it is none."""
    value: Any = 0
    if data[at] == 0x80:  # base 256
        for i in range(at + 1, at + length):
            if value >= MAX_SIZE >> 8:
                return -1
            value = value << 8 | np.int64(data[i])
        return value
    i, end = at, at + length
    while i < end and data[i] == 32:
        i += 1
    while i < end and 48 <= data[i] < 56:
        value = value << 3 | np.int64(data[i] - 48)
        i += 1
    while i < end and data[i] == 32:
        i += 1
    return value if i == end or data[i] == 0 else -1


@njit(cache=True, nogil=True)
def _length_of_text(data: np.ndarray, at: int, length: int) -> int:
    """Bytes of a text before its zero."""
    count = 0
    while count < length and data[at + count] != 0:
        count += 1
    return count


@njit(cache=True, nogil=True)
def _starts_with(data: np.ndarray, at: int, end: int, text: np.ndarray) -> bool:
    if end - at < len(text):
        return False
    same = True
    for i in range(len(text)):
        same &= data[at + i] == text[i]
    return same


@njit(cache=True, nogil=True)
def is_header(data: np.ndarray, at: int) -> bool:
    """Whether the 512 bytes at `at` have the checksum that they state, and a size."""
    if at < 0 or at + BLOCK > len(data):
        return False
    unsigned: Any = 0
    high: Any = 0
    for i in range(at, at + BLOCK):
        unsigned += np.int64(data[i])
        high += np.int64(data[i] >> 7)
    for i in range(at + CHECKSUM, at + CHECKSUM + CHECKSUM_LENGTH):  # counts as blanks
        unsigned += 32 - np.int64(data[i])
        high -= np.int64(data[i] >> 7)
    stated = _number(data, at + CHECKSUM, CHECKSUM_LENGTH)
    # Old writers summed signed bytes.
    return (stated == unsigned or stated == unsigned - 256 * high) and _number(
        data, at + SIZE_FIELD, SIZE_LENGTH
    ) >= 0


@njit(cache=True, nogil=True)
def _is_zero(data: np.ndarray, at: int) -> bool:
    bits: Any = 0
    for i in range(at, at + BLOCK):
        bits |= data[i]
    return bits == 0


@njit(cache=True, nogil=True)
def _read_pax(data: np.ndarray, at: int, end: int, found: np.ndarray) -> bool:
    """Read the records "length key=value\\n" of a pax header.

    found: int64 [4], gets start and length of the value of `path`, the value of `size`, and 1 for a
    sparse member. Returns whether all records are whole.
    """
    while at < end and data[at] != 0:
        length: Any = 0
        i = at
        while i < end and 48 <= data[i] < 58 and length < MAX_SIZE // 16:
            length = length * 10 + np.int64(data[i] - 48)
            i += 1
        if i == at or i >= end or data[i] != 32 or length > end - at or at + length < i + 4:
            return False
        key, last = i + 1, at + length - 1  # of the record: its newline
        equals = key
        while equals < last and data[equals] != 61:
            equals += 1
        if equals == last:
            return False
        if equals - key == len(PATH_KEY) and _starts_with(data, key, equals, PATH_KEY):
            found[0], found[1] = equals + 1, last - equals - 1
        elif equals - key == len(SIZE_KEY) and _starts_with(data, key, equals, SIZE_KEY):
            size: Any = 0
            for j in range(equals + 1, last):
                if not 48 <= data[j] < 58 or size >= MAX_SIZE // 16:
                    return False
                size = size * 10 + np.int64(data[j] - 48)
            found[2] = size
        elif _starts_with(data, key, equals, SPARSE_KEY):
            found[3] = 1
        at += length
    return True


@njit(cache=True, nogil=True)
def scan_members(data: np.ndarray, at: int, members: np.ndarray) -> tuple[int, int, int, int]:
    """Fill the columns of `members` (int64 [NUM_ROWS, M]) with the members from `at` on.

    Folders and devices are left out. Returns where the next member begins, the number of members,
    why reading stopped there (FULL, END: a block of zeros or the end of the file, or damage), and
    the last header that was looked at, which is another one if a member has several.
    """
    count, start = 0, at
    found = np.zeros(4, np.int64)
    found[2] = -1
    long_name, long_length = 0, 0
    while True:
        if count == members.shape[1]:
            return start, count, FULL, at
        if at == len(data):
            return start, count, (END if at == start else CUT), at
        if at + BLOCK > len(data):
            return start, count, CUT, at
        if not is_header(data, at):
            if _is_zero(data, at) and at == start:
                return start, count, END, at
            return start, count, HEADER, at
        kind, size = data[at + TYPE], _number(data, at + SIZE_FIELD, SIZE_LENGTH)
        content = at + BLOCK
        if kind == 83:  # S: more blocks with its holes follow the header
            extended = data[at + GNU_EXTENDED] == 1
            while extended and content + BLOCK <= len(data):
                extended = data[content + GNU_SPARSE_EXTENDED] == 1
                content += BLOCK
        if kind == 76 or kind == 75 or kind == 120 or kind == 103 or kind == 88:  # L K x g X
            if size > len(data) - content:
                return start, count, CONTENT_CUT, at
            if kind == 76:
                long_name = content
                long_length = _length_of_text(data, content, size)
            if (kind == 120 or kind == 88) and not _read_pax(data, content, content + size, found):
                return start, count, PAX, at
            at = content + (size + BLOCK - 1) // BLOCK * BLOCK
            if at > len(data):
                return start, count, CUT, at
            continue
        is_link = kind == 49 or kind == 50
        is_other = 51 <= kind <= 54  # devices, folders, pipes
        if is_link or is_other:
            size = 0
        elif found[2] >= 0:
            size = found[2]
        if size > len(data) - content:
            return start, count, CONTENT_CUT, at
        name, name_length = at, _length_of_text(data, at, NAME_FIELD_LENGTH)
        prefix, prefix_length = at + PREFIX_FIELD, 0
        if _starts_with(data, at + MAGIC, at + BLOCK, USTAR):
            prefix_length = _length_of_text(data, prefix, PREFIX_FIELD_LENGTH)
        if long_length:
            name, name_length, prefix_length = long_name, long_length, 0
        if found[1]:
            name, name_length, prefix_length = found[0], found[1], 0
        # Folders of old archives are files whose names end in a slash.
        is_folder = name_length > 0 and data[name + name_length - 1] == 47
        is_known = kind == 0 or kind == 48 or kind == 55 or kind == 83 or is_link
        if is_known and not is_folder:
            members[START, count] = start
            members[CONTENT, count] = content
            members[SIZE, count] = size
            members[NAME, count], members[NAME_LENGTH, count] = name, name_length
            members[PREFIX, count], members[PREFIX_LENGTH, count] = prefix, prefix_length
            members[KIND, count] = LINK if is_link else SPARSE if kind == 83 or found[3] else FILE
            count += 1
        # The padding of the last member may be cut off.
        at = min(content + (size + BLOCK - 1) // BLOCK * BLOCK, len(data))
        start = at
        found[:] = 0
        found[2] = -1
        long_length = 0
