"""What the models of the config say of the products that people were asked about."""

import numpy as np

from lib import pipeline
from lib.artifacts import survey
from lib.config.schema import Config
from lib.data.catalog import Catalog
from lib.features.candidates import make_query
from lib.features.network import best_classes
from lib.inference.topk import TopK
from lib.stages import ranking_stage


def answers(
    config: Config, part: str, catalogue: Catalog, products: np.ndarray, class_count: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The class that each model puts first, int16 [N], for products int64 [N] ascending of `part`.

    The geometric mean over all pictures and views of a product; out-of-fold for `fit`. The second
    result says of which models there are no predictions, or none of the settings as they are.
    """
    stages = pipeline.stages(config)
    states = survey([*stages["extract"], *stages["train"], *stages["predict"]])
    query = make_query(catalogue, products)
    found, left_out = {}, []
    for name in config.models:
        state = states.get(config.at(f"predictions/{name}/{part}"))
        if state is not None and state.state == "fresh":
            dump = _of_pictures(ranking_stage.read_dump(config, name, part), query.images)
            found[name] = best_classes(query, [dump], [1.0], class_count)
        else:
            left_out.append(f"{name} is left out: its predictions of {part} are {state or 'none'}.")
    return found, left_out


def _of_pictures(dump: TopK, images: np.ndarray) -> TopK:
    """The rows of these pictures; where the dump lacks one, another, which `best_classes` sees."""
    rows = np.minimum(np.searchsorted(dump.image, images), len(dump.image) - 1)
    return TopK(dump.image[rows], dump.classes[rows], dump.probs[rows], dump.rest[rows])
