"""The members of a tar: name, place and size of each, without reading their content.

`tarfile` builds an object for each member and takes minutes for a million of them. After a damaged
header the scan goes on at the next whole one.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.data.records import CorruptRecord
from lib.data.sources.file_kind import TAR, check_kind
from lib.data.sources.webdataset.tar_kernels import (
    BLOCK,
    CONTENT,
    CONTENT_CUT,
    CUT,
    END,
    FILE,
    FULL,
    HEADER,
    KIND,
    LINK,
    MAGIC,
    NAME,
    NAME_LENGTH,
    NUM_ROWS,
    PREFIX,
    PREFIX_LENGTH,
    REASONS,
    SIZE,
    START,
    is_header,
    scan_members,
)
from lib.errors import UserError

MAX_MEMBERS = 1 << 15  # that one call of the scan returns
MAX_FILE_BYTES = np.iinfo(np.int32).max  # of a member that can be read
GZIP_MAGIC = b"\x1f\x8b"
PACKED_SUFFIXES = (".tar.gz", ".tgz")


@dataclass
class Members:
    """Some members of a tar, in its order, without folders.

    names: of each; start, offset, length: int64 [n], byte of its header and of its content, and
    bytes of its content.
    """

    names: list[str]
    start: np.ndarray
    offset: np.ndarray
    length: np.ndarray


@dataclass
class TarScan:
    """What is wrong with a tar, or may be other than meant; filled by `iter_members`.

    joined: number of further archives behind the first; links: members that are links.
    has_end: whether the blocks of zeros are there that end a tar.
    """

    corrupt: list[CorruptRecord] = field(default_factory=list)
    joined: int = 0
    links: int = 0
    has_end: bool = False


@contextmanager
def map_tar(path: Path) -> Iterator[mmap.mmap | bytes]:
    """The bytes of a tar, memory-mapped. Raises UserError for a compressed or an empty file."""
    with path.open("rb") as file:
        head = file.read(2)
        if head == GZIP_MAGIC or path.name.lower().endswith(PACKED_SUFFIXES):
            raise UserError(
                f"{path}: a gzipped tar; images are read in place, by offsets that it does not"
                f" have: run `gunzip {path.name}` and name the .tar"
            )
        if not head:
            raise UserError(f"{path}: the file is empty; fetch it again")
        check_kind(path, TAR, TAR)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield mapped
        finally:
            mapped.close()


def iter_members(mapped: mmap.mmap | bytes, scan: TarScan) -> Iterator[Members]:
    """Yield the members of a tar by blocks; `scan` gets what cannot be used."""
    view = memoryview(mapped)
    data = np.frombuffer(view, np.uint8)
    rows = np.empty((NUM_ROWS, MAX_MEMBERS), np.int64)
    try:
        at, code = 0, FULL
        while code == FULL or at < len(data):
            at, count, code, last = scan_members(data, at, rows)
            if count:
                yield _members(mapped, rows[:, :count].copy(), scan)
            forget_pages(mapped)
            if code == END:
                at = _after_end(mapped, data, at, scan)
            elif code != FULL:
                at = _skip_corrupt(mapped, data, at, last, code, scan)
    finally:  # the mapping closes with the last view of it
        del data
        view.release()


def forget_pages(mapped: mmap.mmap | bytes) -> None:
    """Give the pages of a mapped file back; the page cache of the kernel keeps them."""
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


def _members(mapped: mmap.mmap | bytes, rows: np.ndarray, scan: TarScan) -> Members:
    """The files of the columns of `rows`; links, sparse files and odd names are reported."""
    kept, names = [], []
    table = rows.T.tolist()
    for number, row in enumerate(table):
        if row[KIND] == LINK:
            scan.links += 1
            continue
        raw = mapped[row[NAME] : row[NAME] + row[NAME_LENGTH]]
        if row[PREFIX_LENGTH]:
            raw = mapped[row[PREFIX] : row[PREFIX] + row[PREFIX_LENGTH]] + b"/" + raw
        reason = _refusal(raw, row)
        if reason:
            scan.corrupt.append(CorruptRecord(row[START], 0, reason))
            continue
        kept.append(number)
        names.append(raw.decode())
    return Members(names, rows[START, kept], rows[CONTENT, kept], rows[SIZE, kept])


def _refusal(name: bytes, row: list[int]) -> str:
    """Why a member cannot be used; "" if it can."""
    if row[KIND] != FILE:
        return "a sparse member: its content lies in several places; write the tar without -S"
    if row[SIZE] > MAX_FILE_BYTES:
        return f"a member of {row[SIZE]:,} bytes: an image or a label is smaller"
    try:
        name.decode()
    except UnicodeDecodeError:
        return "a name that is not UTF-8"
    return "a name with a zero byte" if b"\0" in name else ""


def _after_end(mapped: mmap.mmap | bytes, data: np.ndarray, at: int, scan: TarScan) -> int:
    """Where to go on after a block of zeros: at a further archive behind it, or at the end."""
    scan.has_end |= at < len(data)
    after = _next_header(mapped, data, at)
    scan.joined += after < len(data)
    return after


def _skip_corrupt(
    mapped: mmap.mmap | bytes, data: np.ndarray, at: int, last: int, code: int, scan: TarScan
) -> int:
    """Report damage of the member at `at`, whose last header is at `last`; returns the position of
    the next one, or the end."""
    missing = BLOCK - 1 if code == HEADER else 0  # bytes that may lack before it
    after = _next_header(mapped, data, max(0, last + 1 - missing))
    reason = REASONS[code]
    if code == HEADER and not at and after == len(data):
        reason = "no header: not a tar"
    scan.corrupt.append(CorruptRecord(min(at, after), abs(after - at), reason))
    scan.has_end |= code in (CUT, CONTENT_CUT)  # said already
    return after


def _next_header(mapped: mmap.mmap | bytes, data: np.ndarray, at: int) -> int:
    """The next whole header from `at` on, at any byte, because bytes may be missing; or the end."""
    found = mapped.find(b"ustar", at + MAGIC)
    while found >= 0:
        if is_header(data, found - MAGIC):
            return found - MAGIC
        found = mapped.find(b"ustar", found + 1)
    return len(data)
