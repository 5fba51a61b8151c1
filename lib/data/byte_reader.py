"""Bytes of images, read from the original files by (file, offset, length).

All kinds of sources are read alike: one BSON file, some arrays, or one file per image. `os.pread`
shares no file position, so any number of threads can read at once.
"""

import os
import threading
from collections.abc import Iterator

import numpy as np

from lib.data.catalog import Catalog

MAX_OPEN_FILES = 64  # files that are kept open; with more, a file is opened for each image
GAP = 32 << 10  # bytes; images nearer than this are fetched together with what is between them
NUM_PROBES = 16  # images that are looked up in the page cache before a prefetch
READAHEAD = 512 << 10  # bytes; the kernel shortens longer requests


class ByteReader:
    """Reads the images of one catalog. Safe for threads.

    offset int64 [I] and length int32 [I] are copied from the index, 12 bytes per image: otherwise
    an epoch would add the pages of the mapped columns to the process, one by one.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.root, self.files = catalog.path, catalog.files
        self.offset, self.length = np.array(catalog.offset), np.array(catalog.length)
        self._first_image = None if self.files is None else np.array(self.files.first_image)
        self._descriptors: dict[int, int] = {}
        self._lock = threading.Lock()
        self._keep_open = self._first_image is None or len(self._first_image) <= MAX_OPEN_FILES
        # Opened now, so that a missing file is an error and not a catalog of gray images.
        self._single = self._descriptor(0) if self.files is None else None

    def close(self) -> None:
        """Close all files."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def read(self, row: int) -> bytes:
        """The bytes of one image; fewer than its length if they cannot be read."""
        return next(self.read_many(np.array([row])))

    def read_start(self, row: int, size: int) -> bytes:
        """At most the first `size` bytes of one image; none if they cannot be read."""
        try:
            length = min(size, int(self.length[row]))
            return self._read(self.file_of(row), length, int(self.offset[row]))
        except OSError:
            return b""

    def read_many(self, rows: np.ndarray) -> Iterator[bytes]:
        """Yield the bytes of each image in `rows` (int64 [n]), as `read` does."""
        offsets, lengths = self.offset[rows].tolist(), self.length[rows].tolist()
        if self._single is not None:
            pread, descriptor = os.pread, self._single
            for length, offset in zip(lengths, offsets, strict=True):
                yield pread(descriptor, length, offset)
            return
        for row, length, offset in zip(rows.tolist(), lengths, offsets, strict=True):
            try:
                yield self._read(self.file_of(row), length, offset)
            except OSError:
                yield b""

    def read_error(self, row: int) -> str | None:
        """Why the bytes of an image cannot be read; None if they can."""
        try:
            data = self._read(self.file_of(row), int(self.length[row]), int(self.offset[row]))
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return None if len(data) == self.length[row] else "beyond the end of the file"

    def file_of(self, row: int) -> int:
        """Number of the file that holds an image."""
        if self._first_image is None:
            return 0
        return int(np.searchsorted(self._first_image, row, "right")) - 1

    def location(self, row: int) -> str:
        """Where an image is, for messages."""
        if self.files is None:
            return f"at byte {self.offset[row]}"
        return f"in {self.files.path(self.root, self.file_of(row))} at byte {self.offset[row]}"

    def prefetch(self, rows: np.ndarray) -> None:
        """Ask the kernel to fetch the images in `rows` (int64 [n]), all at once.

        A disk that serves many requests in parallel needs this to do so. Does nothing for sources
        of several files, and if a sample of the images is in the page cache already.
        """
        if self._single is None or self._in_page_cache(rows):
            return
        order = rows[np.argsort(self.offset[rows])]
        start, end = self.offset[order], self.offset[order] + self.length[order]
        breaks = np.flatnonzero(start[1:] > end[:-1] + GAP)
        firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(order) - 1)
        for first, last in zip(start[firsts].tolist(), end[lasts].tolist(), strict=True):
            fetch_ahead(self._single, first, last)

    def _read(self, file: int, length: int, offset: int) -> bytes:
        if self._keep_open:
            return os.pread(self._descriptor(file), length, offset)
        descriptor = self._open(file)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def _in_page_cache(self, rows: np.ndarray) -> bool:
        """Whether a sample of the images is in the page cache."""
        assert self._single is not None
        for row in rows[:: len(rows) // NUM_PROBES + 1].tolist():
            byte = [bytearray(1)]
            try:
                os.preadv(self._single, byte, self.offset.item(row), os.RWF_NOWAIT)
            except OSError:  # not cached, or the file system cannot tell
                return False
        return True

    def _descriptor(self, file: int) -> int:
        if file not in self._descriptors:
            with self._lock:
                if file not in self._descriptors:
                    self._descriptors[file] = self._open(file)
        return self._descriptors[file]

    def _open(self, file: int) -> int:
        path = self.root if self.files is None else self.files.path(self.root, file)
        return os.open(path, os.O_RDONLY)


def fetch_ahead(descriptor: int, start: int, stop: int) -> None:
    """Have the kernel read bytes [start, stop) into the page cache, in the background."""
    for at in range(start, stop, READAHEAD):
        os.posix_fadvise(descriptor, at, min(READAHEAD, stop - at), os.POSIX_FADV_WILLNEED)
