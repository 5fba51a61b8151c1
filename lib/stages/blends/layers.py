"""What each layer of the pipeline answers: the networks, every layer of boosters"""

import numpy as np

from lib.features.network import best_classes
from lib.features.query import make_query
from lib.pipeline.experiment import Experiment
from lib.stacking import blend
from lib.stages.read import (
    all_boosters,
    catalog_of_part,
    num_classes,
    read_candidates,
    read_scores,
    read_topk_of_all,
)


def layer_answers(experiment: Experiment, part: str) -> dict[str, np.ndarray]:
    """The best class of each product of a part by each layer: int16 [Q], -1 for nothing.

    "networks": by their weighted geometric mean, over all images and views. "layer 2" and so on: by
    the mean of its boosters. Products are those of the candidate rows, ascending; out-of-fold where
    the part trains the boosters.
    """
    config, rows = experiment.config, read_candidates(experiment, part)
    query = make_query(catalog_of_part(experiment, part), np.unique(rows.product).astype(np.int64))
    topks, weights = read_topk_of_all(experiment, part), list(config.model_weights.values())
    answers = {"networks": best_classes(query, topks, weights, num_classes(experiment))}
    members = all_boosters(experiment)
    for layer in dict.fromkeys(member.layer for member in members):
        own = [member for member in members if member.layer == layer]
        scores = (read_scores(experiment, member, part) for member in own)
        score = blend.weighted_mean(scores, np.full(len(own), 1 / len(own)), rows.product)
        _, best = blend.argmax_per_product(rows.product, rows.class_id, score)
        answers[f"layer {layer[1:]}"] = best
    return answers
