"""Stage 01: the category table."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lib.data.catalog import write_table
from lib.errors import UserError

LEVELS = ["category_level1", "category_level2", "category_level3"]


def build_classes(folder: Path, source: Path) -> dict[str, Any]:
    """Write `classes.arrow` from `category_names.csv` (category_id and three names)."""
    rows: dict[int, list[str]] = {}
    with source.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [c for c in ["category_id", *LEVELS] if c not in (reader.fieldnames or [])]
        if missing:
            raise UserError(f"{source}: line 1: no column {missing[0]}; the header of Cdiscount's")
        for row in reader:
            try:
                category = int(row["category_id"])
            except (TypeError, ValueError):
                raise UserError(
                    f"{source}: line {reader.line_num}: category_id {row['category_id']!r}"
                    " is not a whole number"
                ) from None
            if category in rows:
                raise UserError(f"{source}: line {reader.line_num}: {category} stands twice")
            rows[category] = [row[level] or "" for level in LEVELS]
    if not rows:
        raise UserError(f"{source}: no categories")
    return write_classes(folder, source, rows)


def build_named_classes(folder: Path, source: Path, names: Iterable[str]) -> dict[str, Any]:
    """Write `classes.arrow` of a source that names its classes, as paths such as Men/Tops/Tees.

    A category_id is the place among the sorted names; levels beyond the third are part of it.
    """
    keys = sorted(set(names) - {""})
    if not keys:
        raise UserError(f"{source}: no product has a category")
    rows = {number: [*key.split("/", 2), "", ""][:3] for number, key in enumerate(keys)}
    return write_classes(folder, source, rows, keys)


def write_classes(
    folder: Path, source: Path, rows: dict[int, list[str]], keys: Sequence[str] | None = None
) -> dict[str, Any]:
    """Write `classes.arrow` from the three names of each category id; `source` for the error.

    keys: the source's own names, in the order of the ids, if the ids are only numbers for them.
    """
    if len(rows) > np.iinfo(np.int16).max:
        raise UserError(f"{source}: {len(rows)} categories; at most 32,767 are supported")
    order = sorted(rows)
    columns: dict[str, Any] = {
        "class": np.arange(len(order), dtype=np.int16),
        "category_id": np.array(order, np.int64),
    }
    for i in range(3):
        columns[f"level{i + 1}"] = pa.array([rows[c][i] for c in order], pa.string())
    if keys is not None:
        columns["key"] = pa.array(keys, pa.string())
    write_table(folder / "classes.arrow", columns)
    return {"classes": len(order)}
