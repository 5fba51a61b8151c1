"""Catalogues of arrays: a <class>.npy for each class, a row for each product (C1).

uint8 [n, h, w], or [n, h * h] as of Quick, Draw!: one grey value a pixel. Arrays stay where they
are: a picture is a row's bytes behind the header.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.sources.base import Hash, Hashed, Listing, class_names
from lib.errors import UserError


@dataclass(frozen=True)
class ArrayFile:
    """One array file: values uint8 [n, bytes of a row], mapped; offset: bytes of its header."""

    name: str
    values: np.ndarray
    offset: int
    shape: tuple[int, int]


def list_arrays(source: Path, labelled: bool, only: Sequence[str] = (), rows: int = 0) -> Listing:
    """The rows of the arrays in a folder, or of a single one, each a product.

    The class is the array's name. only, rows: these classes alone, the first rows of each; () and
    0 for all. Raises UserError for a file that is no such array, or has
    pictures of another size than the first.
    """
    names = class_names(source, ".npy", only)
    arrays = [_open(root_of(source), name, rows) for name in names]
    codec = _codec(source, arrays)
    counts = [len(one.values) for one in arrays]
    file = np.repeat(np.arange(len(arrays), dtype=np.int32), counts)
    if not len(file):
        raise UserError(f"{source}: its arrays have no rows")
    classes = [one.name.removesuffix(".npy") if labelled else "" for one in arrays]
    return Listing(
        unit="row",
        place=np.arange(1, len(file) + 1),
        keys=[f"{one.name}:{row}" for one in arrays for row in range(len(one.values))],
        labels=[classes[number] for number in file.tolist()],
        image_count=np.ones(len(file), np.int32),
        files=[one.name for one in arrays],
        file=file,
        hashes=_hash_rows(arrays, counts),
        codec=codec,
    )


def root_of(source: Path) -> Path:
    """The folder that names are relative to: `source`, or that of a single file."""
    return source if source.is_dir() else source.parent


def _open(root: Path, name: str, rows: int) -> ArrayFile:
    path = root / name
    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a whole .npy file: {error}") from None
    shape = values.shape[1:]
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        shape = (side, side) if side * side == shape[0] else ()
    if values.dtype != np.uint8 or len(shape) != 2 or 0 in shape or not values.flags.c_contiguous:
        raise UserError(
            f"{path}: {values.dtype} {list(values.shape)}; it must be uint8 [n, height, width],"
            " or [n, side * side], in C order"
        )
    return ArrayFile(
        name, values.reshape(-1, shape[0] * shape[1])[: rows or None], values.offset, shape
    )


def _codec(source: Path, arrays: Sequence[ArrayFile]) -> str:
    height, width = arrays[0].shape
    for one in arrays:
        if one.shape != (height, width):
            raise UserError(
                f"{root_of(source) / one.name}: pictures of {one.shape[0]}x{one.shape[1]}, where"
                f" {arrays[0].name} has {height}x{width}; one size is needed"
            )
    return f"uint8:{height}x{width}"


def _hash_rows(arrays: Sequence[ArrayFile], counts: Sequence[int]) -> Hash:
    """Pictures are numbered through all arrays."""
    starts = np.cumsum([0, *counts])

    def hashes(first: int, last: int) -> Hashed:
        hashed: Hashed = []
        for picture in range(first, last):
            file = int(np.searchsorted(starts, picture, "right")) - 1
            one, row = arrays[file], picture - int(starts[file])
            length = one.values.shape[1]
            digest = hashlib.md5(one.values[row], usedforsecurity=False).digest()
            hashed.append((one.offset + row * length, length, digest))
        return hashed

    return hashes
