"""Index of a source: the tables of its products and images, made of record batches.

    products.arrow, images.arrow   see `lib/data/catalog.py`
    files.arrow                    only if the images are in several files
    scan_report.json               what could not be used: counts, and the first locations

Every kind of source yields `RecordBatch`es. This module decides, for all of them, which records
are usable and how products and images are numbered. It loads one batch at a time, so that memory
is some tens of bytes per product, however many images there are.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lib.data.catalog import Categories, write_table
from lib.data.records import NO_CATEGORY, CorruptRecord, RecordBatch
from lib.data.scan_report import MAX_REPORTED, NO_BYTES, NO_FILE, NO_IMAGES, ScanReport
from lib.data.sources.nearest_name import missing_hint
from lib.errors import UserError
from lib.utils.groups import group_starts, position_in_group

logger = logging.getLogger(__name__)

IMAGE_COLUMNS = {
    "product": np.int32,
    "position": np.int16,
    "offset": np.int64,
    "length": np.int32,
}

MAX_LOGGED = 20  # reasons; a reason may name a length, and differ from record to record

BatchLoader = Callable[[], RecordBatch]


@dataclass(frozen=True)
class SourceInfo:
    """What the index needs to know of a source beside its records.

    path: named in messages.
    unit: what `RecordBatch.location` counts ("byte", "line", "file", "row").
    size: bytes of a file that is scanned as a whole, to measure the share of corrupt bytes; else 0.
    keys: the source's own id of each record [R], if `product_id` is only derived from it.
    groups: int32 [R], records with the same number must be in the same split.
    splits: [R], what the source says of each record's part or fold.
    files: names, relative to the source's folder; `RecordBatch.file` is an index into them.
    codec: see `FileTable`.
    image_root: the folder of `files`, to look for a missing one.
    cautions: what may be other than meant; logged, and written into the report.
    """

    path: Path
    unit: str = "byte"
    size: int = 0
    keys: Sequence[str] | None = None
    groups: np.ndarray | None = None
    splits: Sequence[str] | None = None
    files: Sequence[str] | None = None
    codec: str = "image"
    image_root: Path | None = None
    cautions: Sequence[str] = ()


def write_index(
    folder: Path,
    source: SourceInfo,
    batches: Sequence[BatchLoader],
    corrupt: Sequence[CorruptRecord],
    categories: Categories,
    labelled: bool,
    max_bad_fraction: float,
    max_missing_fraction: float = 1.0,
) -> dict[str, Any]:
    """Write the tables of the records in `batches`, in their order; returns counts.

    A record is left out if its category is unknown or its id occurred before. An image of no bytes
    is left out of its product; a product without images is kept. All are counted, listed by
    location and logged.

    corrupt: the unusable parts that the source itself found.
    labelled: whether records need a category. max_bad_fraction: of the records, and of the bytes.
    max_missing_fraction: of the images. Raises UserError if a larger fraction cannot be used.
    """
    report = ScanReport(cautions=list(source.cautions))
    for part in corrupt:
        report.add(part.reason, np.array([part.offset]))
    heads = [(b.location, b.product_id, b.category_id) for b in (load() for load in batches)]
    location, product_id, category = (np.concatenate(arrays) for arrays in zip(*heads, strict=True))
    label = np.full(len(category), -1, np.int16)
    usable = np.ones(len(category), bool)
    if labelled:
        label = _labels(category, categories)
        usable = label >= 0
        _report_unlabelled(report, source, location, category, label)
    _drop_duplicates(report, source, location, product_id, usable)
    bad_records = len(corrupt) + int((~usable).sum())
    image_product = _write_images(folder, source, batches, usable, report)
    counts = np.bincount(image_product, minlength=int(usable.sum()))
    report.add(NO_IMAGES, location[usable][counts == 0])
    _log_report(source, report)
    num_records = len(usable) + len(corrupt)
    _check_bad_fraction(source, report, corrupt, bad_records, num_records, max_bad_fraction)
    _check_missing_images(source, report, len(image_product), max_missing_fraction)
    columns = _product_columns(source, usable, product_id, label, counts)
    write_table(folder / "products.arrow", columns)
    facts = {
        "products": int(usable.sum()),
        "images": len(image_product),
        "distinct_images": _finish_images(folder),
        "bad_records": bad_records,
    }
    report.write(folder / "scan_report.json", source.unit)
    return facts


def _labels(category: np.ndarray, categories: Categories) -> np.ndarray:
    """int16 [R]: class_id of each category_id; -1 if unknown."""
    row = np.searchsorted(categories.category_id, category)
    row[row == len(categories)] = 0
    return np.where(categories.category_id[row] == category, row, -1).astype(np.int16)


def _report_unlabelled(
    report: ScanReport,
    source: SourceInfo,
    location: np.ndarray,
    category: np.ndarray,
    label: np.ndarray,
) -> None:
    missing = category == NO_CATEGORY
    unknown = (label < 0) & ~missing
    names = None if source.keys is None else _keys_of(source, np.flatnonzero(missing))
    report.add("no category_id", location[missing], names)
    report.add("unknown category_id", location[unknown], category[unknown].tolist())


def _drop_duplicates(
    report: ScanReport,
    source: SourceInfo,
    location: np.ndarray,
    product_id: np.ndarray,
    usable: np.ndarray,
) -> None:
    """Set `usable` (bool [R]) to False for records with the id of an earlier usable record."""
    rows = np.flatnonzero(usable)
    order = rows[np.argsort(product_id[rows], kind="stable")]
    duplicates = order[1:][product_id[order[1:]] == product_id[order[:-1]]]
    duplicates.sort()
    keyed = source.keys is not None
    names = _keys_of(source, duplicates) if keyed else product_id[duplicates].tolist()
    report.add("duplicate _id", location[duplicates], names)
    usable[duplicates] = False


def _keys_of(source: SourceInfo, rows: np.ndarray) -> list[str]:
    """The source's own ids of the first records in `rows`, as many as a report lists."""
    assert source.keys is not None
    return [source.keys[row] for row in rows[:MAX_REPORTED].tolist()]


