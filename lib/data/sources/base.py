"""Index of a source of many files: a `Listing`, whose images are hashed by threads.

Every kind of source but BSON lists its products as a `Listing`. `index_listing` reads and hashes
the images in chunks, keeps each finished chunk, so that an interrupted call resumes, and writes
the tables of the index.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.data.catalog import Categories
from lib.data.index import SourceInfo, write_index
from lib.data.records import (
    NO_CATEGORY,
    CorruptRecord,
    RecordBatch,
    is_complete,
    load_batch,
    save_batch,
)
from lib.errors import UserError
from lib.pipeline import fingerprint

CHUNK_IMAGES = 100_000  # approximate; the unit of resuming, and of what is kept in memory
BLOCK_IMAGES = 256  # images that a thread takes at a time
MAX_IMAGE_BYTES = np.iinfo(np.int32).max
MAX_ID = 1 << 62  # smaller ids can be subtracted in int64
MAX_SHOWN = 5  # names in a message

ImageHash = tuple[int, int, bytes]  # offset, length and md5 of an image; length 0: it is missing
HashImages = Callable[[int, int], list[ImageHash]]  # for images [first, last) of a listing


@dataclass(frozen=True)
class Listing:
    """The products of a source and the images that belong to them.

    unit: what `location` counts ("line", "file", "row").
    location: int64 [R], of each product.
    keys: [R], the source's own id of each product.
    labels: [R], name of each product's class; "" for none.
    image_count: int32 [R]. Images [I] are numbered in the order of the products.
    files: names, relative to the source's folder.
    hash_images: reads and hashes a range of the images.
    file: int32 [I], index into `files` of each image; None: image i is the file i.
    codec: see `FileTable`.
    product_id: int64 [R] of the keys, as `ids_of_keys` gives it; None: no key is a number.
    groups: int32 [R], products with the same number must be in the same split.
    splits: [R], what the source says of each product's part or fold; None: nothing of any.
    corrupt: the unusable parts of the source.
    cautions: what may be other than meant, one line each; the index reports them.
    image_root: the folder of `files`, if a missing one is worth a look for a name like it.
    size: bytes of the files, if the lengths of `corrupt` are in bytes; else 0.
    """

    unit: str
    location: np.ndarray
    keys: Sequence[str]
    labels: Sequence[str]
    image_count: np.ndarray
    files: Sequence[str]
    hash_images: HashImages
    file: np.ndarray | None = None
    codec: str = "image"
    product_id: np.ndarray | None = None
    groups: np.ndarray | None = None
    splits: Sequence[str] | None = None
    corrupt: Sequence[CorruptRecord] = ()
    cautions: Sequence[str] = ()
    image_root: Path | None = None
    size: int = 0

    @property
    def has_names(self) -> bool:
        """Whether some key is not the number in `product_id`."""
        if self.product_id is None:
            return True
        ids = self.product_id.tolist()
        return any(str(number) != key for number, key in zip(ids, self.keys, strict=True))


def list_files(source: Path, *suffixes: str) -> list[str]:
    """Sorted relative names of the files with these suffixes in a folder and its subfolders.

    Raises UserError if there are none, or if a name is not UTF-8.
    """
    return split_files(source, *suffixes)[0]


def split_files(source: Path, *suffixes: str) -> tuple[list[str], list[str]]:
    """The names of `list_files`, and those of all other files; errors as there.

    A file that is not a regular one, such as a named pipe, is among the others.
    """
    if not source.is_dir():
        raise UserError(f"{source}: not a folder; set data.train or data.test to one")
    names: list[str] = []
    others: list[str] = []
    for name, size in fingerprint.list_files(source):
        is_wanted = name.lower().endswith(suffixes) and size != fingerprint.NOT_REGULAR
        (names if is_wanted else others).append(name)
    if not names:
        found = f"; it has {len(others)} others, such as {others[0]!a}" if others else ""
        raise UserError(f"{source}: no file of the kinds {', '.join(suffixes)} in it{found}")
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"{source}: the name {name!a} is not UTF-8; rename the file") from None
    return names, [name.encode("utf-8", "replace").decode() for name in others]


def list_class_files(source: Path, suffix: str, classes: Sequence[str] = ()) -> list[str]:
    """Names of the files <class><suffix> in a folder; if `source` is a file, its own name.

    classes: only these; () for all. Raises UserError if one of them has no file.
    """
    if source.is_file():
        return [source.name]
    by_class = {name[: -len(suffix)]: name for name in list_files(source, suffix)}
    for name in classes:
        if name not in by_class:
            similar = get_close_matches(name, by_class, 1) or sorted(by_class)[:3]
            raise UserError(
                f"{source}: no file {name}{suffix} for the class {name!a} of data.classes;"
                f" did you mean {', '.join(similar)}?"
            )
    return [name for label, name in by_class.items() if not classes or label in classes]


def root_of(source: Path) -> Path:
    """The folder that names are relative to: `source`, or the folder of a single file."""
    return source if source.is_dir() else source.parent


def id_from_name(key: str) -> int:
    """A product_id for a name, the same in every catalog: 62 bits of its MD5.

    Row numbers would not do: tables and folders are often sorted by class, so the classes of
    neighboring rows would reveal the class of a labelled product, but not that of a new one.
    """
    digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "little") >> 2


def ids_of_keys(keys: Sequence[str]) -> np.ndarray:
    """product_id of each key, int64 [R]: the number that it is, or `id_from_name`.

    A number in its plain form, not 007 or 1e3: only then it can be written as it was read.
    """
    return np.array([_id_of_key(key) for key in keys], np.int64)


def _id_of_key(key: str) -> int:
    try:
        number = int(key)
    except ValueError:  # also for more than 4300 digits
        return id_from_name(key)
    return number if str(number) == key and abs(number) < MAX_ID else id_from_name(key)


def index_listing(
    folder: Path,
    source: Path,
    listing: Listing,
    categories: Categories,
    labelled: bool,
    max_bad_fraction: float,
    threads: int = 1,
    max_missing_fraction: float = 1.0,
) -> dict[str, Any]:
    """Hash the images in `threads` threads and write the tables; returns counts.

    Raises UserError as `write_index` does.
    """
    chunks = folder / "chunks"
    files = _hash_in_parallel(chunks, listing, categories, threads, source.name)
    info = SourceInfo(
        source,
        listing.unit,
        listing.size,
        keys=listing.keys if listing.has_names else None,
        groups=listing.groups if labelled else None,
        splits=listing.splits if labelled else None,
        files=listing.files,
        codec=listing.codec,
        image_root=listing.image_root,
        cautions=[*listing.cautions, *_id_cautions(listing)],
    )
    batches = [lambda file=file: load_batch(file) for file in files]
    facts = write_index(
        folder,
        info,
        batches,
        listing.corrupt,
        categories,
        labelled,
        max_bad_fraction,
        max_missing_fraction,
    )
    for file in files:
        file.unlink()
    chunks.rmdir()
    return facts


def _id_cautions(listing: Listing) -> list[str]:
    """A line that names the ids that are names among numbers; none if all are of one kind."""
    if listing.product_id is None:
        return []
    rows = enumerate(zip(listing.product_id.tolist(), listing.keys, strict=True))
    odd = [row for row, (number, key) in rows if str(number) != key]
    if not odd or len(odd) == len(listing.keys):
        return []
    shown = ", ".join(
        f"{listing.keys[row]!r} ({listing.unit} {listing.location[row]})" for row in odd[:MAX_SHOWN]
    )
    return [
        f"{len(odd)} of {len(listing.keys)} ids are not plain numbers: {shown}"
        f"{', ...' if len(odd) > MAX_SHOWN else ''}; they are names, without features of nearby ids"
    ]


def _hash_in_parallel(
    folder: Path, listing: Listing, categories: Categories, threads: int, name: str
) -> list[Path]:
    """Write one file for each chunk of the images."""
    folder.mkdir(exist_ok=True)
    files = []
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(
            total=int(listing.image_count.sum(dtype=np.int64)),
            unit=" images",
            desc=f"hashing {name}",
            disable=None,
        ) as bar,
    ):
        for products, images in _chunks(listing):
            files.append(folder / f"{products.start:09d}.npy")
            if is_complete(files[-1]):
                bar.update(images.stop - images.start)
                continue
            hashes: list[ImageHash] = []
            starts = range(images.start, images.stop, BLOCK_IMAGES)
            stops = [min(images.stop, start + BLOCK_IMAGES) for start in starts]
            for block in pool.map(listing.hash_images, starts, stops):
                hashes += block
                bar.update(len(block))
            save_batch(_batch(listing, categories, products, images, hashes), files[-1])
    return files


def _chunks(listing: Listing) -> Iterator[tuple[slice, slice]]:
    """Yield (products, images) of chunks of complete products, about CHUNK_IMAGES images each."""
    ends = np.cumsum(listing.image_count, dtype=np.int64)
    cuts = np.searchsorted(ends, np.arange(CHUNK_IMAGES, ends[-1], CHUNK_IMAGES)) + 1
    bounds = np.unique([0, *cuts.tolist(), len(ends)]).tolist()
    for first, last in pairwise(bounds):
        start, stop = (int(ends[row - 1]) if row else 0 for row in (first, last))
        yield slice(first, last), slice(start, stop)


def _batch(
    listing: Listing,
    categories: Categories,
    products: slice,
    images: slice,
    hashes: list[ImageHash],
) -> RecordBatch:
    """The products of a slice, with their images and the hashes of these."""
    labels = listing.labels[products]
    category_ids = {key: category_id for category_id, key in enumerate(categories.keys or [])}
    image_rows = np.arange(images.start, images.stop, dtype=np.int32)
    digests = b"".join(digest for _, _, digest in hashes)
    return RecordBatch(
        location=listing.location[products],
        product_id=_product_ids(listing, products),
        category_id=np.array([category_ids.get(label, NO_CATEGORY) for label in labels], np.int64),
        image_count=listing.image_count[products],
        offset=np.array([offset for offset, _, _ in hashes], np.int64),
        length=np.array([length for _, length, _ in hashes], np.int32),
        md5=np.frombuffer(digests, np.uint8).reshape(-1, 16),
        file=image_rows if listing.file is None else listing.file[images],
    )


def _product_ids(listing: Listing, products: slice) -> np.ndarray:
    if listing.product_id is None:
        return np.array([id_from_name(key) for key in listing.keys[products]], np.int64)
    return listing.product_id[products]


def hash_files(root: Path, names: Sequence[str]) -> HashImages:
    """`Listing.hash_images` for images that are files; an unreadable file counts as empty."""

    def hash_images(first: int, last: int) -> list[ImageHash]:
        return [_hash_file(root / name) for name in names[first:last]]

    return hash_images


def _hash_file(path: Path) -> ImageHash:
    try:
        # A named pipe would block until someone writes to it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read() if is_regular else b""
    except (OSError, ValueError):  # ValueError: the name contains a zero byte
        data = b""
    length = len(data) if len(data) <= MAX_IMAGE_BYTES else 0
    return 0, length, hashlib.md5(data, usedforsecurity=False).digest()


def hash_parts(
    paths: Sequence[Path], file: np.ndarray, offset: np.ndarray, length: np.ndarray
) -> HashImages:
    """`Listing.hash_images` for images that are parts of files: file, offset, length int [I]."""

    def hash_images(first: int, last: int) -> list[ImageHash]:
        hashes: list[ImageHash] = []
        rows = [values[first:last].tolist() for values in (offset, length)]
        for start, stop in _runs(file[first:last]):
            with paths[file[first + start]].open("rb", buffering=0) as source:
                for place, size in zip(rows[0][start:stop], rows[1][start:stop], strict=True):
                    data = os.pread(source.fileno(), size, place)
                    digest = hashlib.md5(data, usedforsecurity=False).digest()
                    hashes.append((place, len(data), digest))
        return hashes

    return hash_images


def _runs(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and stop of each run of equal values."""
    return pairwise([0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)])
