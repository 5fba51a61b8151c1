"""Stage 01, `data.text_columns`: the texts of the products of each side

work/<name>/extract/texts/<side>   texts.arrow; a row is a product of extract/<side>

A model may also read the words in the pictures: `lib/stages/texts/ocr.py`.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.inputs.ocr import OCR_COLUMN, columns_of_tables, reads_pictures
from lib.config.inputs.text import Text, TextEncoder
from lib.data.sources.source_files import (
    checked_shards,
    data_of_side,
    input_path,
    source_kind,
    source_path,
    text_paths,
)
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.pipeline.predict_target import SHARDS
from lib.runtime.workers import num_threads
from lib.stages.texts.ocr import declare_ocr

if TYPE_CHECKING:
    import pyarrow as pa

    from lib.data.texts.tables import TextTable

logger = logging.getLogger(__name__)


def declare_texts(graph: Graph) -> list[Artifact]:
    """The texts of each side, if there are `data.text_columns`; the words in its pictures."""
    experiment, data = graph.experiment, graph.experiment.config.data
    tables = [
        graph.add(
            f"extract/texts/{side}",
            partial(build_texts, experiment, side),
            settings={"columns": data.text_columns, **table_settings(experiment, side)},
            inputs=[f"extract/{side}"],
            files={**table_files(experiment, side)},
        )
        for side in (experiment.sides if data.text_columns else ())
    ]
    return [*tables, *declare_ocr(graph)]


def table_settings(experiment: Experiment, side: str) -> dict[str, Any]:
    """The settings that the tables of a side are read by."""
    data, kind = data_of_side(experiment, side), source_kind(experiment, side)
    settings = {key: getattr(data, key) for key in ("id_column", "separator", "encoding")}
    return settings | ({"source": kind} if kind in SHARDS else {})


def table_files(experiment: Experiment, side: str) -> dict[str, Path]:
    """The files that may have texts and attributes of a side."""
    is_shards = source_kind(experiment, side) in SHARDS
    own = {side: input_path(experiment, side)} if is_shards else {}
    return {**text_paths(experiment, side), **own}


def open_tables(experiment: Experiment, side: str, columns: Sequence[str]) -> "list[TextTable]":
    """The tables that may have these columns. Raises UserError for a file of another kind."""
    from lib.data.sources.text_table import TableFormat
    from lib.data.texts.tables import csv_texts

    data, own = data_of_side(experiment, side), own_texts(experiment, side, columns)
    form = TableFormat(data.encoding, data.separator)
    paths = check_paths(experiment, side)
    return [*([own] if own else []), *(csv_texts(path, data.id_column, form) for path in paths)]


def check_paths(experiment: Experiment, side: str) -> list[Path]:
    """The CSV tables of a side. Raises UserError for a file of another kind."""
    from lib.data.sources.file_kind import GZIP, check_kind
    from lib.data.sources.text_table import PACKED_SUFFIX

    paths = list(text_paths(experiment, side).values())
    for path in paths:
        packed = path.name.lower().endswith(PACKED_SUFFIX)
        check_kind(path, "a CSV table", GZIP if packed else "")
    return paths


def build_texts(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Join the texts to the products of a side; products without a row are counted.

    New products (`--new`) may come without any text: a warning says so.
    """
    from lib.data.sources.text_table import TableFormat
    from lib.data.texts.join import join_texts
    from lib.stages.read import index_of_side

    data = data_of_side(experiment, side)
    facts = join_texts(
        folder,
        index_of_side(experiment, side),
        check_paths(experiment, side),
        data.text_columns,
        data.id_column,
        TableFormat(data.encoding, data.separator),
        data.max_bad_fraction,
        must_match=side == "train" or experiment.target is None,
        own=own_texts(experiment, side, data.text_columns),
    )
    for caution in facts.pop("cautions"):
        logger.warning("texts of %s: %s", source_path(experiment, side), caution)
    logger.info(
        "%s: %s of %s products have no row with texts, %s no text at all",
        *(source_path(experiment, side), f"{facts['without_row']:,}", f"{facts['products']:,}"),
        f"{facts['without_text']:,}",
    )
    return facts


def own_texts(experiment: Experiment, side: str, columns: Sequence[str]) -> "TextTable | None":
    """The texts that the files of a side have themselves, if they are no CSV."""
    from lib.data.sources.parquet.texts import table_texts
    from lib.data.sources.text_table import TableFormat, read_header
    from lib.data.sources.webdataset.texts import sample_texts
    from lib.data.texts.documents import document_texts

    data, path = data_of_side(experiment, side), source_path(experiment, side)
    kind = source_kind(experiment, side)
    if kind == "bson":
        form = TableFormat(data.encoding, data.separator)
        beside = {
            name for table in check_paths(experiment, side) for name in read_header(table, form)
        }
        if beside.issuperset(columns):  # the documents need no further scan
            return None
        return document_texts(path, columns, num_threads(experiment.config.run))
    if kind not in SHARDS:
        return None
    paths = checked_shards(experiment, side)
    if kind == "parquet":
        return table_texts(path, paths, data.id_column)
    return sample_texts(path, paths, data.id_column, columns)


def text_inputs(experiment: Experiment, reader: Text | TextEncoder, side: str) -> list[str]:
    """The artifacts that the texts of a model or an encoder come from."""
    data, inputs = experiment.config.data, []
    if columns_of_tables(reader, data):
        inputs.append(f"extract/texts/{side}")
    if reads_pictures(reader, data):
        inputs.append(f"extract/ocr/{side}")
    return inputs


def texts_of_side(experiment: Experiment, reader: Text | TextEncoder, side: str) -> "pa.Table":
    """What a model or an encoder reads: string columns, null where missing; a row is a product."""
    import pyarrow as pa

    from lib.data.texts.join import read_texts
    from lib.inference.ocr import words_of_products
    from lib.stages.read import index_of_side

    data = experiment.config.data
    columns = {}
    if names := columns_of_tables(reader, data):
        table = read_texts(experiment.path(f"extract/texts/{side}"), names)
        columns = {name: table[name] for name in names}
    if reads_pictures(reader, data):
        folder = experiment.path(f"extract/ocr/{side}")
        columns[OCR_COLUMN] = words_of_products(folder, index_of_side(experiment, side))
    return pa.table(columns)
