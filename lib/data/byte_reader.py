"""The bytes of pictures, out of the files that they came in (C1).

One BSON file, some arrays, or a file for each picture: a picture is (file, offset, length), read
by `os.pread`, which shares no seek, so that any number of threads may read at once.
"""

import os
import threading
from collections.abc import Iterator

import numpy as np

from lib.data.catalog import Catalog

MOST_OPEN = 64  # files that stay open; a folder of more is opened picture by picture
GAP = 32 << 10  # bytes: pictures nearer than this are fetched with what lies between them
PROBES = 16  # pictures that are looked for in memory before the kernel is asked to fetch
STRETCH = 512 << 10  # bytes that the kernel fetches ahead at one request


class ByteReader:
    """Reads pictures of one catalogue. Safe for threads.

    offset and length are copied from the index, 12 bytes a picture: pages of a mapped column
    would be added to the process one by one as an epoch touches them.
    """

    def __init__(self, catalogue: Catalog) -> None:
        self.root, self.files = catalogue.path, catalogue.files
        self.offset, self.length = np.array(catalogue.offset), np.array(catalogue.length)
        self._first = None if self.files is None else np.array(self.files.first_image)
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        self._kept = self._first is None or len(self._first) <= MOST_OPEN
        # A single file that is gone is an error now, not a grey picture later.
        self._only = self._descriptor(0) if self.files is None else None

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def read(self, row: int) -> bytes:
        """The bytes of one picture; fewer than its length where they cannot be had."""
        return next(self.read_all(np.array([row])))

    def read_all(self, rows: np.ndarray) -> Iterator[bytes]:
        """The bytes of each of these pictures in turn, as `read` gives them."""
        offsets, lengths = self.offset[rows].tolist(), self.length[rows].tolist()
        if self._only is not None:
            pread, only = os.pread, self._only
            for length, offset in zip(lengths, offsets, strict=True):
                yield pread(only, length, offset)
            return
        for row, length, offset in zip(rows.tolist(), lengths, offsets, strict=True):
            try:
                yield self._read(self.file(row), length, offset)
            except OSError:
                yield b""

    def fault(self, row: int) -> str | None:
        """Why the bytes of a picture cannot be had; None if they can."""
        try:
            found = self._read(self.file(row), int(self.length[row]), int(self.offset[row]))
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return None if len(found) == self.length[row] else "beyond the file's end"

    def _read(self, file: int, length: int, offset: int) -> bytes:
        if self._kept:
            return os.pread(self._descriptor(file), length, offset)
        descriptor = self._opened(file)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def file(self, row: int) -> int:
        """Which file the picture lies in."""
        if self._first is None:
            return 0
        return int(np.searchsorted(self._first, row, "right")) - 1

    def describe(self, row: int) -> str:
        """Where a picture lies, for messages."""
        if self.files is None:
            return f"at byte {self.offset[row]}"
        return f"in {self.files.path(self.root, self.file(row))} at byte {self.offset[row]}"

    def advise(self, rows: np.ndarray) -> None:
        """Ask the kernel to fetch these pictures, all at once, before they are read.

        Where a disk answers many requests at a time this is what makes it do so. Nothing is
        asked where a few of them are all in memory already.
        """
        if self._only is None or self._in_memory(rows):
            return
        order = rows[np.argsort(self.offset[rows])]
        start, end = self.offset[order], self.offset[order] + self.length[order]
        breaks = np.flatnonzero(start[1:] > end[:-1] + GAP)
        firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(order) - 1)
        for first, last in zip(start[firsts].tolist(), end[lasts].tolist(), strict=True):
            fetch_ahead(self._only, first, last)

    def _in_memory(self, rows: np.ndarray) -> bool:
        """Are all of a few of these pictures in the page cache?"""
        assert self._only is not None
        for row in rows[:: len(rows) // PROBES + 1].tolist():
            byte = [bytearray(1)]
            try:
                os.preadv(self._only, byte, self.offset.item(row), os.RWF_NOWAIT)
            except OSError:  # not there, or a file system that does not say
                return False
        return True

    def _descriptor(self, file: int) -> int:
        if file not in self._open:
            with self._lock:
                if file not in self._open:
                    self._open[file] = self._opened(file)
        return self._open[file]

    def _opened(self, file: int) -> int:
        path = self.root if self.files is None else self.files.path(self.root, file)
        return os.open(path, os.O_RDONLY)


def fetch_ahead(descriptor: int, start: int, stop: int) -> None:
    """Have bytes [start, stop) read into the page cache, in the background.

    In stretches, since the kernel cuts a longer request short.
    """
    for at in range(start, stop, STRETCH):
        os.posix_fadvise(descriptor, at, min(STRETCH, stop - at), os.POSIX_FADV_WILLNEED)
