"""Records of a source, as the index reads them, and the files that keep them between two passes."""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lib.utils.npy import read_next

MAX_IMAGES = np.iinfo(np.int16).max  # of a product
NO_CATEGORY = np.iinfo(np.int64).min

# `save_batch` writes a header, the corrupt records, their reasons, these arrays and `file`, each
# with `np.save`, and the SHA-256 of all that.
DIGEST_BYTES = 32
ARRAYS = ("location", "product_id", "category_id", "image_count", "offset", "length", "md5")


@dataclass(frozen=True)
class CorruptRecord:
    """An unusable part of a source.

    offset: its first byte, or its line in a text file. length: in bytes; 0 for lines.
    """

    offset: int
    length: int
    reason: str


@dataclass
class RecordBatch:
    """Consecutive records of a source.

    Records [R]: location int64 (byte offset, line, row or file number), product_id int64,
    category_id int64 (NO_CATEGORY: none), image_count int32.
    Images [I]: offset int64, length int32, md5 uint8 [I, 16] ([0, 16] if it was not computed).
    file: int32 [I], the file of each image, if there are several; offsets are within that file.

    For a scanned range of bytes:
    start: offset of the first record; -1 if the range has none.
    end: offset at which the next record is expected.
    ends_corrupt: the range ends inside corrupt bytes, so the next record must be searched for.
    corrupt: the unusable parts of the range.
    """

    location: np.ndarray
    product_id: np.ndarray
    category_id: np.ndarray
    image_count: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    md5: np.ndarray
    start: int = 0
    end: int = 0
    ends_corrupt: bool = False
    corrupt: list[CorruptRecord] = field(default_factory=list)
    file: np.ndarray | None = None


def save_batch(batch: RecordBatch, path: Path) -> None:
    """Write a batch atomically; `load_batch` reads it."""
    extents = np.array([(c.offset, c.length) for c in batch.corrupt], np.int64).reshape(-1, 2)
    temporary = path.with_suffix(".tmp")
    with io.BytesIO() as sink:
        np.save(sink, np.array([batch.start, batch.end, batch.ends_corrupt], np.int64))
        np.save(sink, extents)
        np.save(sink, np.array([c.reason for c in batch.corrupt], np.str_))
        for name in ARRAYS:
            np.save(sink, getattr(batch, name))
        np.save(sink, np.empty(0, np.int32) if batch.file is None else batch.file)
        content = sink.getvalue()
    temporary.write_bytes(content + hashlib.sha256(content).digest())
    temporary.replace(path)  # no fsync: a file that a power failure truncates is built again


def load_batch(path: Path) -> RecordBatch:
    """Read a batch that `save_batch` wrote. Raises ValueError if it is incomplete or damaged."""
    with _checked(path) as source:
        (start, end, ends_corrupt), corrupt = _read_header(source)
        arrays = {name: read_next(source) for name in ARRAYS}
        file = read_next(source)
    batch = RecordBatch(
        **arrays, start=start, end=end, ends_corrupt=bool(ends_corrupt), corrupt=corrupt
    )
    if len(file) == len(batch.offset):
        batch.file = file
    return batch


def load_header(path: Path) -> tuple[list[int], list[CorruptRecord]]:
    """([start, end, ends_corrupt], corrupt) of a saved batch."""
    with _checked(path) as source:
        return _read_header(source)


def is_complete(path: Path) -> bool:
    """Whether a saved batch exists and can be loaded."""
    try:
        load_batch(path)
    except (OSError, ValueError):
        return False
    return True


def _checked(path: Path) -> io.BytesIO:
    """The arrays of a saved batch, if its digest is theirs: an interrupted call left it."""
    data = path.read_bytes()
    content = data[:-DIGEST_BYTES]
    if hashlib.sha256(content).digest() != data[-DIGEST_BYTES:]:
        raise ValueError(f"{path}: not a complete batch")
    return io.BytesIO(content)


def _read_header(source: BinaryIO) -> tuple[list[int], list[CorruptRecord]]:
    """Leaves `source` at the first of the arrays."""
    header, extents, reasons = (read_next(source).tolist() for _ in range(3))
    corrupt = zip(extents, reasons, strict=True)
    return header, [CorruptRecord(offset, length, reason) for (offset, length), reason in corrupt]
