"""A source of WebDataset tars: a sample is a product, and an image is a member, read in place."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.config.data import Data
from lib.data.records import MAX_IMAGES, CorruptRecord
from lib.data.sources.base import Listing, hash_parts, ids_of_keys
from lib.data.sources.csv_table import group_numbers
from lib.data.sources.webdataset.samples import Shard, iter_values, read_shard
from lib.data.sources.webdataset.tar_file import TarScan, map_tar
from lib.errors import UserError
from lib.pipeline.predict_target import IMAGE_SUFFIXES

MAX_SHOWN = 8  # suffixes in a message
NUMBER = re.compile(r"(^|\.)\d+(?=\.)")  # of one of several images of a sample, as in 0.jpg


@dataclass
class _Products:
    """The products of all shards, and their images: lists of arrays, one for each shard."""

    keys: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    location: list[np.ndarray] = field(default_factory=list)
    image_count: list[np.ndarray] = field(default_factory=list)
    offset: list[np.ndarray] = field(default_factory=list)
    length: list[np.ndarray] = field(default_factory=list)
    file: list[np.ndarray] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)  # of all members
    image_suffixes: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)  # samples with a value of a column


def list_samples(
    source: Path, paths: Sequence[Path], root: Path, labelled: bool, data: Data
) -> Listing:
    """List the samples of WebDataset tars as products.

    source: named in messages. paths: the tars, below the folder `root`. labelled: whether to read
    the columns of classes, groups and parts.
    Samples without an image, without readable columns or of too many images are corrupt. Raises
    UserError for a compressed tar, and if no sample has an image, or none has a column.
    """
    columns = [data.id_column, *(_labelled_columns(data) if labelled else ())]
    products = _Products()
    corrupt: list[CorruptRecord] = []
    cautions: list[str] = []
    for number, path in enumerate(paths):
        scan = TarScan()
        with map_tar(path) as mapped:
            shard = read_shard(mapped, scan)
            _add(products, shard, iter_values(shard, mapped, columns), number, data, columns, scan)
        name = os.path.relpath(path, root)
        corrupt += [CorruptRecord(c.offset, c.length, f"{name}: {c.reason}") for c in scan.corrupt]
        cautions += [f"{name}: {text}" for text in _scan_cautions(scan)]
    _check(source, products, columns, corrupt)
    return Listing(
        unit="byte",
        location=np.concatenate(products.location),
        keys=products.keys,
        labels=products.labels if labelled else [""] * len(products.keys),
        image_count=np.concatenate(products.image_count),
        files=[os.path.relpath(path, root) for path in paths],
        file=np.concatenate(products.file),
        hash_images=hash_parts(
            paths, *map(np.concatenate, (products.file, products.offset, products.length))
        ),
        product_id=ids_of_keys(products.keys) if data.id_column else None,
        groups=group_numbers(products.groups) if data.group_column and labelled else None,
        splits=products.splits if data.split_column and labelled else None,
        corrupt=corrupt,
        cautions=cautions + _image_caution(products),
        size=sum(path.stat().st_size for path in paths),
    )


def _labelled_columns(data: Data) -> Iterator[str]:
    yield data.label_column
    yield from (column for column in (data.group_column, data.split_column) if column)


def _add(
    products: _Products,
    shard: Shard,
    values: Iterator[list[str | None] | str],
    number: int,
    data: Data,
    columns: Sequence[str],
    scan: TarScan,
) -> None:
    """Add the samples of a shard that can be used; the others go to `scan`."""
    products.suffixes.update(
        dict(zip(shard.suffixes, np.bincount(shard.suffix).tolist(), strict=True))
        if len(shard.suffix)
        else {}
    )
    is_image = np.array([_is_image(s, data.images_column) for s in shard.suffixes], bool)
    images = np.flatnonzero(is_image[shard.suffix]) if len(shard.suffix) else np.empty(0, np.int64)
    for code, count in enumerate(np.bincount(shard.suffix[images]).tolist()):
        products.image_suffixes[shard.suffixes[code]] += count
    count_of_sample = np.bincount(shard.sample[images], minlength=len(shard.keys))
    usable = np.zeros(len(shard.keys), bool)
    for sample, (row, count) in enumerate(zip(values, count_of_sample.tolist(), strict=True)):
        reason = row if isinstance(row, str) else _refusal(row[0], count)
        if reason:
            scan.corrupt.append(CorruptRecord(int(shard.start[sample]), 0, reason))
            continue
        said = dict(zip(columns, row, strict=True))
        products.found.update(column for column, value in said.items() if value is not None)
        usable[sample] = True
        products.keys.append(said[data.id_column] or "")
        products.labels.append(said.get(data.label_column) or "")
        products.groups.append(said.get(data.group_column) or "" if data.group_column else "")
        products.splits.append(said.get(data.split_column) or "" if data.split_column else "")
    images = images[usable[shard.sample[images]]]
    images = images[np.argsort(shard.sample[images], kind="stable")]
    products.location.append(shard.start[usable])
    products.image_count.append(count_of_sample[usable].astype(np.int32))
    products.offset.append(shard.offset[images])
    products.length.append(shard.length[images])
    products.file.append(np.full(len(images), number, np.int32))


def _refusal(key: str | None, image_count: int) -> str:
    """Why a sample cannot be used; "" if it can."""
    if not image_count:
        return "a sample without an image"
    if image_count > MAX_IMAGES:
        return f"more than {MAX_IMAGES} images"
    return "" if key else "a sample without an id"


def _is_image(suffix: str, wanted: str) -> bool:
    """wanted: the suffix of images, as in `data.images_column`; "" for all types of pictures."""
    if wanted:
        return f".{suffix}".endswith(f".{wanted.lower().lstrip('.')}")
    return f".{suffix.rpartition('.')[2]}" in IMAGE_SUFFIXES


def _check(
    source: Path, products: _Products, columns: Sequence[str], corrupt: Sequence[CorruptRecord]
) -> None:
    """Raise UserError if no sample can be used, naming what is wrong with most of them."""
    shown = ", ".join(suffix for suffix, _ in products.suffixes.most_common(MAX_SHOWN))
    has = f"; its samples have members {shown}" if shown else ""
    if not products.suffixes:
        first = min(corrupt, key=lambda part: part.offset, default=None)
        what = f"; byte {first.offset} of {first.reason}" if first else ""
        raise UserError(f"{source}: no sample in it{what}; name tars of samples")
    if not products.image_suffixes:
        raise UserError(
            f"{source}: no sample with an image{has}; images end in {' '.join(IMAGE_SUFFIXES)}, or"
            " in what data.images_column says"
        )
    if not products.keys:
        first = min(corrupt, key=lambda part: part.offset)
        raise UserError(
            f"{source}: no sample can be used{has}; byte {first.offset} of {first.reason}"
        )
    for column in columns:
        if column and not products.found[column]:
            raise UserError(
                f"{source}: no sample has a column {column}, a member .{column} or a key of its"
                f" .json{has}; set data.label_column, id_column, group_by or split_column to one"
            )


def _scan_cautions(scan: TarScan) -> Iterator[str]:
    if scan.joined:
        yield (
            f"{scan.joined} x members behind a block of zeros, which ends a tar: archives put"
            " together, or zeros in place of members; they are read too"
        )
    if scan.links:
        yield f"{scan.links} members are links and are not read; write the files themselves"
    if not scan.has_end:
        yield "no block of zeros at its end; the file may have been cut between two members"


def _image_caution(products: _Products) -> list[str]:
    """A line if images of several kinds, such as masks, may be among the pictures of a sample."""
    kinds: Counter[str] = Counter()
    for suffix, count in products.image_suffixes.items():
        kinds[NUMBER.sub("", suffix).lstrip(".")] += count
    if len({kind.rpartition(".")[0] for kind in kinds}) < 2:
        return []
    shown = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(MAX_SHOWN))
    return [
        f"images are the members {shown}; if some are masks, name the others in data.images_column"
    ]
