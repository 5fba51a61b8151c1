"""Stage 01: the tables of a catalogue, from the records that a source found (C1).

    products.arrow, images.arrow   see `lib/data/catalog.py`
    files.arrow                    only where the pictures lie in more than one file
    damage.json                    what was passed over: counts, and the first places

Every kind of source (BSON, lists, folders, arrays) yields `RecordBatch` pieces; what is usable of
them
and how it is numbered is decided here, once. Pieces are loaded one at a time, so memory is some
tens of bytes a product, whatever the number of pictures.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lib.data.catalog import Categories, write_table
from lib.data.found import NO_CATEGORY, CorruptRecord, RecordBatch, load
from lib.data.scan_report import (
    MOST_REPORTED,
    NO_BYTES,
    NO_FILE,
    NO_PICTURES,
    NON_FATAL,
    ScanReport,
)
from lib.data.sources.bson_file import scan_file
from lib.errors import UserError

IMAGE_COLUMNS = {
    "product": np.int32,
    "position": np.int16,
    "offset": np.int64,
    "length": np.int32,
}

Piece = Callable[[], RecordBatch]


@dataclass(frozen=True)
class SourceInfo:
    """Where the records come from.

    path: what messages name; unit: what `RecordBatch.place` counts in it ("byte", "line",
    "file", "row").
    size: bytes of a file that is read as a whole, so that damaged bytes can be weighed; 0: none.
    keys: the source's own name of each record, where `product_id` is only a number for it.
    groups int32 [R]: products that must not be parted by the split.
    files: names, relative to the source's folder, that `RecordBatch.file` numbers; codec: what
    they hold.
    """

    path: Path
    unit: str = "byte"
    size: int = 0
    keys: Sequence[str] | None = None
    groups: np.ndarray | None = None
    files: Sequence[str] | None = None
    codec: str = "image"


def index_bson(
    folder: Path,
    source: Path,
    classes: Categories,
    labelled: bool,
    most_damaged: float,
    jobs: int = 1,
) -> dict[str, Any]:
    """Write the tables of one BSON file, scanned in `jobs` processes.

    A range that an earlier, stopped call has finished is not scanned again. Raises as
    `write_index` does.
    """
    size = source.stat().st_size
    if size == 0:
        raise UserError(f"{source}: the file is empty; fetch it again")
    ranges = folder / "ranges"
    files, damage = scan_file(source, ranges, jobs)
    pieces = [lambda file=file: load(file) for file in files]
    facts = write_index(
        folder, SourceInfo(source, "byte", size), pieces, damage, classes, labelled, most_damaged
    )
    for file in files:
        file.unlink()
    ranges.rmdir()
    return facts


def write_index(
    folder: Path,
    origin: SourceInfo,
    pieces: Sequence[Piece],
    damage: Sequence[CorruptRecord],
    classes: Categories,
    labelled: bool,
    most_damaged: float,
) -> dict[str, Any]:
    """Write the tables of the records in `pieces`, in their order; returns counts.

    A record with an unknown category, or with the id of an earlier one, is passed over; a picture
    of no bytes is left out of its product; a product without pictures stays. All are counted,
    listed by place and reported. Raises UserError where more than the share `most_damaged` of the
    records, or of the bytes, is passed over.
    """
    faults = ScanReport()
    for one in damage:
        faults.add(one.reason, np.array([one.offset]))
    heads = [(p.place, p.product_id, p.category_id) for p in (piece() for piece in pieces)]
    place, product_id, category = (np.concatenate(columns) for columns in zip(*heads, strict=True))
    label = _labels(category, classes) if labelled else np.full(len(category), -1, np.int16)
    usable = _usable(faults, origin, place, product_id, category, label, labelled)
    lost = len(damage) + int((~usable).sum())
    images = _write_images(folder, origin, pieces, usable, faults)
    counts = np.bincount(images, minlength=int(usable.sum()))
    faults.add(NO_PICTURES, place[usable][counts == 0])
    _report(origin, faults)
    _stop_at_too_much(origin, faults, damage, lost, len(usable) + len(damage), most_damaged)
    write_table(folder / "products.arrow", _products(origin, usable, product_id, label, counts))
    facts = {
        "products": int(usable.sum()),
        "images": len(images),
        "distinct_images": _finish_images(folder),
        "passed_over": lost,
    }
    faults.write(folder / "damage.json", origin.unit)
    return facts


def _labels(category: np.ndarray, classes: Categories) -> np.ndarray:
    """int16 [R]: class of each category id, -1 for an unknown one."""
    at = np.searchsorted(classes.category_id, category)
    at[at == len(classes)] = 0
    return np.where(classes.category_id[at] == category, at, -1).astype(np.int16)


def _usable(
    faults: ScanReport,
    origin: SourceInfo,
    place: np.ndarray,
    product_id: np.ndarray,
    category: np.ndarray,
    label: np.ndarray,
    labelled: bool,
) -> np.ndarray:
    """bool [R]: records that become products."""
    usable = np.ones(len(place), bool)
    if labelled:
        without = category == NO_CATEGORY
        unknown = (label < 0) & ~without
        named = None if origin.keys is None else _names(origin, np.flatnonzero(without))
        faults.add("no category_id", place[without], named)
        faults.add("unknown category_id", place[unknown], category[unknown].tolist())
        usable = label >= 0
    rows = np.flatnonzero(usable)
    order = rows[np.argsort(product_id[rows], kind="stable")]
    again = order[1:][product_id[order[1:]] == product_id[order[:-1]]]
    again.sort()
    named = product_id[again].tolist() if origin.keys is None else _names(origin, again)
    faults.add("duplicate _id", place[again], named)
    usable[again] = False
    return usable


def _names(origin: SourceInfo, rows: np.ndarray) -> list[str]:
    """The source's own names of as many records as are reported."""
    assert origin.keys is not None
    return [origin.keys[row] for row in rows[:MOST_REPORTED].tolist()]


