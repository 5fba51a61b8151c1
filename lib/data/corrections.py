"""Corrected labels: a table beside the original, which stays as it is

    product,class
    4711,Men/Tops/Hoodies

products.arrow of the index then has the corrected labels in `class_id`, and in `given_class_id`
those of the original.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.catalog import Catalog, Categories, read_catalog, write_table
from lib.data.sources.text_table import read_rows
from lib.errors import UserError
from lib.pipeline.reading import read_table
from lib.utils.files import atomic_write

COLUMNS = ("product", "class")
TABLE, GIVEN = "products.arrow", "given_class_id"


def read_class_table(path: Path, categories: Categories) -> dict[str, int]:
    """The class_id of each product of a table with COLUMNS; rows without a class are passed over.

    Raises UserError for an unknown class, two classes of one product, and a row that is damaged.
    """
    number = {categories.key(class_id): class_id for class_id in range(len(categories))}
    classes: dict[str, int] = {}
    damaged: list[Any] = []
    for line, (product, name) in read_rows(path, COLUMNS, damaged):
        if not name:
            continue
        if name not in number:
            raise UserError(f"{path}: line {line}: {name} is no class of the catalog")
        if classes.setdefault(product, number[name]) != number[name]:
            raise UserError(f"{path}: line {line}: {product} has two classes")
    if damaged:
        raise UserError(f"{path}: {damaged[0]}; export the table again")
    return classes


def correct_labels(folder: Path, path: Path, categories: Categories) -> dict[str, int]:
    """Give the labelled products of the index in `folder` the classes of a table.

    Returns how many labels it changes, and how many products of it have their class already.
    Raises UserError as `read_class_table`, and for a product that is not in the index.
    """
    classes = read_class_table(path, categories)
    rows = find_products(read_catalog(folder, path), list(classes))
    unknown = [product for product, row in zip(classes, rows.tolist(), strict=True) if row < 0]
    if unknown:
        raise UserError(
            f"{path}: {len(unknown):,} of its {len(classes):,} products are not among the labelled"
            f" ones, the first is {unknown[0]}"
        )
    table = read_table(folder / TABLE, "class_id")
    # The column is there if an earlier build was killed after it had written the table.
    given = table[GIVEN if GIVEN in table.column_names else "class_id"].to_numpy()
    label = given.copy()
    label[rows] = list(classes.values())
    columns: dict[str, Any] = {n: table[n].combine_chunks() for n in table.column_names}
    with atomic_write(folder / TABLE) as temporary:  # the columns are mapped from the old file
        write_table(temporary, {**columns, "class_id": label, GIVEN: given})
    changed = int((label != given).sum())
    return {"corrected_labels": changed, "corrections_without_change": len(classes) - changed}


def read_given_labels(folder: Path) -> np.ndarray:
    """The labels of an index as the original has them: int16 [P]."""
    table = read_table(folder / TABLE, "class_id")
    return table[GIVEN if GIVEN in table.column_names else "class_id"].to_numpy()


def find_products(catalog: Catalog, keys: list[str]) -> np.ndarray:
    """The rows of the products with these names: int64 [n], -1 for one that is not there."""
    names = catalog.keys
    if names is None:
        names = pa.chunked_array([pa.array(catalog.product_id).cast(pa.string())])
    found = pc.index_in(pa.array(keys, pa.string()), value_set=names.combine_chunks())
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
