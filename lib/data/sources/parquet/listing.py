"""A source of Parquet or Arrow tables: a row is a product, with its images or their names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lib.config.data import Data
from lib.data.records import MAX_IMAGES, CorruptRecord
from lib.data.sources.base import Listing, hash_parts, ids_of_keys
from lib.data.sources.csv_table import (
    ProductRows,
    check_products,
    group_numbers,
    list_files_of_rows,
    product_columns,
    read_products,
    row_cautions,
)
from lib.data.sources.parquet.table_file import class_names, iter_batches, read_schema
from lib.data.sources.parquet.unpack import UnpackedImages, read_unpacked
from lib.data.sources.parquet.values import file_names_of, texts_of
from lib.errors import UserError

BATCH_ROWS = 1 << 14  # without images


def list_rows(
    source: Path, paths: Sequence[Path], unpacked: Path, labelled: bool, root: Path, data: Data
) -> Listing:
    """List the products of tables, in the order of their rows; the first of all rows is row 1.

    source: named in messages. paths: the files. unpacked: the folder that `unpack_images` filled.
    labelled: whether to read the columns of classes, groups and parts. root: the folder that names
    of images are relative to.
    Rows of one id that follow each other are one product, as in a CSV. A row without an id, and a
    product of too many images, are corrupt. Raises UserError for a table that cannot be read.
    """
    images = read_unpacked(unpacked)
    corrupt: list[CorruptRecord] = []
    columns = product_columns(labelled, data)
    lines = _iter_rows(paths, columns, data, images)
    rows = read_products(lines, columns, labelled, data, corrupt)
    if images is None:
        return list_files_of_rows(source, rows, "row", labelled, root, data, corrupt)
    return _list_unpacked(source, rows, images, unpacked, labelled, data, corrupt)


def iter_texts(
    path: Path, columns: Sequence[str], id_column: str
) -> Iterator[tuple[str, list[str]]]:
    """Yield the id of each row, and the texts of `columns`, "" for null.

    Without an id column, the id is the name of the file and the row: "new.parquet:17".
    """
    schema = read_schema(path)
    wanted = list(dict.fromkeys([*columns, *([id_column] if id_column else [])]))
    names = {column: class_names(schema, column) for column in wanted}
    row = 0
    for batch in iter_batches(path, wanted or schema.names[:1], BATCH_ROWS):
        texts = {c: texts_of(path, c, batch.column(c), names[c]) for c in wanted}
        for place in range(batch.num_rows):
            row += 1
            key = texts[id_column][place] if id_column else f"{path.name}:{row}"
            yield key or "", [texts[column][place] or "" for column in columns]


def _iter_rows(
    paths: Sequence[Path], columns: Sequence[str], data: Data, images: UnpackedImages | None
) -> Iterator[tuple[int, list[str]]]:
    """Yield row and values of `columns` of each row of all files.

    The value of an unpacked column of images is their numbers, first and last, as in 7:9.
    """
    others = [c for c in columns if c not in (data.id_column, data.images_column)]
    row, first = 0, 0
    for path in paths:
        names = _image_names(path, data.images_column) if images is None else None
        for key, texts in iter_texts(path, others, data.id_column):
            if names is not None:
                value = next(names)
            else:
                assert images is not None
                if row == len(images.count):
                    raise UserError(f"{path}: has more rows than when its images were unpacked")
                value = f"{first}:{first + images.count[row]}"
                first += int(images.count[row])
            row += 1
            said = dict(zip(others, texts, strict=True))
            said |= {data.id_column: key, data.images_column: value}
            yield row, [said[column] for column in columns]


def _image_names(path: Path, column: str) -> Iterator[str]:
    for batch in iter_batches(path, [column], BATCH_ROWS):
        yield from file_names_of(path, column, batch.column(0))


def _list_unpacked(
    source: Path,
    rows: ProductRows,
    images: UnpackedImages,
    folder: Path,
    labelled: bool,
    data: Data,
    corrupt: list[CorruptRecord],
) -> Listing:
    """The products of a table that has the images themselves."""
    spans = [[tuple(map(int, text.split(":"))) for text in texts] for texts in rows.images]
    counts = np.array([sum(stop - start for start, stop in product) for product in spans], np.int64)
    kept = np.flatnonzero(counts <= MAX_IMAGES).tolist()
    for row in np.flatnonzero(counts > MAX_IMAGES).tolist():
        corrupt.append(CorruptRecord(rows.lines[row], 0, f"more than {MAX_IMAGES} images"))
    check_products(source, rows if kept else ProductRows(), "row", corrupt)
    numbers = [np.arange(*span) for row in kept for span in spans[row]]
    image = np.concatenate([np.empty(0, np.int64), *numbers]).astype(np.int64)
    paths = [folder / name for name in images.names]
    file, offset, length = images.file[image], images.offset[image], images.length[image]

    def of_kept(values: Sequence[str]) -> list[str]:
        return [values[row] for row in kept]

    keys = of_kept(rows.keys)
    return Listing(
        unit="row",
        location=np.array(rows.lines, np.int64)[kept],
        keys=keys,
        labels=of_kept(rows.labels),
        image_count=counts[kept].astype(np.int32),
        files=images.names,
        file=file,
        hash_images=hash_parts(paths, file, offset, length),
        product_id=ids_of_keys(keys) if data.id_column else None,
        groups=group_numbers(of_kept(rows.groups)) if data.group_column and labelled else None,
        splits=of_kept(rows.splits) if data.split_column and labelled else None,
        corrupt=corrupt,
        cautions=row_cautions(rows, data),
    )
