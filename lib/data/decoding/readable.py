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

from lib.data.image_reader import ImageReader
from lib.data.subset.tables import write_subset
from lib.errors import UserError
from lib.pipeline.reading import load_array, map_array
from lib.utils.chunks import chunks
from lib.utils.files import atomic_write

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
    counts_left = write_subset(folder, index, reader.catalog, decoded)
    lost = int(((counts_left == 0) & (reader.catalog.image_count > 0)).sum())
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
