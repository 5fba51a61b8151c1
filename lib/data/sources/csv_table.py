"""A source that is a CSV table: how it is read, one product a row or several, naming its images."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.config.data import Data
from lib.data.records import MAX_IMAGES, CorruptRecord
from lib.data.sources.base import Listing, hash_files, ids_of_keys
from lib.data.sources.nearest_name import missing_hint
from lib.data.sources.text_table import SEPARATORS, TableFormat, read_rows
from lib.errors import UserError

SAMPLE_FIELDS = 1000  # that show what separates the images of a field
MAX_EXAMPLES = 3  # in a caution


@dataclass
class ProductRows:
    """The products of a table, in its order: lists of equal lengths."""

    lines: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    images: list[list[str]] = field(default_factory=list)  # fields, not yet separated
    joined: int = 0  # rows that continue the product above them
    trimmed: Counter[str] = field(default_factory=Counter)  # values with outer blanks, by column


def list_csv(source: Path, labelled: bool, root: Path, data: Data) -> Listing:
    """List the products of a CSV table.

    labelled: whether to read the columns of classes and groups.
    root: the folder that the names of the images are relative to.
    data: names of the columns, encoding and separators.
    A row that follows one of the same id, and has no other class or group, continues its product:
    so shops export several images. A row that cannot be read or has no id, and a product of too
    many images, are corrupt. Raises UserError if the header cannot be read, naming what is wrong,
    and if no product, or no image, can be used.
    """
    corrupt: list[CorruptRecord] = []
    columns = product_columns(labelled, data)
    lines = read_rows(source, columns, corrupt, TableFormat(data.encoding, data.separator))
    rows = read_products(lines, columns, labelled, data, corrupt)
    return list_files_of_rows(source, rows, "line", labelled, root, data, corrupt)


def list_files_of_rows(
    source: Path,
    rows: ProductRows,
    unit: str,
    labelled: bool,
    root: Path,
    data: Data,
    corrupt: list[CorruptRecord],
) -> Listing:
    """List products whose images are named files. unit: of their places; the rest as `list_csv`."""
    separator = SEPARATORS.get(data.image_separator) or _image_separator(root, rows.images)
    images = [
        [name for text in fields for name in _names(text, separator, root)]
        for fields in rows.images
    ]
    too_many = [row for row, names in enumerate(images) if len(names) > MAX_IMAGES]
    for row in reversed(too_many):
        corrupt.append(CorruptRecord(rows.lines[row], 0, f"more than {MAX_IMAGES} images"))
        for values in (rows.lines, rows.keys, rows.labels, rows.groups, rows.splits, images):
            del values[row]
    check_products(source, rows, unit, corrupt)
    files = [name for names in images for name in names]
    inside = _names_inside(root, files)
    _check_images_exist(source, root, files)
    return Listing(
        unit=unit,
        location=np.array(rows.lines, np.int64),
        keys=rows.keys,
        labels=rows.labels,
        image_count=np.array([len(names) for names in images], np.int32),
        files=files,
        hash_images=hash_files(root, inside),
        product_id=ids_of_keys(rows.keys),
        groups=group_numbers(rows.groups) if data.group_column and labelled else None,
        splits=rows.splits if data.split_column and labelled else None,
        corrupt=corrupt,
        cautions=row_cautions(rows, data) + _outside_caution(root, files, inside),
        image_root=root,
    )


def product_columns(labelled: bool, data: Data) -> list[str]:
    """The columns to read: of ids, of images and, of labelled products, the others that are set."""
    more = [data.label_column, data.group_column, data.split_column] if labelled else []
    return [data.id_column, data.images_column, *(column for column in more if column)]


def read_products(
    lines: Iterable[tuple[int, list[str]]],
    columns: Sequence[str],
    labelled: bool,
    data: Data,
    corrupt: list[CorruptRecord],
) -> ProductRows:
    """The products of a table.

    lines: place of each row, and its values of `columns`, those of `product_columns`.
    corrupt: gets the rows without an id.
    """
    rows = ProductRows()
    others = (data.label_column, data.group_column, data.split_column)
    for line, values in lines:
        said = dict(zip(columns, (value.strip() for value in values), strict=True))
        key, images = said[data.id_column], said[data.images_column]
        label, group, split = (said.get(c, "") if labelled and c else "" for c in others)
        if not key:
            corrupt.append(CorruptRecord(line, 0, f"no {data.id_column}"))
            continue
        for column, value in zip(columns, values, strict=True):
            if column != data.images_column and value != value.strip():
                rows.trimmed[column] += 1
        if _continues(rows, key, label, group, split):
            rows.joined += 1
            rows.labels[-1] = rows.labels[-1] or label
            rows.groups[-1] = rows.groups[-1] or group
            rows.splits[-1] = rows.splits[-1] or split
            if images not in rows.images[-1]:
                rows.images[-1].append(images)
            continue
        rows.lines.append(line)
        rows.keys.append(key)
        rows.labels.append(label)
        rows.groups.append(group)
        rows.splits.append(split)
        rows.images.append([images])
    return rows


def check_products(
    source: Path, rows: ProductRows, unit: str, corrupt: Sequence[CorruptRecord]
) -> None:
    """Raise UserError if there is no product, naming the first row that cannot be used."""
    if not rows.keys:
        first = min(corrupt, key=lambda part: part.offset, default=None)
        what = f"; {unit} {first.offset}: {first.reason}" if first else " after the header"
        raise UserError(f"{source}: no products{what}")


def _continues(rows: ProductRows, key: str, label: str, group: str, split: str) -> bool:
    """Whether a row belongs to the product above it: the same id, and no other class or group."""
    if not rows.keys or rows.keys[-1] != key:
        return False
    pairs = ((rows.labels[-1], label), (rows.groups[-1], group), (rows.splits[-1], split))
    return all(not above or not value or above == value for above, value in pairs)


def _image_separator(root: Path, fields: Sequence[Sequence[str]]) -> str:
    """What separates the images of a field: the character whose parts are files most often; |."""
    counts = dict.fromkeys(("|", ",", ";"), 0)
    sampled = 0
    for text in (text for texts in fields for text in texts):
        present = [separator for separator in counts if separator in text]
        if not present or is_file(root, text):
            continue
        for separator in present:
            counts[separator] += any(is_file(root, name) for name in text.split(separator))
        sampled += 1
        if sampled == SAMPLE_FIELDS:
            break
    return max(counts, key=lambda separator: counts[separator])


def _names(text: str, separator: str, root: Path) -> list[str]:
    """The image names of a field. A comma or semicolon may also be part of a name."""
    if separator != "|" and separator in text and is_file(root, text):
        return [text]
    return [name.strip() for name in text.split(separator) if name.strip()]


def _names_inside(root: Path, files: Sequence[str]) -> list[str]:
    """The names, "" (the folder itself, which is no image) for those that lead out of the folder.

    A table of someone else could otherwise have any file of this machine read as an image.
    """
    folder = os.path.abspath(root)
    return [name if _is_inside(folder, name) else "" for name in files]


def _is_inside(folder: str, name: str) -> bool:
    """Whether a name leads to a place below a folder (an absolute path). Follows no links."""
    path = os.path.normpath(os.path.join(folder, name))
    return path.startswith(folder.rstrip("/") + "/")


def _outside_caution(root: Path, files: Sequence[str], inside: Sequence[str]) -> list[str]:
    outside = [name for name, kept in zip(files, inside, strict=True) if not kept]
    if not outside:
        return []
    return [
        f"{len(outside)} image names lead out of {root} and are not read, the first is"
        f" {outside[0]!a}; set data.images_root to the folder that holds all images"
    ]


def is_file(root: Path, name: str) -> bool:
    """Whether a name, relative to `root`, is a file in it or below it."""
    try:
        inside = _is_inside(os.path.abspath(root), name.strip())
        return bool(name.strip()) and inside and (root / name.strip()).is_file()
    except (OSError, ValueError):  # a zero byte, or too long for a name
        return False


def _check_images_exist(source: Path, root: Path, files: Sequence[str]) -> None:
    if not files or any(is_file(root, name) for name in files):
        return
    if re.match(r"https?://", files[0]):
        raise UserError(
            f"{source}: its images are addresses such as {files[0]}; download them, and name the"
            " files in the table"
        )
    if not any(_names_inside(root, files)):
        raise UserError(f"{source}: {_outside_caution(root, files, [''] * len(files))[0]}")
    raise UserError(
        f"{source}: none of its {len(files)} images exists, not even {root / files[0]}"
        f"{missing_hint(root, files[0])}; set data.images_root to the folder that their names are"
        " relative to, and data.image_separator to what separates them"
    )


def row_cautions(rows: ProductRows, data: Data) -> list[str]:
    """What may be other than meant in a table, one line each."""
    cautions = [
        f"{count} values of {column} have blanks around them, which are cut"
        for column, count in rows.trimmed.items()
    ]
    if rows.joined:
        cautions.append(
            f"{rows.joined} rows continue the product of the row above, which has the same"
            f" {data.id_column}; there are {len(rows.keys)} products"
        )
    return cautions


def group_numbers(groups: Sequence[str]) -> np.ndarray:
    """int32 [R]: equal for equal names; each product without a name is its own group."""
    names = np.array(groups, np.str_)
    distinct, number = np.unique(names, return_inverse=True)
    unnamed = np.flatnonzero(names == "")
    number[unnamed] = len(distinct) + np.arange(len(unnamed))
    return number.astype(np.int32)
