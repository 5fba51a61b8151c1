"""The tables of an index with some of its products and images alone"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lib.data.catalog import Catalog, read_table, write_table
from lib.utils.groups import position_in_group


def write_subset(
    folder: Path,
    index: Path,
    catalog: Catalog,
    images: np.ndarray,
    products: np.ndarray | None = None,
) -> np.ndarray:
    """Write the tables of `index` to `folder` with some images and products alone.

    catalog: as read from `index`. images: bool [I]. products: bool [P], None for all; those without
    an image are kept. Offsets point into the original files, which are not copied.
    Returns the number of images of each product that is kept.
    """
    if products is not None:
        images = images & products[catalog.image_product]
    kept = np.ones(len(catalog.product_id), bool) if products is None else products
    row = np.cumsum(kept) - 1  # of a kept product
    product = row[catalog.image_product[images]].astype(np.int32)
    counts = np.bincount(product, minlength=int(kept.sum()))
    table = read_table(index / "products.arrow")
    columns: dict[str, Any] = {
        name: table[name].combine_chunks().filter(pa.array(kept)) for name in table.column_names
    }
    columns["first_image"] = np.cumsum(counts) - counts
    columns["image_count"] = counts.astype(np.int16)
    write_table(folder / "products.arrow", columns)
    md5 = np.ascontiguousarray(catalog.md5[images])
    of_images = {
        "product": product,
        "position": position_in_group(product).astype(np.int16),
        "offset": catalog.offset[images],
        "length": catalog.length[images],
        "md5": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(product), [None, pa.py_buffer(md5)]
        ),
    }
    write_table(folder / "images.arrow", of_images)
    if catalog.files is not None:
        _write_files(folder, index, catalog.files.first_image, images)
    return counts


def _write_files(folder: Path, index: Path, first_image: np.ndarray, keep: np.ndarray) -> None:
    """The files that still hold an image, and the first one of each."""
    count = np.add.reduceat(keep, first_image, dtype=np.int64)
    table = read_table(index / "files.arrow").filter(pa.array(count > 0))
    columns: dict[str, Any] = {n: table[n].combine_chunks() for n in table.column_names}
    columns["first_image"] = (np.cumsum(count) - count)[count > 0]
    write_table(folder / "files.arrow", columns)
