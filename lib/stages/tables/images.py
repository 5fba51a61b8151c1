"""Stage 01, source = "parquet": the images of the tables, unpacked where they are in them.

work/<name>/extract/unpacked/<side>   the bytes of the images, by the order of the rows
"""

from functools import partial
from pathlib import Path
from typing import Any

from lib.data.sources.source_files import checked_shards, data_of_side, input_path, source_kind
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.stages.openimages.annotations import annotation_inputs


def declare_images(graph: Graph) -> list[Artifact]:
    """The images of each side that is a Parquet or Arrow table."""
    experiment = graph.experiment
    return [
        graph.add(
            name,
            partial(unpack_side, experiment, side),
            settings={"images_column": data_of_side(experiment, side).images_column},
            files={side: input_path(experiment, side)},
            resumable=True,
        )
        for side in experiment.sides
        for name in table_inputs(experiment, side)
    ]


def table_inputs(experiment: Experiment, side: str) -> list[str]:
    """The artifacts that hold the images of a side; none unless it is such a table."""
    is_table = side != "categories" and source_kind(experiment, side) == "parquet"
    return [f"extract/unpacked/{side}"] if is_table else []


def inputs_of_side(experiment: Experiment, name: str) -> list[str]:
    """The artifacts that are read beside the files of a side, or of "categories"."""
    return [*annotation_inputs(experiment, name), *table_inputs(experiment, name)]


def unpack_side(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Unpack the images of a side: those of Parquet are compressed and have no offsets."""
    from lib.data.sources.parquet.unpack import unpack_images

    column = data_of_side(experiment, side).images_column
    return unpack_images(checked_shards(experiment, side), column, folder)
