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

import numpy as np

from lib.data.found import CorruptRecord, RecordBatch
from lib.data.sources.bson_kernels import (
    BEYOND,
    FULL,
    GOOD,
    LENGTH,
    MOST_DOCUMENT,
    REASONS,
    announced,
    framed,
    search,
    walk,
)

BATCH_RECORDS, BATCH_PICTURES = 1 << 14, 1 << 16  # rows found between two looks at the pictures


def scan(
    path: Path, first: int, stop: int, start: int | None = None, md5: bool = True
) -> RecordBatch:
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
            found = _Walk(mapped, base, stop - base)
            try:
                return found.run(first, stop, start, md5)
            finally:
                found.close()  # a mapping with a view of it cannot be closed


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
        self.damage: list[CorruptRecord] = []

    def close(self) -> None:
        del self.data
        self.view.release()

    def run(self, first: int, stop: int, start: int | None, md5: bool) -> RecordBatch:
        at = (first if start is None else start) - self.base
        if start is None and first > 0:
            at = search(self.data, at, self.stop, self.pictures)
            if at < 0:
                return self.found(-1, stop, True)
        begin = at
        while at < self.stop:
            at, records, pictures, code = walk(
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
        length, left = announced(self.data, at), len(self.data) - at
        after = at + length
        if code in (BEYOND, LENGTH) or not framed(self.data, after):
            after = search(self.data, at + 1, self.stop, self.pictures)
        reason = REASONS[code].format(length=length, left=left)
        end = self.stop if after < 0 else after
        self.damage.append(CorruptRecord(at + self.base, end - at, reason))
        return after

    def found(self, start: int, end: int, lost: bool) -> RecordBatch:
        records = np.concatenate(self.record_rows, axis=1)
        pictures = np.concatenate(self.picture_rows, axis=1)
        return RecordBatch(
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
