"""What a source finds: records, and where their pictures lie; and its files between two passes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

MOST_PICTURES = np.iinfo(np.int16).max  # of a product
NO_CATEGORY = np.iinfo(np.int64).min

# A file of `save`: head, damage, its reasons, these, and `file`, each as `np.save` writes it.
ARRAYS = ("place", "product_id", "category_id", "image_count", "offset", "length", "md5")


@dataclass(frozen=True)
class CorruptRecord:
    """What holds no usable record: `length` bytes at byte `offset`, or line `offset` of a list."""

    offset: int
    length: int
    reason: str


@dataclass
class RecordBatch:
    """Some records of a source, in its order.

    Records [R]: place (a byte offset, or a line), product_id, category_id (NO_CATEGORY without
    one) int64, image_count int32. Pictures [I]: offset int64, length int32, md5 uint8 [I, 16]
    (empty [0, 16] if not asked for).
    file int32 [I]: which file a picture lies in, where there are several; offsets are in that one.

    Of a range of bytes: start: where the first record was looked for and found; -1: nowhere. end:
    where the next one is expected. lost: it ends in damage, and the next record has to be found.
    """

    place: np.ndarray
    product_id: np.ndarray
    category_id: np.ndarray
    image_count: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    md5: np.ndarray
    start: int = 0
    end: int = 0
    lost: bool = False
    damage: list[CorruptRecord] = field(default_factory=list)
    file: np.ndarray | None = None


def save(found: RecordBatch, path: Path) -> None:
    """Write a piece whole or not at all, for `load`."""
    damage = np.array([(d.offset, d.length) for d in found.damage], np.int64).reshape(-1, 2)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as sink:
        np.save(sink, np.array([found.start, found.end, found.lost], np.int64))
        np.save(sink, damage)
        np.save(sink, np.array([d.reason for d in found.damage], np.str_))
        for name in ARRAYS:
            np.save(sink, getattr(found, name))
        np.save(sink, np.empty(0, np.int32) if found.file is None else found.file)
    temporary.replace(path)  # not fsynced: a piece that a power failure cuts is made again


def load(path: Path) -> RecordBatch:
    """A saved piece."""
    with path.open("rb") as source:
        (start, end, lost), damage = _head(source)
        arrays = {name: np.load(source) for name in ARRAYS}
        file = np.load(source)
    found = RecordBatch(**arrays, start=start, end=end, lost=bool(lost), damage=damage)
    if len(file) == len(found.offset):
        found.file = file
    return found


def load_head(path: Path) -> tuple[list[int], list[CorruptRecord]]:
    """(start, end, lost) and the damage of a saved piece."""
    with path.open("rb") as source:
        return _head(source)


def is_whole(path: Path) -> bool:
    """Whether a saved piece can be loaded."""
    try:
        load(path)
    except (OSError, EOFError, ValueError):
        return False
    return True


def _head(source: BinaryIO) -> tuple[list[int], list[CorruptRecord]]:
    """Leaves `source` before the arrays."""
    head, places, reasons = (np.load(source).tolist() for _ in range(3))
    damage = zip(places, reasons, strict=True)
    return head, [CorruptRecord(offset, length, why) for (offset, length), why in damage]
