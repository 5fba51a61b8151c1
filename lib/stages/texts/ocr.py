"""Stage 01, models and encoders of texts whose columns name "ocr": the words in the pictures

work/<name>/extract/ocr/<side>   words.arrow; a row is an image of extract/<side>

They are read once, whatever the number of models.
"""

from functools import partial
from pathlib import Path
from typing import Any

from lib.config.inputs.ocr import ENGINE, reads_pictures
from lib.config.inputs.text import Text, TextEncoder
from lib.config.schema import as_dict
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.runtime.workers import num_threads


def has_ocr(experiment: Experiment) -> bool:
    """Whether a model or an encoder of texts reads the words in the pictures."""
    config = experiment.config
    readers: list[Text | TextEncoder] = list(config.text_encoders.values())
    readers += [model.text for model in config.classifiers.values() if model.input == "text"]
    return any(reads_pictures(reader, config.data) for reader in readers)


def declare_ocr(graph: Graph) -> list[Artifact]:
    """The words in the pictures of each side; none if no model reads them."""
    experiment = graph.experiment
    return [
        graph.add(
            f"extract/ocr/{side}",
            partial(build_words, experiment, side),
            settings={
                "ocr": as_dict(experiment.config.ocr),
                "engine": ENGINE,
                "background": experiment.config.data.background,
            },
            inputs=[f"extract/{side}"],
            resumable=True,
        )
        for side in (experiment.sides if has_ocr(experiment) else ())
    ]


def build_words(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Read the words in the pictures of a side, in as many processes as `run.workers` says."""
    from lib.inference.ocr import write_words
    from lib.stages.read import index_of_side

    config = experiment.config
    return write_words(
        folder,
        partial(index_of_side, experiment, side),
        config.ocr,
        config.run.workers or num_threads(config.run),
        config.data.max_missing_fraction if side == "train" else 1.0,
    )
