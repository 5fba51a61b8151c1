"""Titles and attributes of labelled products, of a table or of a config, for studies."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from lib.data.attributes.join import join_attributes, read_attributes
from lib.data.sources.text_table import TableFormat
from lib.data.texts.join import join_texts, read_texts
from lib.data.texts.tables import csv_texts
from lib.errors import UserError
from lib.stages.attributes.tables import attributes_of_side
from studies.compare import Run


@dataclass(frozen=True)
class Beside:
    """What a table has beside the pictures: values of all labelled products, and titles."""

    category: dict[str, pa.ChunkedArray]
    number: dict[str, pa.ChunkedArray]
    title: pa.Table | None


def read_beside(run: Run, arguments: argparse.Namespace) -> Beside:
    """The attributes and titles of a table, or of the config. Raises UserError as stage 01 does."""
    data = run.experiment.config.data
    if not arguments.texts:
        return _read_own(run)
    form = TableFormat(data.encoding, data.separator)
    path, bad = Path(arguments.texts), data.max_bad_fraction
    categorical, numeric = (
        [name for name in names.split(",") if name]
        for names in (arguments.categorical, arguments.numeric)
    )
    if not categorical and not numeric:
        raise UserError("name columns of the table by --categorical or --numeric")
    with TemporaryDirectory() as name:
        folder = Path(name)
        tables = [csv_texts(path, data.id_column, form)]
        join_attributes(folder, run.catalog, tables, categorical, numeric, bad)
        values = read_attributes(folder, [*categorical, *numeric])
        title = None
        if arguments.title:
            columns = [arguments.title]
            join_texts(folder, run.catalog, [path], columns, data.id_column, form, bad)
            title = read_texts(folder, columns).combine_chunks()
        return Beside({c: values[c] for c in categorical}, {c: values[c] for c in numeric}, title)


def _read_own(run: Run) -> Beside:
    """What stage 01 has read by the columns of the config; the title is the first text."""
    experiment, data = run.experiment, run.experiment.config.data
    if not data.attribute_columns:
        raise UserError(f"{run.name}: no columns of attributes; name a table of them by --texts")
    values = attributes_of_side(experiment, "train")
    title, columns = None, data.text_columns[:1]
    if columns:
        title = read_texts(experiment.path("extract/texts/train"), columns).combine_chunks()
    category = {name: values[name] for name in data.categorical_columns}
    return Beside(category, {name: values[name] for name in data.numeric_columns}, title)
