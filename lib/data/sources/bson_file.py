"""A whole BSON file scanned range by range, in several processes, resumable by range (C1).

The ranges are fixed by the file's size, so the result does not depend on how many processes
worked or how often they were stopped. A range that begins in the middle of a record finds its
first product by itself; `_chain` then checks that each range begins where the one before ended,
and walks a range again where it does not (a picture that holds a product, say).
"""

from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path

from tqdm import tqdm

from lib.data.found import CorruptRecord, is_whole, load_head, save
from lib.data.sources.bson_scan import scan
from lib.runtime import workers

RANGE = 64 << 20  # bytes; the unit of work and of resuming
LEAST_RANGES = 4  # for a process, to be worth its start


def scan_file(
    path: Path, folder: Path, jobs: int, md5: bool = True, range_bytes: int = RANGE
) -> tuple[list[Path], list[CorruptRecord]]:
    """Scan `path` in `jobs` processes (1: in this one); finished ranges are kept in `folder`.

    Returns the ranges' files in file order, for `found.load`, and the damage of the whole file.
    """
    size = path.stat().st_size
    folder.mkdir(exist_ok=True)
    bounds = [(first, min(first + range_bytes, size)) for first in range(0, size, range_bytes)]
    files = [folder / f"{number:06d}.npy" for number in range(len(bounds))]
    waiting = [number for number, file in enumerate(files) if not is_whole(file)]
    done = size - sum(bounds[number][1] - bounds[number][0] for number in waiting)
    tasks = [(number, (path, *bounds[number], None, md5, files[number])) for number in waiting]
    finished = _run(tasks, min(jobs, len(waiting) // LEAST_RANGES))
    with tqdm(
        total=size, initial=done, unit="B", unit_scale=True, desc=path.name, disable=None
    ) as bar:
        for number in finished:
            bar.update(bounds[number][1] - bounds[number][0])
    return files, _chain(path, files, bounds, md5)


def _run(tasks: list[tuple[int, tuple]], jobs: int) -> Iterator[int]:
    """Numbers of the tasks as they are finished."""
    if jobs <= 1:
        for number, task in tasks:
            _scan_range(*task)
            yield number
        return
    with workers.pool(jobs, fresh=False) as pool:  # hashing and compiled code, no locks
        futures = {pool.submit(_scan_range, *task): number for number, task in tasks}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _scan_range(
    path: Path, first: int, stop: int, start: int | None, md5: bool, file: Path
) -> None:
    save(scan(path, first, stop, start, md5), file)


def _chain(
    path: Path, files: list[Path], bounds: list[tuple[int, int]], md5: bool
) -> list[CorruptRecord]:
    """Make each range begin where the one before ended; all damage in file order."""
    damage: list[CorruptRecord] = []
    expected, lost = 0, False
    for file, (first, stop) in zip(files, bounds, strict=True):
        (start, end, ends_lost), found = load_head(file)
        if not lost and start != expected:
            _scan_range(path, first, stop, expected, md5, file)
            (start, end, ends_lost), found = load_head(file)
        if lost:  # the damage of the range before goes on to where this one found its feet
            last = damage[-1]
            until = stop if start < 0 else start
            damage[-1] = CorruptRecord(last.offset, until - last.offset, last.reason)
        damage += found
        expected, lost = end, bool(ends_lost)
    return damage
