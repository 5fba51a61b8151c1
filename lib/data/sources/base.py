"""Sources of many files: what they list becomes pieces that the index reads (C1).

`Listing` says what a source names, in its own order; the pictures are hashed here, by threads, a
piece at a time. A finished piece is kept, so that a stopped call goes on from there.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.data.catalog import Categories
from lib.data.found import NO_CATEGORY, CorruptRecord, RecordBatch, is_whole, load, save
from lib.data.index import SourceInfo, write_index
from lib.errors import UserError
from lib.fingerprint import files_under

PIECE = 100_000  # pictures, about; what is held of hashes at a time, and the unit of resuming
BLOCK = 256  # pictures that a thread takes at a time
LARGEST = np.iinfo(np.int32).max  # bytes of a picture

Hashed = list[tuple[int, int, bytes]]  # offset, length and md5 of pictures
Hash = Callable[[int, int], Hashed]  # of pictures [first, last); length 0: there is none


@dataclass(frozen=True)
class Listing:
    """The products of a source and the pictures that it names for them.

    Of each product [R]: place int64 (counted in `unit`), its own name, the name of its class (""
    for none), image_count int32. Pictures [I] are numbered in the order of the products; `hashes`
    looks at them. file int32 [I]: the file of each, a place in `files`; None: a file for each.
    numbers int64 [R]: the names, where they are whole numbers. groups int32 [R] and damage: as
    `SourceInfo` and `write_index` take them.
    """

    unit: str
    place: np.ndarray
    keys: Sequence[str]
    labels: Sequence[str]
    image_count: np.ndarray
    files: Sequence[str]
    hashes: Hash
    file: np.ndarray | None = None
    codec: str = "image"
    numbers: np.ndarray | None = None
    groups: np.ndarray | None = None
    damage: Sequence[CorruptRecord] = ()


def names_under(source: Path, *suffixes: str) -> list[str]:
    """Relative names of the files of these kinds below a folder, sorted. Raises UserError for none,
    and for a name that is not UTF-8."""
    if not source.is_dir():
        raise UserError(f"{source}: not a folder; name one in data.train or data.test")
    names = [name for name, _ in files_under(source) if name.lower().endswith(suffixes)]
    if not names:
        raise UserError(f"{source}: no file of the kinds {', '.join(suffixes)} below it")
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"{source}: the name {name!a} is not UTF-8; rename it") from None
    return names


def class_names(source: Path, suffix: str, only: Sequence[str] = ()) -> list[str]:
    """The files <class><suffix> below a folder, or `source` itself, a file.

    only: these classes alone, () for all. Raises UserError for one that is not there.
    """
    if source.is_file():
        return [source.name]
    found = {name[: -len(suffix)]: name for name in names_under(source, suffix)}
    for name in only:
        if name not in found:
            near = get_close_matches(name, found, 1) or sorted(found)[:3]
            raise UserError(
                f"{source}: data.classes names {name!a}, and no {name}{suffix} lies below it;"
                " there is"
                f" {', '.join(near)}"
            )
    return [name for stem, name in found.items() if not only or stem in only]


def number_of(key: str) -> int:
    """A number for a name, the same in every file: 62 bits of its MD5.

    Not its row: tables and folders are often sorted by class, so that the classes of neighbouring
    rows would tell a product's own, which those of new products never do.
    """
    digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "little") >> 2


def index_listed(
    folder: Path,
    path: Path,
    listed: Listing,
    classes: Categories,
    labelled: bool,
    most_damaged: float,
    jobs: int,
) -> dict[str, Any]:
    """Hash what is listed in `jobs` threads and write the tables; raises as `write_index` does."""
    pieces = folder / "pieces"
    files = _spool(pieces, listed, classes, jobs, path.name)
    origin = SourceInfo(
        path,
        listed.unit,
        keys=listed.keys if listed.numbers is None else None,
        groups=listed.groups if labelled else None,
        files=listed.files,
        codec=listed.codec,
    )
    loaders = [lambda file=file: load(file) for file in files]
    facts = write_index(folder, origin, loaders, listed.damage, classes, labelled, most_damaged)
    for file in files:
        file.unlink()
    pieces.rmdir()
    return facts


def _spool(folder: Path, listed: Listing, classes: Categories, jobs: int, name: str) -> list[Path]:
    """One file for each piece of some PIECE pictures, whole products."""
    folder.mkdir(exist_ok=True)
    ends = np.cumsum(listed.image_count, dtype=np.int64)
    images = int(ends[-1])
    cuts = np.searchsorted(ends, np.arange(PIECE, images, PIECE)) + 1
    bounds = np.unique([0, *cuts.tolist(), len(ends)]).tolist()
    files = []
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=images, unit=" pictures", desc=f"hashing {name}", disable=None) as bar,
    ):
        for first, last in pairwise(bounds):
            start, stop = (int(ends[row - 1]) if row else 0 for row in (first, last))
            files.append(folder / f"{first:09d}.npy")
            if is_whole(files[-1]):
                bar.update(stop - start)
                continue
            hashed: Hashed = []
            firsts = range(start, stop, BLOCK)
            lasts = [min(stop, at + BLOCK) for at in firsts]
            for block in pool.map(listed.hashes, firsts, lasts):
                hashed += block
                bar.update(len(block))
            found = _found(listed, classes, slice(first, last), slice(start, stop), hashed)
            save(found, files[-1])
    return files


def _found(
    listed: Listing, classes: Categories, products: slice, images: slice, hashed: Hashed
) -> RecordBatch:
    keys, labels = listed.keys[products], listed.labels[products]
    ids = [number_of(key) for key in keys] if listed.numbers is None else listed.numbers[products]
    known = {key: number for number, key in enumerate(classes.keys or [])}
    own = np.arange(images.start, images.stop, dtype=np.int32)
    digests = b"".join(digest for _, _, digest in hashed)
    return RecordBatch(
        place=listed.place[products],
        product_id=np.array(ids, np.int64),
        category_id=np.array([known.get(label, NO_CATEGORY) for label in labels], np.int64),
        image_count=listed.image_count[products],
        offset=np.array([offset for offset, _, _ in hashed], np.int64),
        length=np.array([length for _, length, _ in hashed], np.int32),
        md5=np.frombuffer(digests, np.uint8).reshape(-1, 16),
        file=own if listed.file is None else listed.file[images],
    )


def hash_files(root: Path, names: Sequence[str]) -> Hash:
    """A file for each picture. One that cannot be read counts as empty."""

    def hashes(first: int, last: int) -> Hashed:
        return [_hash_file(root / name) for name in names[first:last]]

    return hashes


def _hash_file(path: Path) -> tuple[int, int, bytes]:
    try:
        data = path.read_bytes()
    except (OSError, ValueError):  # ValueError: a name that holds a zero byte
        data = b""
    length = len(data) if len(data) <= LARGEST else 0
    return 0, length, hashlib.md5(data, usedforsecurity=False).digest()
