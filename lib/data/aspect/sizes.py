"""Sizes of the images of a catalog, read from the headers of their files by threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lib.data.byte_reader import ByteReader
from lib.data.catalog import Catalog
from lib.data.decoding.image_size import image_size
from lib.utils.chunks import chunks
from lib.utils.prefetch import prefetch

HEADER_BYTES = 16 << 10  # of a file; the rest is read only if the size is not in them
CHUNK_ROWS = 256
AHEAD = 2  # chunks in flight per thread
FILE = "sizes.npy"


def write_sizes(folder: Path, catalog: Catalog, threads: int) -> dict[str, int]:
    """Write sizes.npy, int32 [I, 2]: height and width of each image as it is shown.

    (0, 0) for an image whose header cannot be read. Returns counts for the manifest.
    """
    sizes = read_sizes(catalog, threads)
    np.save(folder / FILE, sizes)
    return {"images": len(sizes), "unknown": int((sizes == 0).any(axis=1).sum())}


def read_sizes(catalog: Catalog, threads: int, images: np.ndarray | None = None) -> np.ndarray:
    """int32 [n, 2], as `write_sizes` writes it, of some images (rows of the catalog) or of all."""
    if images is None:
        images = np.arange(len(catalog.length))
    num_images = len(images)
    stored = _stored_size(catalog)
    if stored is not None:
        return np.tile(np.array(stored, np.int32), (num_images, 1))
    sizes = np.zeros((num_images, 2), np.int32)
    reader = ByteReader(catalog)
    length = reader.length

    def read(rows: slice) -> tuple[slice, list[tuple[int, int]]]:
        return rows, [_size_of(reader, row, int(length[row])) for row in images[rows].tolist()]

    try:
        with ThreadPoolExecutor(max(1, threads)) as pool:
            for rows, found in prefetch(
                pool, chunks(num_images, CHUNK_ROWS), read, AHEAD * threads
            ):
                sizes[rows] = found
    finally:
        reader.close()
    return sizes


def _stored_size(catalog: Catalog) -> tuple[int, int] | None:
    """Height and width of drawings and bitmaps, which all have one size; None for image files."""
    codec = "image" if catalog.files is None else catalog.files.codec
    if codec == "image":
        return None
    height, width = (int(side) for side in codec.partition(":")[2].split("x"))
    return height, width


def _size_of(reader: ByteReader, row: int, length: int) -> tuple[int, int]:
    if length > HEADER_BYTES:
        size = image_size(reader.read_start(row, HEADER_BYTES), whole=False)
        if size is not None:
            return size
    return image_size(reader.read(row)) or (0, 0)
