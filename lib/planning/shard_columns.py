"""Which columns of Parquet tables, or members of WebDataset samples, are labels, images and texts.

Ids are not looked for: a file and a row, or the key of a sample, name a product.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from lib.config.data import SOURCE_DEFAULTS, Data
from lib.data.sources.parquet.table_file import class_names, read_schema
from lib.data.sources.parquet.values import has_images
from lib.data.sources.webdataset.samples import column_names, read_shard
from lib.data.sources.webdataset.tar_file import TarScan, map_tar
from lib.errors import UserError
from lib.planning.text_columns import TITLE_NAMES

LABELS = ("label", "labels", "category", "categories", "class", "target", "cls")
IMAGES = ("image", "images", "img", "picture", "file_name", "filename", "file", "path")


def decide_shard_columns(
    paths: Sequence[Path], test_paths: Sequence[Path], data: Data, given: set[str]
) -> Data:
    """The settings that read Parquet tables or tars. given: keys of [data] that the user has set.

    paths, test_paths: the files of both sides; the first of each is looked at. Raises UserError
    where the labels or the images are not plain, naming the option that decides.
    """
    defaults: dict[str, Any] = {**SOURCE_DEFAULTS[data.source]}
    data = replace(data, **{key: defaults[key] for key in defaults.keys() - given})
    if data.source == "parquet":
        schema = read_schema(paths[0])
        names = schema.names
        if "images_column" not in given:
            data = replace(data, images_column=_image_column(paths[0], schema))
        labels = [name for name in names if class_names(schema, name)]
        labels = labels if len(labels) == 1 else [name for name in LABELS if name in names]
        texts = [f.name for f in schema if pa.types.is_string(f.type) and _is_title(f.name)]
    else:
        names = _names_of_samples(paths[0])
        labels = [name for name in ("cls", *LABELS) if name in names]
        texts = [name for name in names if _is_title(name)]
    if "label_column" not in given:
        if not labels:
            raise UserError(
                f"{paths[0]}: which of {', '.join(names)} has the labels? choose one, as in"
                f" --set data.label_column={names[-1]!r}"
            )
        data = replace(data, label_column=labels[0])
    if "text_columns" in given:
        return data
    used = {data.id_column, data.label_column, data.images_column}
    return replace(data, text_columns=_in_both(texts, used, test_paths, data.source))


def _in_both(
    texts: Iterable[str], used: set[str], test_paths: Sequence[Path], source: str
) -> tuple[str, ...]:
    """The texts that are nothing else, and that the products to classify have too."""
    if test_paths:
        test = test_paths[0]
        known = read_schema(test).names if source == "parquet" else _names_of_samples(test)
        texts = [name for name in texts if name in known]
    return tuple(name for name in texts if name not in used)


def _image_column(path: Path, schema: pa.Schema) -> str:
    """The column of images, or else one that is named as names of files are."""
    found = [field.name for field in schema if has_images(field.type)]
    named = [name for name in IMAGES if name in (found or schema.names)]
    if len(found) == 1 or named:
        return found[0] if len(found) == 1 else named[0]
    raise UserError(
        f"{path}: which of {', '.join(schema.names)} has the images? choose one, as in"
        f" --set data.images_column={schema.names[0]!r}"
    )


def _names_of_samples(path: Path) -> list[str]:
    """Members and keys of the json of the first samples of a tar."""
    with map_tar(path) as mapped:
        return column_names(read_shard(mapped, TarScan()), mapped)


def _is_title(name: str) -> bool:
    return re.sub(r"[\W_]+", "", name.lower()) in TITLE_NAMES
