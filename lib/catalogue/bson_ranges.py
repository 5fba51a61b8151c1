"""A whole BSON file scanned range by range, in several processes, resumable by range (C1).

The ranges are fixed by the file's size, so the result does not depend on how many processes
worked or how often they were stopped. A range that begins in the middle of a record finds its
first product by itself; `_chain` then checks that each range begins where the one before ended,
and walks a range again where it does not (a picture that holds a product, say).
"""

from collections.abc import Callable
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib import processes
from lib.artifacts import replacing
from lib.catalogue.bson_scan import Damage, Found, scan

RANGE = 64 << 20  # bytes; the unit of work and of resuming
LEAST_RANGES = 4  # for a process, to be worth its start

ARRAYS = ("place", "product_id", "category_id", "image_count", "offset", "length", "md5")


def scan_file(
    path: Path, folder: Path, jobs: int, md5: bool = True, range_bytes: int = RANGE
) -> tuple[list[Path], list[Damage]]:
    """Scan `path` in `jobs` processes (1: in this one); finished ranges are kept in `folder`.

    Returns the ranges' files in file order, for `load`, and the damage of the whole file.
    """
    size = path.stat().st_size
    folder.mkdir(exist_ok=True)
    bounds = [(first, min(first + range_bytes, size)) for first in range(0, size, range_bytes)]
    files = [folder / f"{number:06d}.npz" for number in range(len(bounds))]
    waiting = [number for number, file in enumerate(files) if not file.exists()]
    done = size - sum(bounds[number][1] - bounds[number][0] for number in waiting)
    with tqdm(
        total=size, initial=done, unit="B", unit_scale=True, desc=path.name, disable=None
    ) as bar:

        def finished(number: int) -> None:
            bar.update(bounds[number][1] - bounds[number][0])

        tasks = [(number, (path, *bounds[number], None, md5, files[number])) for number in waiting]
        _run(tasks, min(jobs, len(waiting) // LEAST_RANGES), finished)
    return files, _chain(path, files, bounds, md5)


def load(file: Path) -> Found:
    """The records of one range."""
    with np.load(file) as arrays:
        start, end, lost = arrays["head"].tolist()
        found = {name: arrays[name] for name in ARRAYS}
        damage = [
            Damage(offset, length, reason)
            for (offset, length), reason in zip(
                arrays["damage"].tolist(), arrays["reasons"].tolist(), strict=True
            )
        ]
    return Found(**found, start=start, end=end, lost=bool(lost), damage=damage)


def _run(tasks: list[tuple[int, tuple]], jobs: int, finished: Callable[[int], None]) -> None:
    if jobs <= 1:
        for number, task in tasks:
            _scan_range(*task)
            finished(number)
        return
    with processes.pool(jobs) as pool:
        futures = {pool.submit(_scan_range, *task): number for number, task in tasks}
        try:
            for future in as_completed(futures):
                future.result()
                finished(futures[future])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _scan_range(
    path: Path, first: int, stop: int, start: int | None, md5: bool, file: Path
) -> None:
    found = scan(path, first, stop, start, md5)
    damage = np.array([(d.offset, d.length) for d in found.damage], np.int64).reshape(-1, 2)
    with replacing(file) as temporary, temporary.open("wb") as sink:
        np.savez(
            sink,
            head=np.array([found.start, found.end, found.lost], np.int64),
            damage=damage,
            reasons=np.array([d.reason for d in found.damage], np.str_),
            **{name: getattr(found, name) for name in ARRAYS},
        )


def _chain(path: Path, files: list[Path], bounds: list[tuple[int, int]], md5: bool) -> list[Damage]:
    """Make each range begin where the one before ended; all damage in file order."""
    damage: list[Damage] = []
    expected, lost = 0, False
    for file, (first, stop) in zip(files, bounds, strict=True):
        start, end, ends_lost = _head(file)
        if not lost and start != expected:
            _scan_range(path, first, stop, expected, md5, file)
            start, end, ends_lost = _head(file)
        if lost:  # the damage of the range before goes on to where this one found its feet
            last = damage[-1]
            until = stop if start < 0 else start
            damage[-1] = Damage(last.offset, until - last.offset, last.reason)
        damage += load(file).damage
        expected, lost = end, bool(ends_lost)
    return damage


def _head(file: Path) -> list[int]:
    with np.load(file) as arrays:
        return arrays["head"].tolist()
