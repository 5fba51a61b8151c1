"""Drawings as strokes: the simplified ndjson of Quick, Draw!, and how strokes become pixels (Q8).

A line is {"key_id": "5152802093400064", "drawing": [[[x, ...], [y, ...]], ...], ...}: strokes in
the order in which they were drawn, in a square of 256 units whose left and upper edges the drawing
touches. Lines stay where they are: a picture is a line's bytes in its file.

The rule of `raster` is that of the bitmaps that come with the data: the drawing is centred in its
square, a margin of 16 units is left around it and room for the line, which is 16 units wide with
round ends, and a pixel is as bright as the share of it that the line covers.
"""

import gzip
import hashlib
import json
import mmap
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from lib.artifacts import replacing
from lib.data.found import CorruptRecord
from lib.data.sources.base import Hash, Hashed, Listing, class_names
from lib.errors import UserError

PACKED = ".ndjson.gz"
SQUARE, MARGIN, LINE = 256, 16, 16  # units
FINER = 14  # pixels of the raster that a pixel is the mean of, by side
POINTS = 4  # binary places of a coordinate in the raster

Drawing = list[np.ndarray]  # strokes: int16 [points, 2], x and y


@dataclass(frozen=True)
class NdjsonFile:
    """The lines of one file: offset int64, length int32 and number (from 1) int64 of each, and the
    drawing's own id, int64."""

    name: str
    offset: np.ndarray
    length: np.ndarray
    number: np.ndarray
    key: np.ndarray


def parse(line: bytes) -> tuple[int, Drawing]:
    """(key_id, strokes) of a line. Raises ValueError, in words, for what is no drawing."""
    try:
        record = json.loads(line)
        key = int(record["key_id"])
        strokes = [np.array(stroke[:2], np.float64).T for stroke in record["drawing"]]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"no drawing: {type(error).__name__}") from None
    if not strokes or any(s.ndim != 2 or s.shape[1] != 2 or len(s) == 0 for s in strokes):
        raise ValueError("a drawing without strokes, or a stroke without points")
    if min(s.min() for s in strokes) < 0 or max(s.max() for s in strokes) >= SQUARE:
        raise ValueError(f"coordinates outside of 0 to {SQUARE - 1}")
    return key, [stroke.astype(np.int16) for stroke in strokes]


def raster(drawing: Drawing, side: int) -> np.ndarray:
    """uint8 [side, side]: light lines on black, by the rule above."""
    scale = side * FINER / (SQUARE + 2 * MARGIN + LINE)
    reach = np.max([stroke.max(0) for stroke in drawing], axis=0)
    shift = (SQUARE - reach) / 2 + MARGIN + LINE / 2
    canvas = np.zeros((side * FINER, side * FINER), np.uint8)
    width = max(1, int(LINE * scale))
    for stroke in drawing:
        dot = np.repeat(stroke, 1 + (len(stroke) == 1), axis=0)  # a line from it to itself
        points = np.round((dot + shift) * scale * (1 << POINTS)).astype(np.int32)
        cv2.polylines(canvas, [points], False, 255, width, cv2.LINE_8, POINTS)
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)


def begun(drawing: Drawing, share: float) -> Drawing:
    """The first `share` (above 0, to 1) of the drawing's way, as it was after that much of it.

    The way is the length of its lines; a stroke that is under way ends where the pen is. A drawing
    of a single point has no way, and is whole at once.
    """
    steps = [np.hypot(*np.diff(stroke.astype(np.float64), axis=0).T) for stroke in drawing]
    left = share * sum(float(step.sum()) for step in steps)
    found: Drawing = []
    for stroke, step in zip(drawing, steps, strict=True):
        if left <= 0 and found:
            break
        ends = np.cumsum(step)
        whole = int(np.searchsorted(ends, left + 1e-9, "right"))
        part = stroke[: whole + 1].astype(np.float64)
        if whole < len(step):
            rest = left - (ends[whole - 1] if whole else 0.0)
            toward = stroke[whole + 1].astype(np.float64) - stroke[whole]
            part = np.vstack([part, stroke[whole] + toward * rest / step[whole]])
        found.append(np.round(part).astype(np.int16))
        left -= float(ends[-1]) if len(ends) else 0.0
    return found


def fitted(drawing: Drawing) -> Drawing:
    """Moved to the left and upper edges of the square and enlarged until it meets a third, as whole
    drawings come: what has begun then says nothing of how far it will reach."""
    low = np.min([stroke.min(0) for stroke in drawing], axis=0)
    reach = int(np.max([(stroke - low).max() for stroke in drawing]))
    scale = (SQUARE - 1) / reach if reach else 1.0
    return [np.round((stroke - low) * scale).astype(np.int16) for stroke in drawing]