def _write_images(
    folder: Path,
    source: SourceInfo,
    batches: Sequence[BatchLoader],
    usable: np.ndarray,
    report: ScanReport,
) -> np.ndarray:
    """Write the images of usable records to one raw file per column; their products int32 [I]."""
    product_row = np.cumsum(usable) - 1
    first_record, products, files = 0, [], []
    with ExitStack() as stack:
        sinks = {
            name: stack.enter_context((folder / f"{name}.raw").open("wb"))
            for name in [*IMAGE_COLUMNS, "md5"]
        }
        for load in batches:
            batch = load()
            record = np.repeat(np.arange(len(batch.location)), batch.image_count)
            wanted, empty = usable[first_record + record], batch.length <= 0
            _report_empty(report, source, batch, record, wanted & empty)
            keep = wanted & ~empty
            products.append(product_row[first_record + record[keep]].astype(np.int32))
            for name, values in _image_columns(batch, keep, products[-1]).items():
                values.tofile(sinks[name])
            if batch.file is not None:
                files.append(batch.file[keep])
            first_record += len(batch.location)
    if source.files is not None:
        _write_files(folder, source, np.concatenate(files))
    return np.concatenate(products)


def _image_columns(
    batch: RecordBatch, keep: np.ndarray, product: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of the images `keep` (bool [I]), which belong to `product` (int32, of these)."""
    return {
        "product": product,
        "position": position_in_group(product).astype(np.int16),
        "offset": batch.offset[keep],
        "length": batch.length[keep],
        "md5": batch.md5[keep],
    }


def _report_empty(
    report: ScanReport,
    source: SourceInfo,
    batch: RecordBatch,
    record: np.ndarray,
    empty: np.ndarray,
) -> None:
    """Report the images `empty` (bool [I]); record: int64 [I], row in the batch of each image."""
    location = batch.location[record[empty]]
    if source.files is None or batch.file is None:
        report.add(NO_BYTES, location)
        return
    files = batch.file[empty][:MAX_REPORTED].tolist()
    report.add(NO_FILE, location, [source.files[file] for file in files])


def _write_files(folder: Path, source: SourceInfo, file: np.ndarray) -> None:
    """Write one row for each run of images in the same file (int32 [I])."""
    assert source.files is not None
    starts = group_starts(file)
    names = [source.files[number] for number in file[starts].tolist()]
    columns = {
        "first_image": starts.astype(np.int64),
        "name": pa.array(names, pa.string()),
        "codec": pa.array([source.codec] * len(names), pa.string()),
    }
    write_table(folder / "files.arrow", columns)


def _product_columns(
    source: SourceInfo,
    usable: np.ndarray,
    product_id: np.ndarray,
    label: np.ndarray,
    counts: np.ndarray,
) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "product_id": product_id[usable],
        "class_id": label[usable],
        "first_image": np.cumsum(counts) - counts,
        "image_count": counts.astype(np.int16),
    }
    if source.keys is not None:
        keys = [source.keys[row] for row in np.flatnonzero(usable).tolist()]
        columns["key"] = pa.array(keys, pa.string())
    if source.groups is not None:
        columns["group"] = source.groups[usable]
    if source.splits is not None:
        columns["split"] = pa.array(np.array(source.splits, np.str_)[usable].tolist())
    return columns


def _finish_images(folder: Path) -> int:
    """Turn the raw columns into images.arrow, memory-mapped; returns the number of distinct md5."""
    raw = {name: folder / f"{name}.raw" for name in [*IMAGE_COLUMNS, "md5"]}
    columns: dict[str, Any] = {n: _map_array(raw[n], dtype) for n, dtype in IMAGE_COLUMNS.items()}
    words = _map_array(raw["md5"], np.uint64)
    columns["md5"] = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(words) // 2, [None, pa.py_buffer(words)]
    )
    write_table(folder / "images.arrow", columns)
    # Half of an MD5 is enough: among 12 million images, two different ones agree in it with a
    # probability of 1 in 250,000.
    halves = np.sort(words[::2])
    distinct = int((np.diff(halves) != 0).sum()) + (len(halves) > 0)
    for path in raw.values():
        path.unlink()
    return distinct


def _map_array(path: Path, dtype: type) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r")


def _log_report(source: SourceInfo, report: ScanReport) -> None:
    for caution in report.cautions:
        logger.warning("%s: %s", source.path, caution)
    reasons = report.counts.most_common(MAX_LOGGED)
    for reason, count in reasons:
        location, name = report.first_of(reason)
        logger.warning(
            "%s: %d x %s, the first at %s %d%s; pass --strict to stop at it",
            source.path,
            count,
            reason,
            source.unit,
            location,
            f" ({name})" if name else "",
        )
    if len(report.counts) > len(reasons):
        others = report.counts.total() - sum(count for _, count in reasons)
        logger.warning("%s: %d x other reasons, in scan_report.json", source.path, others)


def _check_bad_fraction(
    source: SourceInfo,
    report: ScanReport,
    corrupt: Sequence[CorruptRecord],
    bad_records: int,
    num_records: int,
    max_bad_fraction: float,
) -> None:
    bad_bytes = sum(part.length for part in corrupt)
    if (
        bad_records <= max_bad_fraction * num_records
        and bad_bytes <= max_bad_fraction * source.size
    ):
        return
    location, reason = report.first_fatal()
    raise UserError(
        f"{source.path}: {bad_records} of {num_records} records cannot be used, the first at"
        f" {source.unit} {location}: {reason}; repair or re-download the file, or raise"
        " data.max_bad_fraction"
    )


def _check_missing_images(
    source: SourceInfo, report: ScanReport, num_images: int, max_missing_fraction: float
) -> None:
    """num_images: those that are not missing."""
    reason = NO_FILE if report.counts[NO_FILE] else NO_BYTES
    missing = report.counts[reason]
    total = missing + num_images
    if missing <= max_missing_fraction * total:
        return
    location, name = report.first_of(reason)
    hint = missing_hint(source.image_root, name) if name and source.image_root else ""
    raise UserError(
        f"{source.path}: {missing} of {total} images are missing or empty, the first at"
        f" {source.unit} {location}{f': {name!r}' if name else ''}{hint}; so many are one fault:"
        " mend the names or the files, or raise data.max_missing_fraction"
    )
