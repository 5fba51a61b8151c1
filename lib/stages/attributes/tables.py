"""Stage 01, `data.categorical_columns` and `numeric_columns`: the attributes of each side

work/<name>/extract/attributes/<side>   attributes.arrow; a row is a product of extract/<side>
"""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.data.sources.source_files import source_path
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.stages.texts.tables import open_tables, table_files, table_settings

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)


def declare_attributes(graph: Graph) -> list[Artifact]:
    """The attributes of each side; none without columns of them.

    Numbers of the products to classify are read as those of the labelled ones.
    """
    experiment, data = graph.experiment, graph.experiment.config.data
    return [
        graph.add(
            f"extract/attributes/{side}",
            partial(build_attributes, experiment, side),
            settings={
                "categorical": data.categorical_columns,
                "numeric": data.numeric_columns,
                "decimal": data.decimal,
                **table_settings(experiment, side),
            },
            inputs=[
                f"extract/{side}",
                *(["extract/attributes/train"] if side == "test" else []),
            ],
            files={**table_files(experiment, side)},
        )
        for side in (experiment.sides if data.attribute_columns else ())
    ]


def build_attributes(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Join the attributes to the products of a side, and say how numbers were read.

    New products (`--new`) may come without any: a warning says so.
    """
    from lib.data.attributes.join import join_attributes, read_readings
    from lib.stages.read import index_of_side

    data = experiment.config.data
    trained = experiment.path("extract/attributes/train")
    facts = join_attributes(
        folder,
        index_of_side(experiment, side),
        open_tables(experiment, side, data.attribute_columns),
        data.categorical_columns,
        data.numeric_columns,
        data.max_bad_fraction,
        must_match=side == "train" or experiment.target is None,
        decimal=data.decimal,
        trained=read_readings(trained, data.numeric_columns) if side == "test" else None,
    )
    place = source_path(experiment, side)
    for line in facts.pop("said"):
        logger.info("attributes of %s: %s", place, line)
    for caution in facts.pop("cautions"):
        logger.warning("attributes of %s: %s", place, caution)
    for name, present in facts["present"].items():
        logger.info("%s: %s: %s of %s products", place, name, f"{present:,}", facts["products"])
    return facts


def attributes_of_side(experiment: Experiment, side: str) -> "pa.Table":
    """The columns of attributes, categorical ones first; a row is a product."""
    from lib.data.attributes.join import read_attributes

    columns = experiment.config.data.attribute_columns
    return read_attributes(experiment.path(f"extract/attributes/{side}"), columns)
