"""A source that is a CSV table: how it is read, one row per product, naming its image files."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lib.config.schema import Data
from lib.data.records import MAX_IMAGES, CorruptRecord
from lib.data.sources.base import Listing, hash_files
from lib.errors import UserError

MAX_ID = 1 << 62  # smaller ids can be subtracted in int64
MAX_SHOWN = 8  # columns named in a message


def list_csv(source: Path, labelled: bool, root: Path, data: Data) -> Listing:
    """List the products of a CSV table.

    labelled: whether to read the columns of classes and groups.
    root: the folder that the names of the images are relative to.
    data: names of the columns.
    A row without an id, or with too many images, is corrupt. Raises UserError if the table cannot
    be read, naming the line, and if none of its images exists.
    """
    columns = [data.id_column, data.images_column]
    columns += [data.label_column] if labelled else []
    columns += [data.group_column] if labelled and data.group_column else []
    lines, keys, counts = [], [], []
    files: list[str] = []
    labels: list[str] = []
    groups: list[str] = []
    corrupt = []
    for line, (key, images, *rest) in read_rows(source, columns):
        names = [name.strip() for name in images.split("|") if name.strip()]
        if not key or len(names) > MAX_IMAGES:
            reason = f"more than {MAX_IMAGES} images" if key else f"no {data.id_column}"
            corrupt.append(CorruptRecord(line, 0, reason))
            continue
        lines.append(line)
        keys.append(key)
        counts.append(len(names))
        files += names
        labels.append(rest[0] if rest else "")
        groups += rest[1:]
    if not keys:
        raise UserError(f"{source}: no products after the header")
    _check_images_exist(source, root, files)
    return Listing(
        unit="line",
        location=np.array(lines, np.int64),
        keys=keys,
        labels=labels,
        image_count=np.array(counts, np.int32),
        files=files,
        hash_images=hash_files(root, files),
        product_id=_integer_ids(keys),
        groups=_group_numbers(groups) if groups else None,
        corrupt=corrupt,
    )


def read_rows(source: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, stripped values of `columns`) of each row; blank lines are skipped.

    Raises UserError, naming the line, for a missing column, a row with more or fewer fields than
    the header, text that is not UTF-8, and quotes that do not close.
    """
    with source.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            indices = [_column_index(source, header, column) for column in columns]
            line = reader.line_num + 1
            for row in reader:
                if row and len(row) != len(header):
                    raise UserError(
                        f"{source}: line {line}: {len(row)} fields, but the header has"
                        f" {len(header)}; quote values that contain a comma, or complete the row"
                    )
                if row:
                    yield line, [row[index].strip() for index in indices]
                line = reader.line_num + 1
        except UnicodeDecodeError:
            raise UserError(
                f"{source}: line {_first_undecodable_line(source)}: not UTF-8; save the table as"
                " UTF-8 text"
            ) from None
        except csv.Error as error:
            raise UserError(
                f"{source}: line {reader.line_num}: {error}; fix the quotes there or above"
            ) from None


def _check_images_exist(source: Path, root: Path, files: Sequence[str]) -> None:
    if files and not any((root / name).is_file() for name in files):
        raise UserError(
            f"{source}: none of its {len(files)} images exists, not even {root / files[0]};"
            " set data.images_root to the folder that their names are relative to"
        )


def _column_index(source: Path, header: list[str], name: str) -> int:
    if not any(header):
        raise UserError(f"{source}: the file is empty; its first line must name the columns")
    if name not in header:
        shown = ", ".join(header[:MAX_SHOWN]) + (", ..." if len(header) > MAX_SHOWN else "")
        raise UserError(
            f"{source}: line 1: no column {name}; it has: {shown}. Name your columns in the config"
            " (data.id_column, label_column, images_column, group_by)"
        )
    return header.index(name)


def _first_undecodable_line(source: Path) -> int:
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _integer_ids(keys: Sequence[str]) -> np.ndarray | None:
    """int64 [R] if every key is an integer in its plain form (not 007); else None."""
    try:
        ids = [int(key) for key in keys]
    except ValueError:
        return None
    plain = all(str(n) == key and abs(n) < MAX_ID for n, key in zip(ids, keys, strict=True))
    return np.array(ids, np.int64) if plain else None


def _group_numbers(groups: Sequence[str]) -> np.ndarray:
    """int32 [R]: equal for equal names; each product without a name is its own group."""
    names = np.array(groups, np.str_)
    distinct, number = np.unique(names, return_inverse=True)
    unnamed = np.flatnonzero(names == "")
    number[unnamed] = len(distinct) + np.arange(len(unnamed))
    return number.astype(np.int32)
