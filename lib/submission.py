"""The CSV that the competition takes (C16), written whole or not at all."""

import csv
import gzip
from pathlib import Path

import numpy as np

from lib.errors import UserError

HEADER = ["_id", "category_id"]


def write(path: Path, product_id: np.ndarray, category_id: np.ndarray) -> None:
    """Write `_id,category_id` rows in the order given; gzip without a time stamp, so that the
    same answers are the same bytes."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
    ):
        packed.write((",".join(HEADER) + "\n").encode())
        for start in range(0, len(product_id), 100_000):
            ids = product_id[start : start + 100_000].tolist()
            categories = category_id[start : start + 100_000].tolist()
            packed.write(
                "".join(f"{i},{c}\n" for i, c in zip(ids, categories, strict=True)).encode()
            )


def check(path: Path, product_id: np.ndarray, category_id: np.ndarray) -> int:
    """Read a written submission back and compare it with what must be in it; returns its rows.

    product_id: every id that must appear exactly once. category_id: all that are known.
    Raises UserError naming the line.
    """
    wanted, known = set(product_id.tolist()), set(category_id.tolist())
    seen: set[int] = set()
    with gzip.open(path, "rt", newline="") as file:
        rows = csv.reader(file)
        if next(rows, None) != HEADER:
            raise UserError(f"{path}: line 1: the header is not {','.join(HEADER)}")
        for line, row in enumerate(rows, start=2):
            try:
                product, category = map(int, row)
            except ValueError:
                raise UserError(f"{path}: line {line}: not two whole numbers: {row}") from None
            if product not in wanted:
                raise UserError(f"{path}: line {line}: {product} is no product of the test file")
            if product in seen:
                raise UserError(f"{path}: line {line}: {product} stands twice")
            if category not in known:
                raise UserError(f"{path}: line {line}: unknown category {category}")
            seen.add(product)
    if len(seen) != len(wanted):
        raise UserError(f"{path}: {len(wanted) - len(seen)} test products have no row")
    return len(seen)
