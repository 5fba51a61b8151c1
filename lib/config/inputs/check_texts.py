"""Checks of the texts and attributes of products, and of the models that read texts"""

from collections.abc import Iterator

from lib.config.data import WITH_COLUMNS, Data, Sample
from lib.config.inputs.ocr import OCR_COLUMN
from lib.config.inputs.text import Text, TextEncoder
from lib.config.schema import Config

COLUMNS = ("text_columns", "categorical_columns", "numeric_columns")
WITH_VALUES = (*WITH_COLUMNS, "bson", "sample")  # sources whose products have values of their own
FOLDER = "attributes"  # of feature tables, beside those of the models


def text_problems(config: Config) -> Iterator[str]:
    """What is wrong with the columns of texts and attributes, and with models that read texts."""
    data = config.data
    keys = [key for key in COLUMNS if getattr(data, key)]
    for key in ("train_texts", "test_texts"):
        if getattr(data, key) and not keys:
            yield f"data.{key}: name the columns to read in data.{', data.'.join(COLUMNS)}"
    for key in keys:
        yield from _source_problems(data, key)
        if data.source == "sample":
            yield from _sample_problems(config.sample, key, getattr(data, key))
    if both := set(data.categorical_columns) & set(data.numeric_columns):
        yield f"data.numeric_columns: {min(both)!r} is in data.categorical_columns too; choose one"
    if data.attribute_columns:
        yield from _attribute_problems(config)
    for name, model in config.models.items():
        if model.input == "text":
            yield from _reader_problems(config, f"models.{name}", "text.columns", model.text)
        elif model.text.columns:
            yield f'models.{name}.text.columns is for a model with input = "text"'
    for name, encoder in config.text_encoders.items():
        yield from _reader_problems(config, f"text_encoders.{name}", "columns", encoder)
    if config.ocr.min_side > config.ocr.max_side:
        yield f"ocr.min_side {config.ocr.min_side} is above ocr.max_side {config.ocr.max_side}"


def _reader_problems(
    config: Config, table: str, key: str, reader: Text | TextEncoder
) -> Iterator[str]:
    """What is wrong with the columns that a text model or an encoder reads."""
    known = (*config.data.text_columns, OCR_COLUMN)
    if not (reader.columns or config.data.text_columns):
        yield (
            f'{table} reads texts: it needs data.text_columns, or {key} = ["{OCR_COLUMN}"], the'
            " words in the pictures"
        )
    elif unknown := [column for column in reader.columns if column not in known]:
        yield (
            f"{table}.{key} = {unknown[0]!r}; choose of {', '.join(known)}, or name it in"
            " data.text_columns"
        )


def _attribute_problems(config: Config) -> Iterator[str]:
    if config.multi_label:
        yield "data.categorical_columns, numeric_columns: not with clusters.multi_label; empty them"
    if FOLDER in config.models:
        yield f"models.{FOLDER}: with columns of attributes this name is that of another folder"


def _sample_problems(sample: Sample, key: str, columns: tuple[str, ...]) -> Iterator[str]:
    for column in columns:
        if column not in sample.text_columns:
            yield (
                f"data.{key}: the sample has no {column!r}; it has title, brand and price where"
                " sample.title_missing, brand_missing and price_missing are below 1"
            )


def _source_problems(data: Data, key: str) -> Iterator[str]:
    used = ("id_column", "label_column", "images_column")
    columns: tuple[str, ...] = getattr(data, key)
    for other in used if data.source in WITH_COLUMNS else ():
        if getattr(data, other) in columns:
            yield f"data.{key}: {getattr(data, other)!r} is data.{other}; name other columns"
    if data.source == "openimages":
        yield f"data.{key}: products of source = 'openimages' have no texts; leave it out"
    for side, path in (("train", data.train), ("test", data.test)):
        if path and data.source not in WITH_VALUES and not getattr(data, f"{side}_texts"):
            yield (
                f"data.{key}: source = {data.source!r} has no columns; name a CSV of ids and"
                f" texts in data.{side}_texts"
            )
