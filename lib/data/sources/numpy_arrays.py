"""A source of numpy arrays: one <class>.npy per class, one row per product.

Arrays are uint8 [n, h, w], or [n, h * h] as in Quick, Draw!: one gray value per pixel. They stay
where they are: an image is the bytes of a row, after the header.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.sources.base import HashImages, ImageHash, Listing, list_class_files, root_of
from lib.data.sources.file_kind import check_kind
from lib.errors import UserError
from lib.utils.npy import open_array


@dataclass(frozen=True)
class ArrayFile:
    """One array file: values uint8 [n, h * w], memory-mapped; offset: bytes of its header.

    shape: (height, width) of an image.
    """

    name: str
    values: np.ndarray
    offset: int
    shape: tuple[int, int]


def list_arrays(
    source: Path, labelled: bool, classes: Sequence[str] = (), max_per_class: int = 0
) -> Listing:
    """List the rows of the arrays in a folder, or of a single array file.

    labelled: whether the name of an array is the class of its rows.
    classes: only these; () for all. max_per_class: only the first rows of each array; 0 for all.
    Raises UserError for a file that is not such an array, and for images of different sizes.
    """
    names = list_class_files(source, ".npy", classes)
    arrays = [_open_array(root_of(source) / name, name, max_per_class) for name in names]
    codec = _common_codec(source, arrays)
    counts = [len(array.values) for array in arrays]
    file = np.repeat(np.arange(len(arrays), dtype=np.int32), counts)
    if not len(file):
        raise UserError(f"{source}: its arrays have no rows")
    labels = [array.name[: -len(".npy")] if labelled else "" for array in arrays]
    return Listing(
        unit="row",
        location=np.arange(1, len(file) + 1),
        keys=[f"{array.name}:{row}" for array in arrays for row in range(len(array.values))],
        labels=[labels[number] for number in file.tolist()],
        image_count=np.ones(len(file), np.int32),
        files=[array.name for array in arrays],
        file=file,
        hash_images=_hash_rows(arrays, counts),
        codec=codec,
    )


def _open_array(path: Path, name: str, max_rows: int) -> ArrayFile:
    if path.is_file():
        check_kind(path, "a numpy array", "a numpy array")
    try:
        values = open_array(path)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    shape = _image_shape(values)
    if values.dtype != np.uint8 or shape is None or not values.flags.c_contiguous:
        raise UserError(
            f"{path}: {values.dtype} {list(values.shape)}; it must be uint8 [n, height, width],"
            " or [n, side * side], in C order"
        )
    rows = values.reshape(-1, shape[0] * shape[1])[: max_rows or None]
    return ArrayFile(name, rows, values.offset, shape)


def _image_shape(values: np.ndarray) -> tuple[int, int] | None:
    """(height, width) of the rows of an array; None if they are not images."""
    if values.ndim == 2:
        side = math.isqrt(values.shape[1])
        shape = (side, side) if side * side == values.shape[1] else (0, 0)
    else:
        shape = values.shape[1:] if values.ndim == 3 else (0, 0)
    return None if 0 in shape else shape


def _common_codec(source: Path, arrays: Sequence[ArrayFile]) -> str:
    height, width = arrays[0].shape
    for array in arrays:
        if array.shape != (height, width):
            raise UserError(
                f"{root_of(source) / array.name}: images of {array.shape[0]}x{array.shape[1]}, but"
                f" {arrays[0].name} has {height}x{width}; all must have one size"
            )
    return f"uint8:{height}x{width}"


def _hash_rows(arrays: Sequence[ArrayFile], counts: Sequence[int]) -> HashImages:
    """`Listing.hash_images` for rows, numbered through all arrays."""
    starts = np.cumsum([0, *counts])

    def hash_images(first: int, last: int) -> list[ImageHash]:
        hashes: list[ImageHash] = []
        for image in range(first, last):
            number = int(np.searchsorted(starts, image, "right")) - 1
            array, row = arrays[number], image - int(starts[number])
            length = array.values.shape[1]
            digest = hashlib.md5(array.values[row], usedforsecurity=False).digest()
            hashes.append((array.offset + row * length, length, digest))
        return hashes

    return hash_images
