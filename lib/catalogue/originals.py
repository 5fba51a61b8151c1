"""The bytes of pictures, out of the files that they came in (C1).

One BSON file, some arrays, or a file for each picture: a picture is (file, offset, length), read
by `os.pread`, which shares no seek, so that any number of threads may read at once.
"""

import os
import threading

import numpy as np

from lib.catalogue.tables import Catalogue

MOST_OPEN = 64  # files that stay open; a folder of more is opened picture by picture
GAP = 32 << 10  # bytes: pictures nearer than this are fetched with what lies between them
STRETCH = 512 << 10  # bytes that the kernel fetches ahead at one request


class Originals:
    """Reads pictures of one catalogue. Safe for threads.

    offset and length are copied from the index, 12 bytes a picture: pages of a mapped column
    would be added to the process one by one as an epoch touches them.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.root, self.files = catalogue.path, catalogue.files
        self.offset, self.length = np.array(catalogue.offset), np.array(catalogue.length)
        self._first = None if self.files is None else np.array(self.files.first_image)
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        self._kept = self._first is None or len(self._first) <= MOST_OPEN
        if self.files is None:
            self._descriptor(0)  # a file that is gone is an error now, not a grey picture later

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def read(self, row: int) -> bytes:
        """The bytes of one picture; fewer than its length where the file ends before.

        Raises OSError where the file cannot be read.
        """
        file = self.file(row)
        length, offset = int(self.length[row]), int(self.offset[row])
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

        Where a disk answers many requests at a time this is what makes it do so. Costs a
        microsecond a stretch that is in memory already.
        """
        if self.files is not None or len(rows) == 0:
            return
        order = rows[np.argsort(self.offset[rows])]
        start, end = self.offset[order], self.offset[order] + self.length[order]
        breaks = np.flatnonzero(start[1:] > end[:-1] + GAP)
        firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(order) - 1)
        for first, last in zip(start[firsts].tolist(), end[lasts].tolist(), strict=True):
            fetch_ahead(self._descriptor(0), first, last)

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
