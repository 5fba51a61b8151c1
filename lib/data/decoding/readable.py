"""Leave out the images that cannot be decoded: the index without them, and a list of them.

A product keeps its other images. One without any is kept too, as a product without images, so that
no later stage takes a placeholder for what the product looks like.
"""

import csv
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lib.data.catalog import Catalog, read_table, write_table
from lib.data.image_reader import ImageReader
from lib.errors import UserError
from lib.pipeline.reading import load_array, map_array
from lib.utils.chunks import chunks
from lib.utils.files import atomic_write
from lib.utils.groups import position_in_group

logger = logging.getLogger(__name__)

LIST = "undecodable.csv"
COLUMNS = ("file", "byte", "product", "reason")
CHUNK_ROWS = 1 << 16
MAX_REASONS, OTHER = 20, "others"  # reasons that are counted apart


def leave_out_undecodable(
    folder: Path, index: Path, reader: ImageReader, max_fraction: float = 1.0
) -> dict[str, Any]:
    """Leave out what `decoded.npy` (bool [I]) in `folder` says no, where that is any image.

    Drops the rows of `embeddings.npy`, writes the index without these images beside it, lists them
    in undecodable.csv, and warns. index: the folder of the whole index, which the reader reads.
    Returns counts. Raises UserError if more than `max_fraction` of the images cannot be decoded.
    """
    decoded = load_array(folder / "decoded.npy")
    rows = np.flatnonzero(~decoded)
    if len(rows) == 0:
        return {"undecodable": 0}
    reasons = write_list(folder / LIST, reader, rows)
    most = "; ".join(f"{count:,} x {reason}" for reason, count in reasons.most_common(3))
    counts = f"{len(rows):,} of {len(decoded):,} images cannot be decoded"
    found = f"{reader.catalog.path}: {counts} ({most})"
    if len(rows) > max_fraction * len(decoded):
        raise UserError(
            f"{found}; so many are one fault; all are listed in {folder / LIST}; mend the files, or"
            " raise data.max_missing_fraction"
        )
    lost = write_index_of(folder, index, reader.catalog, decoded)
    drop_rows(folder / "embeddings.npy", decoded)
    logger.warning(
        "%s and are left out; %s products have no other image; all are listed in %s; pass --strict"
        " to stop at them",
        found,
        f"{lost:,}",
        folder.with_name(folder.name.removesuffix(".partial")) / LIST,
    )
    return {"undecodable": len(rows), "products_without_readable_image": lost, "reasons": reasons}


def check_strict(folder: Path, source: Path) -> None:
    """Raise UserError if the images listed in `folder` were left out (`--strict`)."""
    path = folder / LIST
    if path.exists():
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            first = next(csv.DictReader(file))
        raise UserError(
            f"{source}: --strict: images cannot be decoded, the first {first['file']} of product"
            f" {first['product']}: {first['reason']}; all are listed in {path}; repair them or run"
            " without --strict"
        )


def write_list(path: Path, reader: ImageReader, rows: np.ndarray) -> Counter[str]:
    """Write one line for each image in `rows` (int64 [n]); returns how often each reason occurs.

    The lines are written as they are found, so that memory does not grow with their number.
    """
    catalog, counts = reader.catalog, Counter[str]()
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for row in rows.tolist():
            reason = reader.undecodable_reason(row) or "readable only now; the file has changed"
            product = catalog.key(int(catalog.image_product[row]))
            file_number = reader.byte_reader.file_of(row)
            name = catalog.path if catalog.files is None else catalog.files.names[file_number]
            lines.writerow((str(name), int(catalog.offset[row]), product, reason))
            counts[reason if len(counts) < MAX_REASONS or reason in counts else OTHER] += 1
    return counts


def write_index_of(folder: Path, index: Path, catalog: Catalog, keep: np.ndarray) -> int:
    """Write the tables of `index` to `folder` with the images `keep` (bool [I]) alone.

    catalog: as read from `index`. Returns the number of products that lose all of their images.
    """
    product = catalog.image_product[keep]
    counts = np.bincount(product, minlength=len(catalog.product_id))
    products = read_table(index / "products.arrow")
    columns: dict[str, Any] = {n: products[n].combine_chunks() for n in products.column_names}
    columns["first_image"] = np.cumsum(counts) - counts
    columns["image_count"] = counts.astype(np.int16)
    write_table(folder / "products.arrow", columns)
    images = {
        "product": product,
        "position": position_in_group(product).astype(np.int16),
        "offset": catalog.offset[keep],
        "length": catalog.length[keep],
        "md5": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(product), [None, pa.py_buffer(catalog.md5[keep])]
        ),
    }
    write_table(folder / "images.arrow", images)
    if catalog.files is not None:
        _write_files(folder, index, catalog.files.first_image, keep)
    return int(((counts == 0) & (catalog.image_count > 0)).sum())


def _write_files(folder: Path, index: Path, first_image: np.ndarray, keep: np.ndarray) -> None:
    """The files that still hold an image, and the first one of each."""
    count = np.add.reduceat(keep, first_image, dtype=np.int64)
    table = read_table(index / "files.arrow").filter(pa.array(count > 0))
    columns: dict[str, Any] = {n: table[n].combine_chunks() for n in table.column_names}
    columns["first_image"] = (np.cumsum(count) - count)[count > 0]
    write_table(folder / "files.arrow", columns)


def drop_rows(path: Path, keep: np.ndarray) -> None:
    """Leave only the rows `keep` (bool [n]) in a .npy file, without reading all of it at once."""
    rows = map_array(path)
    with atomic_write(path) as temporary:
        shape = (int(keep.sum()), *rows.shape[1:])
        kept = np.lib.format.open_memmap(temporary, "w+", rows.dtype, shape)
        done = 0
        for chunk in chunks(len(rows), CHUNK_ROWS):
            part = rows[chunk][keep[chunk]]
            kept[done : done + len(part)] = part
            done += len(part)
        kept.flush()