def list_strokes(
    source: Path, labelled: bool, side: int, only: Sequence[str] = (), rows: int = 0
) -> Listing:
    """The drawings of the .ndjson files in a folder, or of a single file, each a product.

    The class is the file's name. only, rows: these classes alone, the first drawings of each; ()
    and 0 for all. side: pixels of the pictures that they become. A line that holds no drawing is
    damage. Raises UserError for a folder without such files, and for files without a drawing.
    """
    root = source if source.is_dir() else source.parent
    names = class_names(source, ".ndjson", only)
    damage: list[CorruptRecord] = []
    files = [_lines(root, name, damage, rows) for name in names]
    counts = [len(one.offset) for one in files]
    if not sum(counts):
        raise UserError(f"{source}: its files hold no drawing")
    file = np.repeat(np.arange(len(files), dtype=np.int32), counts)
    numbers = np.concatenate([one.key for one in files])
    classes = [one.name.removesuffix(".ndjson") if labelled else "" for one in files]
    return Listing(
        unit="line",
        place=np.concatenate([one.number for one in files]),
        keys=[str(key) for key in numbers.tolist()],
        labels=[classes[number] for number in file.tolist()],
        image_count=np.ones(len(file), np.int32),
        files=names,
        file=file,
        hashes=_hash_lines(root, files, counts),
        codec=f"strokes:{side}x{side}",
        numbers=numbers,
        damage=damage,
    )


def packed(source: Path, only: Sequence[str] = ()) -> list[Path]:
    """The gzipped files of a source: of these classes alone, () for all."""
    files = [source] if source.is_file() else sorted(source.glob(f"*{PACKED}"))
    files = [path for path in files if path.name.endswith(PACKED)]
    return [path for path in files if not only or path.name.removesuffix(PACKED) in only]


def unpack(source: Path, folder: Path, only: Sequence[str] = ()) -> int:
    """Unpack what is `packed` into `folder`; how many files.

    A picture is read by its place in a file, which a packed one does not have. What is there
    already stays. Raises UserError for a file that is no whole gzip.
    """
    files = packed(source, only)
    for path in tqdm(files, unit=" files", desc="unpacking", disable=None):
        target = folder / path.name.removesuffix(".gz")
        if target.exists():
            continue
        try:
            with (
                replacing(target) as temporary,
                gzip.open(path) as given,
                temporary.open("wb") as sink,
            ):
                shutil.copyfileobj(given, sink)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{path}: not a whole gzip file ({error}); fetch it again") from None
    return len(files)


def _lines(root: Path, name: str, damage: list[CorruptRecord], rows: int) -> NdjsonFile:
    found = []
    for number, (offset, line) in enumerate(_cut(root / name), 1):
        if not line.strip():
            continue
        try:
            key, _ = parse(line)
        except ValueError as error:
            damage.append(CorruptRecord(number, 0, f"{name}: {error}"))
            continue
        found.append((offset, len(line), number, key))
        if len(found) == rows:
            break
    columns = np.array(found, np.int64).reshape(-1, 4)
    return NdjsonFile(
        name, columns[:, 0], columns[:, 1].astype(np.int32), columns[:, 2], columns[:, 3]
    )


def _cut(path: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of each line."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        start = 0
        while start < len(mapped):
            end = mapped.find(b"\n", start)
            end = len(mapped) if end < 0 else end
            yield start, mapped[start:end]
            start = end + 1


def _hash_lines(root: Path, files: Sequence[NdjsonFile], counts: Sequence[int]) -> Hash:
    """Drawings are numbered through all files."""
    starts = np.cumsum([0, *counts])

    def hashes(first: int, last: int) -> Hashed:
        hashed: Hashed = []
        for picture in range(first, last):
            number = int(np.searchsorted(starts, picture, "right")) - 1
            one, row = files[number], picture - int(starts[number])
            offset, length = int(one.offset[row]), int(one.length[row])
            with (root / one.name).open("rb") as file:
                file.seek(offset)
                data = file.read(length)
            digest = hashlib.md5(_strokes_of(data), usedforsecurity=False).digest()
            hashed.append((offset, length, digest))
        return hashed

    return hashes


def _strokes_of(line: bytes) -> bytes:
    """What two copies of a drawing share: not their ids."""
    _, drawing = parse(line)
    return b"|".join(stroke.tobytes() for stroke in drawing)
