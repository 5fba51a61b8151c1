"""Drawings: lines of ndjson, plain and gzipped."""

import gzip
import json
import random
from pathlib import Path

import numpy as np

from lib.data.image_reader import ImageReader
from lib.data.sources.packed_files import unpack
from lib.data.sources.quickdraw import list_strokes
from lib.data.strokes import normalize_strokes, parse_drawing, truncate_strokes
from tests.data.source_index import index_source
from tests.fuzz.family import Family, clear, write


def make_seeds(folder: Path) -> list[bytes]:
    """Files of a few drawings."""
    drawings = [[[[0, 255, 3], [7, 0, 255]]], [[[5], [5]], [[0, 9], [3, 3]]]]
    lines = [
        json.dumps({"key_id": str(5 * 10**15 + n), "word": "cat", "drawing": d})
        for n, d in enumerate(drawings * 2)
    ]
    return ["\n".join(lines).encode(), (lines[0] + "\n").encode()]


def read(data: bytes, inside: Path) -> str | None:
    """Index the drawings of two classes and draw them."""
    folder = clear(inside / "drawings")
    write(folder / "cat.ndjson", data)
    write(folder / "dog.ndjson", b'{"key_id":"1","drawing":[[[0,1],[0,255]]]}\n')
    listing = list_strokes(folder, True, 28)
    facts, indexed, _ = index_source(clear(inside / "index"), folder, folder, listing, 1.0)
    with ImageReader(indexed, (28, 28), 1) as reader:
        for row in range(min(4, len(indexed.length))):
            reader.decode(row)
            _, drawing = parse_drawing(reader.byte_reader.read(row))
            normalize_strokes(truncate_strokes(drawing, 0.5))
        if np.any(reader.corrupt):
            raise AssertionError("a drawing of the index cannot be read")
    return "passed over" if facts["bad_records"] else None


def packed_seeds(folder: Path) -> list[bytes]:
    """The same, gzipped."""
    return [gzip.compress(seed, mtime=0) for seed in make_seeds(folder)]


def read_packed(data: bytes, inside: Path) -> str | None:
    """Unpack drawings, and list them."""
    source, folder = clear(inside / "packed"), clear(inside / "unpacked")
    write(source / "cat.ndjson.gz", data)
    unpack(source, folder)
    return "passed over" if list_strokes(folder, True, 28).corrupt else None


def pack_a_bomb(rng: random.Random, data: bytes) -> bytes:
    """A small file that unpacks to many zeros, or to one long line."""
    unit = rng.choice([b"\0", b"[", b'{"a":', b"[],", b" "])
    size = rng.choice([1 << 20] * 20 + [1 << 24] * 4 + [1 << 27])
    return gzip.compress(unit * (size // len(unit)), 9 if size < 1 << 25 else 1, mtime=0)


def pack_again(rng: random.Random, data: bytes) -> bytes:
    """Several members, or a packed copy of the file itself."""
    return rng.choice([data + data, gzip.compress(data, mtime=0), data + b"\0" * 9])


WORDS = (
    b'"drawing":',
    b'"key_id":',
    b"[[[0],[0]]]",
    b"null",
    b"1e400",
    b"-1",
    b"true",
    b"\\ud800",
    b"{}",
)
FAMILIES = [
    Family("strokes-plain", make_seeds, read, tokens=WORDS, weight=0.6),
    Family(
        "strokes-packed",
        packed_seeds,
        read_packed,
        own=(pack_a_bomb, pack_again),
        tokens=(b"\x1f\x8b\x08",),
        weight=0.4,
    ),
]
