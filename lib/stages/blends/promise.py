"""What the scores of labelled products are worth, and what they promise for the others."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from lib.data.catalog import LOCKED, Catalog, read_splits
from lib.evaluation.abstention import (
    AbstentionResult,
    AbstentionRule,
    evaluate_abstention,
    reweight_rule,
)
from lib.evaluation.expected_accuracy import expected_accuracy, no_more_than
from lib.evaluation.metrics import Estimate, accuracy
from lib.evaluation.product_columns import far_limit, image_columns, nearest_outside_group
from lib.evaluation.promise import Promise, loss_of_evidence, without_twin
from lib.evaluation.shift import Shift, measure_shift
from lib.pipeline.experiment import Experiment
from lib.similarity.twins import max_per_product
from lib.stages.blends.scores import BlendScores
from lib.stages.read import (
    catalog_of_part,
    nearest_of_products,
    open_labelled_search,
    read_embeddings,
    read_nearest,
    read_scale,
    read_sets_in_test,
    read_twins,
)
from lib.utils.groups import group_argmax, group_max

MANY_NEIGHBORS = 200  # in which an image looks for one outside of its group
MIN_CHANCE = 1e-3  # probabilities are clipped to this and 1 - this before the logarithm of the odds


class Best(NamedTuple):
    """The best class of each product of a part.

    product: int32 [Q]. correct: bool [Q], all False in the test part. probability: float32 [Q].
    margin: float32 [Q], by which it is more probable than the second.
    """

    product: np.ndarray
    correct: np.ndarray
    probability: np.ndarray
    margin: np.ndarray


def measure_abstention(experiment: Experiment, locked: BlendScores) -> AbstentionResult:
    """Measure the fitted abstention rule on the locked part."""
    rule = AbstentionRule.load(experiment.path("calibration"))
    rows, group = locked.rows, catalog_of_part(experiment, "locked").group
    return evaluate_abstention(rule, locked.score, rows.product, rows.target, group)


def locked_without_twin(experiment: Experiment, locked: BlendScores) -> tuple[int, Estimate | None]:
    """How many locked products have a near twin in training, and the accuracy of the others."""
    catalog, rows = catalog_of_part(experiment, "locked"), locked.rows
    splits, found = read_splits(experiment.path("extract/splits")), read_twins(experiment)
    cosine, row = read_nearest(experiment, "train")
    trained = splits.part[catalog.image_product[np.maximum(row, 0)]] != LOCKED
    alike = (row >= 0) & (cosine >= found.threshold) & trained
    twin = max_per_product(
        alike.any(axis=1).astype(np.float32), catalog.image_product, len(splits.part)
    )
    best = group_argmax(locked.score, rows.product)
    products = rows.product[best]
    group = None if catalog.group is None else catalog.group[products]
    has_twin = twin[products] > 0
    return int(has_twin.sum()), without_twin(rows.target[best] == 1, has_twin, group)


def out_of_fold_accuracy(experiment: Experiment, oof: BlendScores) -> Estimate:
    """Accuracy of the submitted blend on the rows that trained the boosters, out-of-fold."""
    rows, group = oof.rows, catalog_of_part(experiment, experiment.config.stack_part).group
    best = group_argmax(oof.score, rows.product)
    groups = None if group is None else group[rows.product[best]]
    return accuracy(rows.target[best] == 1, group=groups)


def measure_promise(
    experiment: Experiment, oof: BlendScores, locked: BlendScores, test: BlendScores
) -> tuple[Promise, AbstentionRule]:
    """Compare the products to classify with the labelled ones; the rule that holds for them."""
    rule = AbstentionRule.load(experiment.path("calibration"))
    labelled = catalog_of_part(experiment, "train")
    group = labelled.group
    if group is None:
        group = np.arange(len(labelled.product_id))
    new_group, seed = read_sets_in_test(experiment), experiment.config.seed
    images = _compare_images(experiment, labelled, group, new_group)
    near = _nearest_labelled(experiment, labelled, group)
    near_new = nearest_of_products(experiment, "test")
    best_oof, best_locked, best_new = (_best(rule, part) for part in (oof, locked, test))

    tests = {
        "nearest_cos": loss_of_evidence(_column(near), _column(near_new), group, new_group, seed),
        "probability": loss_of_evidence(
            np.column_stack([best_locked.probability, best_locked.margin]),
            np.column_stack([best_new.probability, best_new.margin]),
            group[best_locked.product],
            new_group[best_new.product],
            seed,
        ),
    }
    losses = {name: auc for name, auc in tests.items() if auc is not None}
    expect = partial(
        expected_accuracy,
        best_oof.correct,
        _evidence(best_oof, near),
        group=group[best_oof.product],
        new_group=new_group[best_new.product],
        seed=seed,
    )
    evidence = _evidence(best_new, near_new)
    expected = expect(evidence)
    if images.differs:
        # The embeddings have the principal axes of the labelled images. In these, images of another
        # kind may seem closer to the labelled ones than they are.
        evidence[:, 1] = no_more_than(evidence[:, 1], _evidence(best_oof, near)[:, 1])
        expected = replace(expected, low=min(expected.low, expect(evidence).low))
    supported = images.supported & ~(near_new < far_limit(near))
    promise = Promise(images, losses, supported, expected, near_new)
    rows, weights = oof.rows, images.weights[best_oof.product]
    rule = reweight_rule(
        rule, images, weights, oof.score, rows.product, rows.target, labelled.group
    )
    return promise, rule.withdraw() if promise.withdrawn else rule


def _compare_images(
    experiment: Experiment, labelled: Catalog, group: np.ndarray, new_group: np.ndarray
) -> Shift:
    """The two-sample test on what the images of labelled and of new products show."""
    scale, new = read_scale(experiment), catalog_of_part(experiment, "test")
    return measure_shift(
        image_columns(labelled, read_embeddings(experiment, "train"), scale),
        image_columns(new, read_embeddings(experiment, "test"), scale),
        group,
        new_group,
        experiment.config.seed,
    )


def _best(rule: AbstentionRule, part: BlendScores) -> Best:
    """The best class of each product of a part."""
    rows, probability = part.rows, rule.probability(part.score, part.rows.product)
    best = group_argmax(part.score, rows.product)
    others = probability.copy()
    others[best] = 0
    query = np.unique(rows.product, return_inverse=True)[1]
    second = group_max(others, query, len(best)).astype(np.float32)
    first = probability[best]
    return Best(rows.product[best], rows.target[best] == 1, first, first - second)


def _evidence(best: Best, nearest_cos: np.ndarray) -> np.ndarray:
    """What speaks for the best class of each product: float32 [Q, 2], finite.

    Its log odds, and the cosine to the nearest labelled image of nearest_cos: float32 [P]. A
    product without an image is like none.
    """
    chance = np.clip(best.probability, MIN_CHANCE, 1 - MIN_CHANCE)
    cosine = nearest_cos[best.product]
    return np.column_stack(
        [np.log(chance / (1 - chance)), np.where(np.isfinite(cosine), cosine, 0)]
    )


def _column(values: np.ndarray) -> np.ndarray:
    """float32 [n] as a table of one column, NaN where a product has no image."""
    return np.where(np.isfinite(values), values, np.nan)[:, None]


def _nearest_labelled(experiment: Experiment, labelled: Catalog, group: np.ndarray) -> np.ndarray:
    """Cosine of each labelled product to the nearest outside of its group: float32 [P]."""
    cosine, row = read_nearest(experiment, "train")
    image_group = group[labelled.image_product]
    near = nearest_outside_group(cosine, row, image_group, image_group)
    inside = ~((row >= 0) & (image_group[np.maximum(row, 0)] != image_group[:, None])).any(axis=1)
    images = np.flatnonzero(inside)
    if len(images):  # all their nearest images are of the same group
        k = min(MANY_NEIGHBORS, len(image_group))
        queries = read_embeddings(experiment, "train")[images]
        found = open_labelled_search(experiment).search(queries, k)
        near[images] = nearest_outside_group(*found, image_group, image_group[images])
    return max_per_product(near, labelled.image_product, len(labelled.product_id))
