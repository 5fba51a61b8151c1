"""Stage 03, `[text_encoders]`: embeddings of the texts of products, for fusion models

work/<name>/embeddings/<encoder>/frozen/<side>   features.npy; a row is a product
"""

from functools import partial
from pathlib import Path
from typing import Any

from lib.config.inputs.text import TextEncoder
from lib.config.model import Backbone
from lib.config.schema import as_dict
from lib.errors import UserError
from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph
from lib.stages.texts.tables import text_inputs, texts_of_side


def used_encoders(experiment: Experiment) -> dict[str, TextEncoder]:
    """The encoders whose embeddings a fusion model reads."""
    config = experiment.config
    return {n: e for n, e in config.text_encoders.items() if n in config.fusion_inputs}


def declare_text_encoders(graph: Graph) -> list[Artifact]:
    """The embeddings of each side by every encoder that is used."""
    experiment = graph.experiment
    return [
        graph.add(
            f"embeddings/{name}/frozen/{side}",
            partial(embed_texts, experiment, name, side),
            settings={"encoder": as_dict(encoder)},
            inputs=[f"extract/{side}", *text_inputs(experiment, encoder, side)],
            files={**_weight_files(encoder)},
            resumable=True,
        )
        for name, encoder in used_encoders(experiment).items()
        for side in experiment.sides
    ]


def check_encoders(experiment: Experiment) -> None:
    """Load every encoder that is used. Raises UserError for one that cannot be loaded."""
    encoders = used_encoders(experiment)
    if not encoders:
        return

    from lib.models.text.encoder import load_encoder
    from lib.runtime.device import select_device

    device = select_device(experiment.config.run, Backbone())  # in float32, as a backbone
    for name, encoder in encoders.items():
        try:
            load_encoder(encoder, device)
        except UserError as error:
            raise UserError(f"text_encoders.{name}: {error}") from None


def embed_texts(experiment: Experiment, name: str, side: str, folder: Path) -> dict[str, Any]:
    """Embed the texts of all products of a side with one encoder."""
    from lib.inference.text_embeddings import write_text_embeddings
    from lib.models.text.encoder import load_encoder
    from lib.runtime.device import select_device

    config = experiment.config
    encoder = config.text_encoders[name]
    encode = load_encoder(encoder, select_device(config.run, Backbone()))
    return write_text_embeddings(folder, encode, texts_of_side(experiment, encoder, side))


def _weight_files(encoder: TextEncoder) -> dict[str, Path]:
    """The files of the weights, if these are a folder of the user."""
    folder = Path(encoder.weights)
    if not folder.is_dir():
        return {}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"weights/{path.relative_to(folder)}": path for path in files}
