"""A source of Quick, Draw! drawings: one <class>.ndjson per class, one line per product.

Lines stay where they are: an image is the bytes of its line, rasterized when it is read (see
`lib/data/strokes.py`). Gzipped files are unpacked first.
"""

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.records import CorruptRecord
from lib.data.sources.base import (
    HashImages,
    ImageHash,
    Listing,
    ids_of_keys,
    list_class_files,
    root_of,
)
from lib.data.sources.file_kind import check_kind
from lib.data.strokes import parse_drawing
from lib.errors import UserError


@dataclass(frozen=True)
class NdjsonFile:
    """The drawings of one file [n].

    offset: int64, length: int32, of each line. line: int64, its number from 1. key_id: text.
    """

    name: str
    offset: np.ndarray
    length: np.ndarray
    line: np.ndarray
    key_id: list[str]


def list_strokes(
    source: Path,
    labelled: bool,
    bitmap_size: int,
    classes: Sequence[str] = (),
    max_per_class: int = 0,
) -> Listing:
    """List the drawings of the .ndjson files in a folder, or of a single file.

    labelled: whether the name of a file is the class of its drawings.
    bitmap_size: side, in pixels, of the images that they become.
    classes: only these; () for all. max_per_class: only the first drawings of each; 0 for all.
    A line that is not a drawing is corrupt. Raises UserError if there are no drawings.
    """
    root = root_of(source)
    names = list_class_files(source, ".ndjson", classes)
    corrupt: list[CorruptRecord] = []
    files = [_read_lines(root, name, corrupt, max_per_class) for name in names]
    counts = [len(file.offset) for file in files]
    if not sum(counts):
        first = f"; line {corrupt[0].offset} of {corrupt[0].reason}" if corrupt else ""
        raise UserError(f"{source}: no drawings in its files{first}")
    file_index = np.repeat(np.arange(len(files), dtype=np.int32), counts)
    keys = [key for file in files for key in file.key_id]
    labels = [file.name[: -len(".ndjson")] if labelled else "" for file in files]
    return Listing(
        unit="line",
        location=np.concatenate([file.line for file in files]),
        keys=keys,
        labels=[labels[number] for number in file_index.tolist()],
        image_count=np.ones(len(file_index), np.int32),
        files=names,
        file=file_index,
        hash_images=_hash_lines(root, files, counts),
        codec=f"strokes:{bitmap_size}x{bitmap_size}",
        product_id=ids_of_keys(keys),
        corrupt=corrupt,
    )


def _read_lines(
    root: Path, name: str, corrupt: list[CorruptRecord], max_drawings: int
) -> NdjsonFile:
    """The first drawings of a file (0: all); appends lines that are not drawings to `corrupt`."""
    check_kind(root / name, "drawings (ndjson)")
    drawings, keys = [], []
    for number, (offset, line) in enumerate(_iter_lines(root / name), 1):
        if not line.strip():
            continue
        try:
            key_id, _ = parse_drawing(line)
        except ValueError as error:
            corrupt.append(CorruptRecord(number, 0, f"{name}: {error}"))
            continue
        drawings.append((offset, len(line), number))
        keys.append(key_id)
        if len(drawings) == max_drawings:
            break
    columns = np.array(drawings, np.int64).reshape(-1, 3)
    return NdjsonFile(name, columns[:, 0], columns[:, 1].astype(np.int32), columns[:, 2], keys)


def _iter_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of each line."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        start = 0
        while start < len(mapped):
            end = mapped.find(b"\n", start)
            end = len(mapped) if end < 0 else end
            yield start, mapped[start:end]
            start = end + 1


def _hash_lines(root: Path, files: Sequence[NdjsonFile], counts: Sequence[int]) -> HashImages:
    """`Listing.hash_images` for drawings, numbered through all files."""
    starts = np.cumsum([0, *counts])

    def hash_images(first: int, last: int) -> list[ImageHash]:
        hashes: list[ImageHash] = []
        for image in range(first, last):
            number = int(np.searchsorted(starts, image, "right")) - 1
            lines, row = files[number], image - int(starts[number])
            offset, length = int(lines.offset[row]), int(lines.length[row])
            with (root / lines.name).open("rb") as file:
                file.seek(offset)
                data = file.read(length)
            digest = hashlib.md5(_stroke_bytes(data), usedforsecurity=False).digest()
            hashes.append((offset, length, digest))
        return hashes

    return hash_images


def _stroke_bytes(line: bytes) -> bytes:
    """The same bytes for two copies of a drawing, whatever their ids."""
    _, drawing = parse_drawing(line)
    return b"|".join(stroke.tobytes() for stroke in drawing)
