"""The images of tables, unpacked into plain files: an image is read by its offset.

Bytes of Parquet are compressed, page by page, and have none.

    00000.images   the bytes of the images of the first file, one after the other
    00000.counts   int32 [rows], images of each row
    00000.lengths  int32 [images]

A table of names of files has nothing to unpack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from lib.data.sources.parquet.table_file import check_columns, iter_batches, read_schema
from lib.data.sources.parquet.values import has_images, images_of
from lib.errors import UserError
from lib.pipeline.reading import reading

MAX_IMAGE_BYTES = np.iinfo(np.int32).max


@dataclass(frozen=True)
class UnpackedImages:
    """The images of all files. count: int64 [rows]; file int32, offset int64, length int64 [I].

    names: of the files, in their folder.
    """

    count: np.ndarray
    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    names: list[str]


def unpack_images(paths: Sequence[Path], column: str, folder: Path) -> dict[str, Any]:
    """Write the images of a column, row by row within bounded memory; returns counts.

    Files that an interrupted call has finished are kept. Raises UserError for a file that cannot be
    read, and if some files have images and others names.
    """
    schemas = [read_schema(path) for path in paths]
    for path, schema in zip(paths, schemas, strict=True):
        check_columns(path, schema, [column])
    with_images = [has_images(schema.field(column).type) for schema in schemas]
    if not any(with_images):
        return {"files": 0, "images": 0}
    if not all(with_images):
        other = paths[with_images.index(False)]
        kind = schemas[with_images.index(False)].field(column).type
        raise UserError(
            f"{other}: column {column} is of type {kind}, but {paths[with_images.index(True)].name}"
            " has images in it; all files must be alike"
        )
    images = 0
    for number, path in enumerate(tqdm(paths, unit=" files", desc="unpacking", disable=None)):
        images += _unpack_file(path, column, folder / f"{number:05d}")
    return {"files": len(paths), "images": images}


def read_unpacked(folder: Path) -> UnpackedImages | None:
    """The places of the unpacked images; None if the table has names of files."""
    names = sorted(path.name for path in folder.glob("*.images"))
    if not names:
        return None
    counts, lengths = [], []
    for name in names:
        path = (folder / name).with_suffix(".counts")
        with reading(path):
            counts.append(np.fromfile(path, np.int32).astype(np.int64))
            lengths.append(np.fromfile(path.with_suffix(".lengths"), np.int32).astype(np.int64))
    return UnpackedImages(
        count=np.concatenate(counts),
        file=np.repeat(np.arange(len(names), dtype=np.int32), [len(one) for one in lengths]),
        offset=np.concatenate([np.cumsum(one) - one for one in lengths]),
        length=np.concatenate(lengths),
        names=names,
    )


def _unpack_file(path: Path, column: str, target: Path) -> int:
    """Unpack one file; returns its images. The file of the counts is written last."""
    done = target.with_suffix(".counts")
    if done.exists():
        return target.with_suffix(".lengths").stat().st_size // 4
    images = 0
    partial = target.with_suffix(".partial")
    with (
        target.with_suffix(".images").open("wb") as sink,
        target.with_suffix(".lengths").open("wb") as lengths,
        partial.open("wb") as counts,
    ):
        for batch in iter_batches(path, [column]):
            count, values = images_of(batch.column(0))
            count.astype(np.int32).tofile(counts)
            images += len(values)
            _write(values, sink, lengths)
    partial.replace(done)
    return images


def _write(values: pa.Array, sink: Any, lengths: Any) -> None:
    """Append images to a file, and their lengths; one without bytes, or of 2 GiB, has length 0."""
    written = []
    for value in values:
        buffer = value.as_buffer() if value.is_valid else None
        size = 0 if buffer is None or buffer.size > MAX_IMAGE_BYTES else buffer.size
        if size:
            sink.write(buffer)
        written.append(size)
    np.array(written, np.int32).tofile(lengths)
