"""Catalogues of picture files: named by a CSV, or in a folder for each class (C1)."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from lib.config.schema import Data
from lib.data.found import MOST_PICTURES, CorruptRecord
from lib.data.sources.base import Listing, hash_files, names_under
from lib.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff")
FARTHEST = 1 << 62  # ids below it can be subtracted in int64
SHOWN = 8  # columns named in a message


# CSV


def list_csv(source: Path, root: Path, data: Data, labelled: bool) -> Listing:
    """The products of a CSV of one row each; `root`: the folder of the names of pictures.

    A row without an id, or with too many pictures, is damage. Raises UserError for a table that
    cannot be read as one, naming the line, and where not one of its pictures exists.
    """
    columns = [data.id_column, data.images_column]
    columns += [data.label_column] if labelled else []
    columns += [data.group_by] if labelled and data.group_by else []
    places, keys, counts = [], [], []
    files: list[str] = []
    labels: list[str] = []
    groups: list[str] = []
    damage = []
    for line, (key, images, *rest) in read_rows(source, columns):
        names = [name.strip() for name in images.split("|") if name.strip()]
        if not key or len(names) > MOST_PICTURES:
            reason = f"more than {MOST_PICTURES} pictures" if key else f"no {data.id_column}"
            damage.append(CorruptRecord(line, 0, reason))
            continue
        places.append(line)
        keys.append(key)
        counts.append(len(names))
        files += names
        labels.append(rest[0] if rest else "")
        groups += rest[1:]
    if not keys:
        raise UserError(f"{source}: no products below its first line")
    if files and not any((root / name).is_file() for name in files):
        raise UserError(
            f"{source}: none of its {len(files)} pictures is there, not even {root / files[0]};"
            " set data.images_root to the folder that their names are relative to"
        )
    return Listing(
        unit="line",
        place=np.array(places, np.int64),
        keys=keys,
        labels=labels,
        image_count=np.array(counts, np.int32),
        files=files,
        hashes=hash_files(root, files),
        numbers=_whole_numbers(keys),
        groups=_group_numbers(groups) if groups else None,
        damage=damage,
    )


def read_rows(source: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line, the values of these columns, stripped) of each row; blank lines are passed over.

    Raises UserError, naming the line, for a missing column, a row that has not the fields of the
    header, text that is not UTF-8, and quotes that do not close.
    """
    with source.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            wanted = [_column(source, header, column) for column in columns]
            line = reader.line_num + 1
            for row in reader:
                if row and len(row) != len(header):
                    raise UserError(
                        f"{source}: line {line}: {len(row)} fields where the header has"
                        f" {len(header)}; quote values that hold a comma, or fill up the row"
                    )
                if row:
                    yield line, [row[at].strip() for at in wanted]
                line = reader.line_num + 1
        except UnicodeDecodeError:
            raise UserError(
                f"{source}: line {_first_foreign_line(source)}: not UTF-8; save the table as"
                " UTF-8 text"
            ) from None
        except csv.Error as error:
            raise UserError(
                f"{source}: line {reader.line_num}: {error}; mend the quotes there or before"
            ) from None


def _column(source: Path, header: list[str], name: str) -> int:
    if not any(header):
        raise UserError(f"{source}: the file is empty; its first line must name the columns")
    if name not in header:
        shown = ", ".join(header[:SHOWN]) + (", ..." if len(header) > SHOWN else "")
        raise UserError(
            f"{source}: line 1: no column {name}; it has: {shown}. Name yours in the config"
            " (data.id_column, label_column, images_column, group_by)"
        )
    return header.index(name)


def _first_foreign_line(source: Path) -> int:
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _whole_numbers(keys: Sequence[str]) -> np.ndarray | None:
    """int64 [R] if every key is a whole number, written as such (007 is not); else None."""
    try:
        numbers = [int(key) for key in keys]
    except ValueError:
        return None
    plain = all(str(n) == key and abs(n) < FARTHEST for n, key in zip(numbers, keys, strict=True))
    return np.array(numbers, np.int64) if plain else None


def _group_numbers(groups: Sequence[str]) -> np.ndarray:
    """int32 [R]: equal for equal names; a product without a name is a group of its own."""
    names = np.array(groups, np.str_)
    known, number = np.unique(names, return_inverse=True)
    alone = np.flatnonzero(names == "")
    number[alone] = len(known) + np.arange(len(alone))
    return number.astype(np.int32)


# Folders


def list_folder(source: Path, labelled: bool) -> Listing:
    """The pictures below a folder, each a product; its class is the folder that it is in.

    Raises UserError where there are none.
    """
    names = names_under(source, *SUFFIXES)
    return Listing(
        unit="file",
        place=np.arange(1, len(names) + 1),
        keys=names,
        labels=[_class_of(name) if labelled else "" for name in names],
        image_count=np.ones(len(names), np.int32),
        files=names,
        hashes=hash_files(source, names),
    )


def _class_of(name: str) -> str:
    """The folder of a picture; "" directly in the source, which is no class."""
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent
