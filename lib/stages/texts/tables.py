"""Stage 01, `data.text_columns`: the texts of the products of each side

work/<name>/extract/texts/<side>   texts.arrow; a row is a product of extract/<side>
"""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config.model import Model
from lib.data.sources.source_files import (
    checked_shards,
    input_path,
    source_kind,
    source_path,
    text_paths,
)
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.pipeline.predict_target import SHARDS

if TYPE_CHECKING:
    import pyarrow as pa

    from lib.data.texts.tables import TextTable

logger = logging.getLogger(__name__)


def declare_texts(graph: Graph) -> list[Artifact]:
    """The texts of each side; none without `data.text_columns`."""
    experiment, data = graph.experiment, graph.experiment.config.data
    kinds = {side: source_kind(experiment, side) for side in experiment.sides}
    return [
        graph.add(
            f"extract/texts/{side}",
            partial(build_texts, experiment, side),
            settings={
                "columns": data.text_columns,
                "id_column": data.id_column,
                "separator": data.separator,
                "encoding": data.encoding,
                **({"source": kinds[side]} if kinds[side] in SHARDS else {}),
            },
            inputs=[f"extract/{side}"],
            files={
                **text_paths(experiment, side),
                **({side: input_path(experiment, side)} if kinds[side] in SHARDS else {}),
            },
        )
        for side in (experiment.sides if data.text_columns else ())
    ]


def build_texts(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Join the texts to the products of a side; products without a row are counted.

    New products (`--new`) may come without any text: a warning says so.
    """
    from lib.data.sources.file_kind import GZIP, check_kind
    from lib.data.sources.text_table import PACKED_SUFFIX, TableFormat
    from lib.data.texts.join import join_texts
    from lib.stages.read import index_of_side

    data, paths = experiment.config.data, text_paths(experiment, side)
    for path in paths.values():
        packed = path.name.lower().endswith(PACKED_SUFFIX)
        check_kind(path, "a CSV table", GZIP if packed else "")
    facts = join_texts(
        folder,
        index_of_side(experiment, side),
        list(paths.values()),
        data.text_columns,
        data.id_column,
        TableFormat(data.encoding, data.separator),
        data.max_bad_fraction,
        must_match=side == "train" or experiment.target is None,
        own=_own_texts(experiment, side),
    )
    for caution in facts.pop("cautions"):
        logger.warning("texts of %s: %s", source_path(experiment, side), caution)
    logger.info(
        "%s: %s of %s products have no row with texts, %s no text at all",
        *(source_path(experiment, side), f"{facts['without_row']:,}", f"{facts['products']:,}"),
        f"{facts['without_text']:,}",
    )
    return facts


def _own_texts(experiment: Experiment, side: str) -> "TextTable | None":
    """The texts that the files of a side have themselves, if they are no CSV."""
    from lib.data.sources.webdataset.texts import sample_texts

    data, path = experiment.config.data, source_path(experiment, side)
    if source_kind(experiment, side) not in SHARDS:
        return None
    return sample_texts(path, checked_shards(experiment, side), data.id_column, data.text_columns)


def texts_of_side(experiment: Experiment, model: Model, side: str) -> "pa.Table":
    """The texts that a model reads: string columns, null where missing; a row is a product."""
    from lib.data.texts.join import read_texts

    columns = model.text.columns or experiment.config.data.text_columns
    return read_texts(experiment.path(f"extract/texts/{side}"), columns)
