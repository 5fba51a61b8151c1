"""Index of one Cdiscount BSON file: scanned range by range, in processes, without decoding images.

A record is `{_id: int, imgs: [{picture: binary}, ...], category_id: int}`, with its keys in any
order and any other keys. The scan reads lengths and a few integers only; images are read later by
(offset, length).

The ranges depend on the file's size alone, so the result depends neither on the number of
processes nor on interruptions. A range that begins inside a record searches for its first product.
`_join_ranges` then checks that each range begins where the previous one ended, and scans a range
again where it does not (if an image contains a product, say).

After corrupt bytes the scan goes on at the next record if the corrupt one has a plausible length,
else at the next byte where a complete product begins.
"""

import hashlib
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.data.catalog import Categories
from lib.data.index import SourceInfo, write_index
from lib.data.records import (
    CorruptRecord,
    RecordBatch,
    is_complete,
    load_batch,
    load_header,
    save_batch,
)
from lib.data.sources.bson_kernels import (
    BEYOND,
    FULL,
    GOOD,
    LENGTH,
    MAX_DOCUMENT,
    MIN_SEARCH,
    REASONS,
    SEARCH_BYTES,
    looks_like_record,
    parse_range,
    record_length,
    resync,
)
from lib.errors import UserError
from lib.runtime import workers

RANGE_BYTES = 64 << 20  # the unit of work and of resuming
MIN_RANGES = 4  # per process, to be worth its start
BATCH_RECORDS, BATCH_IMAGES = 1 << 14, 1 << 16  # rows that one call of the parser may fill


def index_bson(
    folder: Path,
    source: Path,
    categories: Categories,
    labelled: bool,
    max_bad_fraction: float,
    processes: int = 1,
    max_missing_fraction: float = 1.0,
) -> dict[str, Any]:
    """Write the tables of one BSON file; returns counts, as `write_index` does.

    Ranges that an earlier, interrupted call has finished are not scanned again. Raises UserError
    for an empty file, and as `write_index` does.
    """
    size = source.stat().st_size
    if size == 0:
        raise UserError(f"{source}: the file is empty; download it again")
    ranges = folder / "ranges"
    files, corrupt = scan_file(source, ranges, processes)
    batches = [lambda file=file: load_batch(file) for file in files]
    info = SourceInfo(source, "byte", size)
    facts = write_index(
        folder,
        info,
        batches,
        corrupt,
        categories,
        labelled,
        max_bad_fraction,
        max_missing_fraction,
    )
    for file in files:
        file.unlink()
    ranges.rmdir()
    return facts


def scan_file(
    path: Path, folder: Path, processes: int, md5: bool = True, range_bytes: int = RANGE_BYTES
) -> tuple[list[Path], list[CorruptRecord]]:
    """Scan `path` in ranges; finished ranges are kept in `folder`.

    processes: 1 scans in this process. md5: whether to hash the images.
    Returns one file per range, in order, for `load_batch`, and the corrupt parts of the whole file.
    """
    size = path.stat().st_size
    folder.mkdir(exist_ok=True)
    bounds = [(first, min(first + range_bytes, size)) for first in range(0, size, range_bytes)]
    files = [folder / f"{number:06d}.npy" for number in range(len(bounds))]
    missing = [number for number, file in enumerate(files) if not is_complete(file)]
    done = size - sum(bounds[number][1] - bounds[number][0] for number in missing)
    tasks = [(number, (path, *bounds[number], None, md5, files[number])) for number in missing]
    finished = _run_tasks(tasks, min(processes, len(missing) // MIN_RANGES))
    with tqdm(
        total=size, initial=done, unit="B", unit_scale=True, desc=path.name, disable=None
    ) as bar:
        for number in finished:
            bar.update(bounds[number][1] - bounds[number][0])
    return files, _join_ranges(path, files, bounds, md5)


def _run_tasks(tasks: list[tuple[int, tuple]], processes: int) -> Iterator[int]:
    """Yield the number of each task when it is finished."""
    if processes <= 1:
        for number, task in tasks:
            _scan_to_file(*task)
            yield number
        return
    with workers.process_pool(
        processes, spawn=False
    ) as pool:  # forks: hashes and compiled code, no locks
        futures = {pool.submit(_scan_to_file, *task): number for number, task in tasks}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _scan_to_file(
    path: Path, first: int, stop: int, start: int | None, md5: bool, file: Path
) -> None:
    save_batch(scan_range(path, first, stop, start, md5), file)


def _join_ranges(
    path: Path, files: list[Path], bounds: list[tuple[int, int]], md5: bool
) -> list[CorruptRecord]:
    """Make each range begin where the previous one ended; returns all corrupt parts in order."""
    joined: list[CorruptRecord] = []
    expected, in_corrupt = 0, False
    for file, (first, stop) in zip(files, bounds, strict=True):
        (start, end, ends_corrupt), corrupt = load_header(file)
        if not in_corrupt and start != expected:
            _scan_to_file(path, first, stop, expected, md5, file)
            (start, end, ends_corrupt), corrupt = load_header(file)
        if in_corrupt:  # the corrupt part of the previous range ends at this range's first record
            last = joined[-1]
            end_of_last = stop if start < 0 else start
            joined[-1] = CorruptRecord(last.offset, end_of_last - last.offset, last.reason)
        joined += corrupt
        expected, in_corrupt = end, bool(ends_corrupt)
    return joined


def scan_range(
    path: Path, first: int, stop: int, start: int | None = None, md5: bool = True
) -> RecordBatch:
    """The records that begin in bytes [first, stop) of `path`.

    start: offset of the first record, if the previous range is known; None: search for it.
    Memory: one mapping of the range, and its rows.
    """
    size = path.stat().st_size
    stop = min(stop, size)
    begin = first if start is None else start
    if begin >= stop:  # an empty file, or a range that lies within one record
        return RangeScanner(b"", 0, 0).batch(begin, begin, False)
    base = begin - begin % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), first, stop - first, os.POSIX_FADV_WILLNEED)
        # The last record may end beyond the range, and the one after it is looked at.
        window = min(size, stop + 2 * MAX_DOCUMENT) - base
        mapped = mmap.mmap(file.fileno(), window, offset=base, access=mmap.ACCESS_READ)
        scanner = RangeScanner(mapped, base, stop - base)
        batch = scanner.scan(first, stop, start, md5)
        # After an error its traceback holds views of the mapping, which closes with the last one.
        scanner.close()
        mapped.close()
        return batch


