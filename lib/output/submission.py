"""The submission, a gzipped CSV: its header, one class for each test product, and its check."""

import csv
import gzip
import io
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from lib.config.data import Data
from lib.errors import UserError

DEFAULT_HEADER = ("_id", "category_id")  # Cdiscount's, for sources without column names
CHUNK = 100_000  # rows written at a time


def csv_header(data: Data) -> tuple[str, str]:
    """The names of the submission's two columns: those of the labelled data, if it has any."""
    by_source = {
        "csv": (data.id_column, data.label_column),
        "folders": ("path", "category"),
        "npy": ("path", "category"),
        "strokes": ("key_id", "category"),
        "openimages": ("ImageID", "cluster"),
        "parquet": (data.id_column or "row", data.label_column),
        "webdataset": (data.id_column or "key", data.label_column),
    }
    return by_source.get(data.source, DEFAULT_HEADER)


def write(
    path: Path, header: tuple[str, str], products: Iterable[object], classes: Iterable[object]
) -> None:
    """Write rows in the order given.

    header: names of the two columns.
    products, classes: the ids or names that the source uses; text is quoted where CSV requires it.

    The gzip file carries no time stamp, so that the same rows give the same bytes.
    """
    rows = zip(products, classes, strict=True)
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
    ):
        packed.write(_lines([header]))
        while chunk := list(islice(rows, CHUNK)):
            packed.write(_lines(chunk))


def check(
    path: Path, header: tuple[str, str], products: Iterable[object], classes: Iterable[object]
) -> int:
    """Read a submission back and compare it with what it must contain; returns its rows.

    header: names of the two columns.
    products: all ids that must appear exactly once.
    classes: all classes of the catalog.

    Raises UserError with the number of the first wrong line.
    """
    expected, known = set(map(str, products)), set(map(str, classes))
    found: set[str] = set()
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        if next(rows, None) != list(header):
            raise UserError(f"{path}: line 1: the header is not {','.join(header)}")
        for line, row in enumerate(rows, start=2):
            if len(row) != 2:
                raise UserError(f"{path}: line {line}: {len(row)} fields instead of 2: {row}")
            product, category = row
            if product not in expected:
                raise UserError(f"{path}: line {line}: {product} is not a test product")
            if product in found:
                raise UserError(f"{path}: line {line}: duplicate id {product}")
            if category not in known:
                raise UserError(f"{path}: line {line}: unknown category {category}")
            found.add(product)
    if len(found) != len(expected):
        raise UserError(f"{path}: {len(expected) - len(found)} test products have no row")
    return len(found)


def _lines(rows: Iterable[tuple[object, object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