def _write_images(
    folder: Path,
    origin: SourceInfo,
    pieces: Sequence[Piece],
    usable: np.ndarray,
    faults: ScanReport,
) -> np.ndarray:
    """Append the pictures of usable records to one raw file a column; their products int32 [I]."""
    number = np.cumsum(usable) - 1
    row, products, files = 0, [], []
    sinks = {name: (folder / f"{name}.raw").open("wb") for name in [*IMAGE_COLUMNS, "md5"]}
    try:
        for piece in pieces:
            found = piece()
            record = row + np.repeat(np.arange(len(found.place)), found.image_count)
            there = found.length > 0
            wanted = usable[record]
            empty = record[wanted & ~there] - row
            _add_empty(faults, origin, found, empty, wanted & ~there)
            keep = wanted & there
            product = number[record[keep]].astype(np.int32)
            columns = {
                "product": product,
                "position": _positions(product),
                "offset": found.offset[keep],
                "length": found.length[keep],
                "md5": found.md5[keep],
            }
            for name, values in columns.items():
                values.tofile(sinks[name])
            products.append(product)
            if found.file is not None:
                files.append(found.file[keep])
            row += len(found.place)
    finally:
        for sink in sinks.values():
            sink.close()
    if origin.files is not None:
        _write_files(folder, origin, np.concatenate(files))
    return np.concatenate(products)


def _add_empty(
    faults: ScanReport,
    origin: SourceInfo,
    found: RecordBatch,
    record: np.ndarray,
    picture: np.ndarray,
) -> None:
    if origin.files is None or found.file is None:
        faults.add(NO_BYTES, found.place[record])
        return
    shown = found.file[picture][:MOST_REPORTED].tolist()
    faults.add(NO_FILE, found.place[record], [origin.files[number] for number in shown])


def _positions(product: np.ndarray) -> np.ndarray:
    """int16: how many pictures of the same product come before. Equal products are neighbours."""
    rows = np.arange(len(product))
    starts = np.flatnonzero(np.diff(product, prepend=-1))
    return (rows - np.repeat(starts, np.diff(starts, append=len(product)))).astype(np.int16)


def _write_files(folder: Path, origin: SourceInfo, file: np.ndarray) -> None:
    """Runs of pictures that lie in the same file: one row each."""
    assert origin.files is not None
    starts = np.flatnonzero(np.diff(file, prepend=-1))
    names = [origin.files[number] for number in file[starts].tolist()]
    columns = {
        "first_image": starts.astype(np.int64),
        "name": pa.array(names, pa.string()),
        "codec": pa.array([origin.codec] * len(names), pa.string()),
    }
    write_table(folder / "files.arrow", columns)


def _products(
    origin: SourceInfo,
    usable: np.ndarray,
    product_id: np.ndarray,
    label: np.ndarray,
    counts: np.ndarray,
) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "product_id": product_id[usable],
        "class": label[usable],
        "first_image": np.cumsum(counts) - counts,
        "image_count": counts.astype(np.int16),
    }
    if origin.keys is not None:
        columns["key"] = pa.array(
            [origin.keys[i] for i in np.flatnonzero(usable).tolist()], pa.string()
        )
    if origin.groups is not None:
        columns["group"] = origin.groups[usable]
    return columns


def _finish_images(folder: Path) -> int:
    """Turn the raw columns into images.arrow, without loading them; the number of pictures."""
    raw = {name: folder / f"{name}.raw" for name in [*IMAGE_COLUMNS, "md5"]}
    columns: dict[str, Any] = {n: _mapped(raw[n], kind) for n, kind in IMAGE_COLUMNS.items()}
    words = _mapped(raw["md5"], np.uint64)
    columns["md5"] = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(words) // 2, [None, pa.py_buffer(words)]
    )
    write_table(folder / "images.arrow", columns)
    # Half of an MD5 tells 12 million pictures apart but once in 250,000 catalogues.
    halves = np.sort(words[::2])
    distinct = int((np.diff(halves) != 0).sum()) + (len(halves) > 0)
    for path in raw.values():
        path.unlink()
    return distinct


def _mapped(path: Path, kind: type) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, kind)
    return np.memmap(path, kind, "r")


def _report(origin: SourceInfo, faults: ScanReport) -> None:
    for reason, count in faults.counts.items():
        first, what = min(place for place in faults.places if place[1].startswith(reason))
        named = what.removeprefix(reason).strip()
        print(
            f"warning: {origin.path}: {count} x {reason}, the first at {origin.unit} {first}"
            + (f" ({named})" if named else "")
            + "; --strict stops at it",
            file=sys.stderr,
        )


def _stop_at_too_much(
    origin: SourceInfo,
    faults: ScanReport,
    damage: Sequence[CorruptRecord],
    lost: int,
    records: int,
    most: float,
) -> None:
    lost_bytes = sum(one.length for one in damage)
    if lost <= most * records and lost_bytes <= most * origin.size:
        return
    place, reason = min(p for p in faults.places if not p[1].startswith(NON_FATAL))
    raise UserError(
        f"{origin.path}: {lost} of {records} records cannot be used, the first at"
        f" {origin.unit} {place}: {reason}; mend the file, fetch it again, or raise"
        " data.max_bad_fraction"
    )
