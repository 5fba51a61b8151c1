"""Read the tables of boxes and of labels of whole images, as they are published, in a stream.

    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,
    IsDepiction,IsInside                                 <split>-annotations-bbox.csv
    ImageID,Source,LabelName,Confidence                  <split>-annotations-human-imagelabels*.csv

The columns may stand in any order among others; the flags, Confidence and Source may lack. A row
that cannot be used is counted by reason, listed and passed over. A table with a fault that pyarrow
does not pass over is read again, row by row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress, count
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from lib.data.openimages.blocks import (
    Block,
    Columns,
    columns_present,
    plain_blocks,
    typed_blocks,
)
from lib.data.openimages.boxes import BOX_TYPES, FLAGS, UNKNOWN
from lib.data.records import CorruptRecord
from lib.data.scan_report import MAX_REPORTED, ScanReport

COORDINATES = {"x_min": "XMin", "x_max": "XMax", "y_min": "YMin", "y_max": "YMax"}
FLAG_COLUMNS = dict(
    zip(FLAGS, ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"), strict=True)
)
BOX_COLUMNS = {name: kind for name, kind in BOX_TYPES.items() if name != "cluster"}
LABEL_COLUMNS: dict[str, type] = {"image": np.int32, "class_row": np.int16, "present": np.int8}
MACHINE = "machine"  # a Source of labels that no person verified


@dataclass
class AnnotationTables:
    """What the tables of a side say, before their images are looked for.

    ids: each ImageID that has a usable row, by first appearance; an image is its number here.
    first_line: int64 [ids], line of that row.
    boxes: columns of `Boxes` but the cluster, ascending by image.
    labels: columns of `ImageLabels`, likewise; empty without such tables.
    rows: that were read. report: of the rows that cannot be used.
    """

    ids: list[str]
    first_line: np.ndarray
    boxes: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    rows: int
    report: ScanReport


def read_tables(
    box_tables: Sequence[Path], label_tables: Sequence[Path], row_of_label: Mapping[str, int]
) -> AnnotationTables:
    """Read all tables of a side.

    row_of_label: the row of each class; another label is unknown. Raises UserError for a file that
    cannot be read or lacks a column.
    """
    numbers: dict[str, int] = {}
    report = ScanReport()
    several = len(box_tables) + len(label_tables) > 1
    box_files = [
        _read_file(path, _box_columns(path), partial(_add_boxes, row_of_label), numbers)
        for path in box_tables
    ]
    label_files = [
        _read_file(path, _label_columns(path), partial(_add_labels, row_of_label), numbers)
        for path in label_tables
    ]
    for path, file in zip((*box_tables, *label_tables), (*box_files, *label_files), strict=True):
        _add_report(report, file.report, path.name if several else "")
    rows = sum(file.rows for file in (*box_files, *label_files))
    boxes = _sorted_columns(box_files, BOX_COLUMNS)
    labels = _sorted_columns(label_files, LABEL_COLUMNS)
    lines = [line for file in (*box_files, *label_files) for line in file.lines]
    first_line = np.array(lines, np.int64)
    return AnnotationTables(list(numbers), first_line, boxes, labels, rows, report)


def _box_columns(path: Path) -> Columns:
    optional = ["Confidence", *FLAG_COLUMNS.values()]
    present = columns_present(path, ["ImageID", "LabelName", *COORDINATES.values()], optional)
    flags = [name for name in FLAG_COLUMNS.values() if name in present]
    floats = [*COORDINATES.values(), *(["Confidence"] if "Confidence" in present else [])]
    return Columns(["ImageID", "LabelName"], floats, flags)


def _label_columns(path: Path) -> Columns:
    present = columns_present(path, ["ImageID", "LabelName", "Confidence"], ["Source"])
    texts = ["ImageID", "LabelName", *(["Source"] if "Source" in present else [])]
    return Columns(texts, ["Confidence"], [])


@dataclass
class _File:
    """The usable rows of one file, in blocks of columns, and the report of the others.

    known: numbers of the images of the files before. new: those of further images; lines: theirs.
    """

    known: Mapping[str, int]
    new: dict[str, int] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)
    blocks: list[dict[str, np.ndarray]] = field(default_factory=list)
    report: ScanReport = field(default_factory=ScanReport)
    rows: int = 0

    def images(self, block: Block, usable: np.ndarray) -> np.ndarray:
        """int32: the image of each row in `usable` (int [U]); new images are numbered."""
        codes, ids = block.texts["ImageID"]
        codes = codes[usable]
        first = np.full(len(ids), len(codes), np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]  # of equal codes the last one is kept
        order = np.argsort(first, kind="stable")[: int((first < len(codes)).sum())]
        lines = block.line[usable[first[order]]].tolist()
        keys = [ids[code] for code in order.tolist()]  # by first appearance
        fresh = [key not in self.new and key not in self.known for key in keys]
        start = len(self.known) + len(self.new)
        self.new.update(zip(compress(keys, fresh), count(start), strict=False))
        self.lines += compress(lines, fresh)
        number = np.zeros(len(ids), np.int32)
        number[order] = [self.new[key] if key in self.new else self.known[key] for key in keys]
        return number[codes]

    def usable(self, block: Block, faults: "Iterable[_Fault]") -> np.ndarray:
        """int64: the rows without a fault. Each other row is reported with its first one."""
        usable = np.ones(len(block.line), bool)
        for reason, bad, name_of in faults:
            rows = np.flatnonzero(bad & usable)
            usable[rows] = False
            self.add(reason, block.line[rows], name_of, rows)
        return np.flatnonzero(usable)

    def add(
        self,
        reason: str,
        lines: np.ndarray,
        name_of: Callable[[int], str] | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        """Report unusable rows; no more are listed than `MAX_REPORTED` in all."""
        room = max(0, MAX_REPORTED - len(self.report.records))
        names = (
            None if name_of is None or rows is None else [name_of(r) for r in rows[:room].tolist()]
        )
        self.report.add(reason, lines[:room], names)
        if len(lines) > room:
            self.report.counts[reason] += len(lines) - room


_Fault = tuple[str, np.ndarray, Callable[[int], str] | None]
_AddRows = Callable[[Block, _File], None]


def _read_file(path: Path, columns: Columns, add: _AddRows, numbers: dict[str, int]) -> _File:
    """The usable rows of one file; read row by row if it has faults. Adds to `numbers`."""
    try:
        file = _File(numbers)
        _collect(path, typed_blocks(path, columns), add, file)
    except (pa.ArrowInvalid, pa.ArrowKeyError):  # a value, or spaces around a column's name
        file, corrupt = _File(numbers), list[CorruptRecord]()
        _collect(path, plain_blocks(path, columns, corrupt), add, file)
        file.rows += len(corrupt)
        for part in corrupt:
            file.add(part.reason, np.array([part.offset]))
    numbers |= file.new
    return file


def _collect(path: Path, source: Iterator[Block], add: _AddRows, file: _File) -> None:
    with tqdm(unit=" rows", desc=f"reading {path.name}", disable=None) as bar:
        for block in source:
            add(block, file)
            file.rows += len(block.line)
            bar.update(len(block.line))


def _add_boxes(row_of_label: Mapping[str, int], block: Block, file: _File) -> None:
    """Add the usable boxes of a block."""
    codes, labels = block.texts["LabelName"]
    class_row = np.array([row_of_label.get(label, -1) for label in labels], np.int16)[codes]
    x_min, x_max, y_min, y_max = corners = [block.numbers[name] for name in COORDINATES.values()]
    flags = {name: block.numbers.get(column) for name, column in FLAG_COLUMNS.items()}
    confidence = block.numbers.get("Confidence", np.ones(len(codes), np.float32))
    outside = np.zeros(len(codes), bool)
    for corner in corners:
        outside |= (corner < 0) | (corner > 1)
    rows = file.usable(
        block,
        (
            _no_id(block),
            ("unknown label", class_row < 0, lambda row: labels[codes[row]]),
            ("coordinate that is no number", np.isnan(sum(corners)), None),
            ("coordinate outside of 0 to 1", outside, None),
            ("XMin above XMax", x_min > x_max, None),
            ("YMin above YMax", y_min > y_max, None),
            ("box without area", (x_min == x_max) | (y_min == y_max), None),
            ("Confidence outside of 0 to 1", (confidence < 0) | (confidence > 1), None),
            *(
                (f"{FLAG_COLUMNS[name]} other than -1, 0, 1", _is_no_flag(values), None)
                for name, values in flags.items()
                if values is not None
            ),
        ),
    )
    columns = {"image": file.images(block, rows), "class_row": class_row[rows]}
    columns |= {name: corner[rows] for name, corner in zip(COORDINATES, corners, strict=True)}
    for name, values in flags.items():
        columns[name] = np.full(len(rows), UNKNOWN, np.int8)
        if values is not None:
            columns[name] = np.nan_to_num(values[rows], nan=UNKNOWN).astype(np.int8)
    columns["confidence"] = np.nan_to_num(confidence[rows], nan=1.0)
    file.blocks.append(columns)


def _add_labels(row_of_label: Mapping[str, int], block: Block, file: _File) -> None:
    """Add the labels of a block that people verified, present or absent."""
    codes, labels = block.texts["LabelName"]
    class_row = np.array([row_of_label.get(label, -1) for label in labels], np.int16)[codes]
    present = block.numbers["Confidence"]
    source_codes, sources = block.texts.get("Source", (np.zeros(len(codes), np.int64), [""]))
    by_machine = np.array([MACHINE in source.lower() for source in sources])[source_codes]
    rows = file.usable(
        block,
        (
            _no_id(block),
            ("unknown label", class_row < 0, lambda row: labels[codes[row]]),
            ("Confidence other than 0 and 1", ~by_machine & ~np.isin(present, (0, 1)), None),
        ),
    )
    rows = rows[~by_machine[rows]]
    file.blocks.append(
        {
            "image": file.images(block, rows),
            "class_row": class_row[rows],
            "present": present[rows].astype(np.int8),
        }
    )


def _no_id(block: Block) -> _Fault:
    codes, ids = block.texts["ImageID"]
    return "no ImageID", np.array([not key.strip() for key in ids], bool)[codes], None


def _is_no_flag(values: np.ndarray) -> np.ndarray:
    return ~(np.isnan(values) | np.isin(values, (-1, 0, 1)))


def _add_report(report: ScanReport, of_file: ScanReport, name: str) -> None:
    """Add the report of one file; name: of the file, if there are several."""
    report.counts += of_file.counts
    suffix = f" in {name}" if name else ""
    report.records += [(line, f"{reason}{suffix}") for line, reason in of_file.records]


def _sorted_columns(files: Sequence[_File], types: Mapping[str, type]) -> dict[str, np.ndarray]:
    """The rows of all files, ascending by image, else in their order. Empties the files."""
    columns: dict[str, np.ndarray] = {}
    for name, kind in types.items():
        parts = [block.pop(name) for file in files for block in file.blocks]
        columns[name] = np.concatenate([np.empty(0, kind), *parts]).astype(kind, copy=False)
    image = columns["image"]
    if (image[1:] < image[:-1]).any():
        order = np.argsort(image, kind="stable")
        for name in types:
            columns[name] = columns[name][order]
    return columns
