"""Checks of the texts of products, and of the models that read them"""

from collections.abc import Iterator

from lib.config.data import WITH_COLUMNS, Data
from lib.config.schema import Config


def text_problems(config: Config) -> Iterator[str]:
    """What is wrong with `data.text_columns` and the models of `input = "text"`, a line each."""
    data = config.data
    for key in ("train_texts", "test_texts"):
        if getattr(data, key) and not data.text_columns:
            yield f"data.{key}: name the columns to read in data.text_columns"
    if data.text_columns:
        yield from _source_problems(data)
    for name, model in config.models.items():
        columns = model.text.columns
        if model.input != "text":
            if columns:
                yield f'models.{name}.text.columns is for a model with input = "text"'
        elif not data.text_columns:
            yield f'models.{name}: input = "text" needs data.text_columns'
        elif unknown := [column for column in columns if column not in data.text_columns]:
            yield (
                f"models.{name}.text.columns = {unknown[0]!r}; choose of data.text_columns:"
                f" {', '.join(data.text_columns)}"
            )


def _source_problems(data: Data) -> Iterator[str]:
    used = ("id_column", "label_column", "images_column")
    for key in used if data.source in WITH_COLUMNS else ():
        if getattr(data, key) in data.text_columns:
            yield f"data.text_columns: {getattr(data, key)!r} is data.{key}; name other columns"
    if data.source in ("sample", "openimages"):
        yield f"data.text_columns: products of source = {data.source!r} have no texts; leave it out"
    for side, path in (("train", data.train), ("test", data.test)):
        if path and data.source not in WITH_COLUMNS and not getattr(data, f"{side}_texts"):
            yield (
                f"data.text_columns: source = {data.source!r} has no columns; name a CSV of ids and"
                f" texts in data.{side}_texts"
            )