class RangeScanner:
    """One pass over a mapped range; positions in `data` are relative to the file offset `base`."""

    def __init__(self, mapped: mmap.mmap | bytes, base: int, stop: int) -> None:
        self.view = memoryview(mapped)
        self.data = np.frombuffer(self.view, np.uint8)
        self.base, self.stop = base, stop
        self.search_left = np.array([max(MIN_SEARCH, SEARCH_BYTES * len(self.data))])
        self.records = np.empty((4, BATCH_RECORDS), np.int64)
        self.images = np.empty((2, BATCH_IMAGES), np.int64)
        self.record_rows: list[np.ndarray] = [self.records[:, :0].copy()]
        self.image_rows: list[np.ndarray] = [self.images[:, :0].copy()]
        self.digests: list[bytes] = []
        self.corrupt: list[CorruptRecord] = []

    def close(self) -> None:
        """Release the view of the mapping."""
        del self.data
        self.view.release()

    def scan(self, first: int, stop: int, start: int | None, md5: bool) -> RecordBatch:
        """The records of the range; arguments as of `scan_range`."""
        at = (first if start is None else start) - self.base
        if start is None and first > 0:
            at = resync(self.data, at, self.stop, self.images, self.search_left)
            if at < 0:
                return self.batch(-1, stop, True)
        begin = at
        while at < self.stop:
            at, num_records, num_images, code = parse_range(
                self.data, at, self.stop, self.records, self.images
            )
            self._append(num_records, num_images, md5)
            if code not in (GOOD, FULL):
                at = self._skip_corrupt(at, code)
                if at < 0:
                    return self.batch(begin + self.base, stop, True)
        return self.batch(begin + self.base, at + self.base, False)

    def batch(self, start: int, end: int, ends_corrupt: bool) -> RecordBatch:
        """All records that were appended; arguments as in `RecordBatch`."""
        records = np.concatenate(self.record_rows, axis=1)
        images = np.concatenate(self.image_rows, axis=1)
        return RecordBatch(
            location=records[0],
            product_id=records[1],
            category_id=records[2],
            image_count=records[3].astype(np.int32),
            offset=images[0],
            length=images[1].astype(np.int32),
            md5=np.frombuffer(b"".join(self.digests), np.uint8).reshape(-1, 16),
            start=start,
            end=end,
            ends_corrupt=ends_corrupt,
            corrupt=self.corrupt,
        )

    def _append(self, num_records: int, num_images: int, md5: bool) -> None:
        """Copy what the parser wrote to `records` and `images`, with offsets in the file."""
        images = self.images[:, :num_images].copy()
        if md5:
            self._hash_images(images)
        images[0] += self.base
        records = self.records[:, :num_records].copy()
        records[0] += self.base
        self.record_rows.append(records)
        self.image_rows.append(images)

    def _hash_images(self, images: np.ndarray) -> None:
        # Copying an empty hash is faster than making a new one.
        view, new_hash = self.view, hashlib.md5(usedforsecurity=False).copy
        append = self.digests.append
        for start, end in zip(images[0].tolist(), (images[0] + images[1]).tolist(), strict=True):
            digest = new_hash()
            digest.update(view[start:end])
            append(digest.digest())

    def _skip_corrupt(self, at: int, code: int) -> int:
        """Record the corrupt part at `at`; position of the next record, or -1 beyond the range."""
        length, left = record_length(self.data, at), len(self.data) - at
        after = at + length
        if code in (BEYOND, LENGTH) or not looks_like_record(self.data, after):
            after = resync(self.data, at + 1, self.stop, self.images, self.search_left)
        reason = REASONS[code].format(length=length, left=left)
        end = self.stop if after < 0 else after
        self.corrupt.append(CorruptRecord(at + self.base, end - at, reason))
        return after
