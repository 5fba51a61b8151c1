"""Scores of every blend on the rows of a part."""

from functools import partial
from typing import NamedTuple

import numpy as np

from lib.errors import UserError
from lib.features.query import row_partitions
from lib.pipeline.experiment import Experiment
from lib.pipeline.reading import map_array, read_json
from lib.stacking import blend
from lib.stages.read import (
    CandidateRows,
    Member,
    all_boosters,
    all_members,
    read_candidates,
    read_scores,
)
from lib.utils.groups import group_normalize

FEW = 1_000  # products that train boosters; fewer may teach them less than the networks know


class BlendScores(NamedTuple):
    """The candidate rows of a part, and the submitted blend's score of each: float32 [R]."""

    rows: CandidateRows
    score: np.ndarray


def members_to_fit(experiment: Experiment, rows: CandidateRows) -> list[Member]:
    """The members that the fitted blend weighs: the boosters; of few products the networks too.

    rows: those that train the boosters. Of many products boosters know what the networks say, and
    weights that are fitted by log loss would prefer a network to boosters of few trees, whose
    probabilities are flat though their order is better.
    """
    few = len(np.unique(rows.product)) < FEW
    return all_members(experiment) if few else all_boosters(experiment)


def blend_names(experiment: Experiment) -> list[str]:
    """The blends that can be scored: "published" needs members of its own."""
    published = blend.published_members(list(experiment.config.classifiers))
    complete = published <= set(all_boosters(experiment))
    return ["simple", "fitted", *(["published"] if complete else [])]


def scores_of_blend(experiment: Experiment, name: str, part: str) -> np.ndarray:
    """Scores of a blend on the rows of a part: float32 [R]. The members' are read by partitions."""
    product = map_array(experiment.path(f"features/candidates/{part}") / "product.npy")
    pieces = [_blend_rows(experiment, name, part, rows) for rows in row_partitions(product)]
    return np.concatenate(pieces)


def _blend_rows(experiment: Experiment, name: str, part: str, rows: slice) -> np.ndarray:
    """Scores of a blend on some rows of a part, whole products: float32 [r]."""
    boosters = all_boosters(experiment)
    read = partial(read_scores, experiment, part=part, rows=rows)
    if name == "published":
        published = blend.published_members(list(experiment.config.classifiers))
        scores = {member: read(Member(*member)) for member in published}
        return blend.published(scores, experiment.config.model_weights)
    if name == "simple":
        weights = dict.fromkeys(boosters, 1 / len(boosters))
    else:
        weights = {m: weight for m, weight in fitted_weights(experiment).items() if weight > 0}
    path = experiment.path(f"features/candidates/{part}") / "product.npy"
    product = np.array(map_array(path)[rows])
    return blend.weighted_mean(map(read, weights), np.array(list(weights.values())), product)


def fitted_weights(experiment: Experiment) -> dict[Member, float]:
    """The weight of every member in the fitted blend."""
    fitted = read_json(experiment.path("blend") / "weights.json")
    return {Member(*name.split("/")): weight for name, weight in fitted.items()}


def score_part(experiment: Experiment, part: str) -> BlendScores:
    """The rows of a part with the scores of the submitted blend; errors of `submitted_scores`."""
    return BlendScores(read_candidates(experiment, part), submitted_scores(experiment, part))


def submitted_scores(experiment: Experiment, part: str) -> np.ndarray:
    """Scores of the submitted blend: float32 [R]. Raises UserError where it lacks members."""
    name = experiment.config.blend.submit
    if name not in blend_names(experiment):
        raise UserError(
            'blend.submit = "published" needs L3 xgboost, lgbm_deep and lgbm_extra of every source'
            ' and xgboost in stack.multi_l2; set them, or blend.submit = "fitted"'
        )
    return scores_of_blend(experiment, name, part)


def best_member(experiment: Experiment, layer: str) -> Member:
    """The member of a layer with the lowest out-of-fold log loss of the true candidate."""
    part = experiment.config.stack_part
    rows = read_candidates(experiment, part)
    true = rows.target == 1

    def log_loss(member: Member) -> float:
        score = read_scores(experiment, member, part)
        share = group_normalize(score, rows.product)[true]
        return float(-np.log(np.maximum(share, blend.MIN_SHARE)).mean())

    return min(
        (member for member in all_boosters(experiment) if member.layer == layer), key=log_loss
    )
