"""The CSV that the competition takes (C16), or its like for other catalogues, written whole."""

import csv
import gzip
import io
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from lib.errors import UserError

DEFAULT_HEADER = ("_id", "category_id")  # Cdiscount's, for sources without column names
CHUNK = 100_000  # rows written at a time


def write(
    path: Path, header: tuple[str, str], products: Iterable[object], classes: Iterable[object]
) -> None:
    """Write rows in the order given, quoted where they must be; gzip without a time stamp, so that
    the same answers are the same bytes."""
    rows = zip(products, classes, strict=True)
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
    ):
        packed.write(_lines([header]))
        while some := list(islice(rows, CHUNK)):
            packed.write(_lines(some))


def _lines(rows: Iterable[tuple[object, object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def check(
    path: Path, header: tuple[str, str], products: Iterable[object], classes: Iterable[object]
) -> int:
    """Read a written submission back and compare it with what must be in it; returns its rows.

    products: all that must appear exactly once. classes: all that are known.
    Raises UserError naming the line.
    """
    wanted, known = set(map(str, products)), set(map(str, classes))
    seen: set[str] = set()
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        if next(rows, None) != list(header):
            raise UserError(f"{path}: line 1: the header is not {','.join(header)}")
        for line, row in enumerate(rows, start=2):
            if len(row) != 2:
                raise UserError(f"{path}: line {line}: not two fields: {row}")
            product, category = row
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
