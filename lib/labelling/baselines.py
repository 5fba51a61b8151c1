"""The classes that the config's models predict for the products that people label."""

import numpy as np

from lib import pipeline
from lib.artifacts import survey
from lib.config.schema import Config
from lib.data.catalog import Catalog
from lib.features.candidates import make_query
from lib.features.network import best_classes
from lib.inference.topk import TopK
from lib.stages import ranking_stage


def predicted_classes(
    config: Config, part: str, catalog: Catalog, products: np.ndarray, num_classes: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The most probable class id of each model, int16 [N], by model name.

    products: int64 [N], ascending rows of `part`. A class is the best one by the geometric mean
    over all images and views of a product; out-of-fold for the part `fit`. The second result has
    a sentence for each model without predictions, or with predictions of other settings.
    """
    stages = pipeline.stages(config)
    statuses = survey([*stages["extract"], *stages["train"], *stages["predict"]])
    query = make_query(catalog, products)
    classes, notes = {}, []
    for name in config.models:
        status = statuses.get(config.at(f"predictions/{name}/{part}"))
        if status is not None and status.state == "fresh":
            topk = _select_images(ranking_stage.read_dump(config, name, part), query.images)
            classes[name] = best_classes(query, [topk], [1.0], num_classes)
        else:
            notes.append(f"{name} is left out: its predictions of {part} are {status or 'none'}.")
    return classes, notes


def _select_images(topk: TopK, images: np.ndarray) -> TopK:
    """The rows of `images` (int64, ascending).

    A missing image gets another image's row, which `best_classes` detects and reports.
    """
    rows = np.minimum(np.searchsorted(topk.image, images), len(topk.image) - 1)
    return TopK(topk.image[rows], topk.classes[rows], topk.probs[rows], topk.rest[rows])
