"""What the scores of labelled products are worth, and what they promise for the others."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lib.data.catalog import LOCKED, Catalog, read_splits
from lib.data.corrections import read_given_labels
from lib.evaluation.abstention import (
    AbstentionResult,
    AbstentionRule,
    evaluate_abstention,
    reweight_rule,
)
from lib.evaluation.expected_accuracy import expected_accuracy
from lib.evaluation.metrics import Estimate, accuracy
from lib.evaluation.product_columns import (
    LabelledImages,
    far_limit,
    fill_missing,
    image_columns,
    neighbor_columns,
)
from lib.evaluation.promise import Promise, loss_of_evidence, without_twin
from lib.evaluation.shift import Shift, measure_shift
from lib.pipeline.experiment import Experiment
from lib.similarity.support import UsualDistances
from lib.similarity.twins import max_per_product
from lib.stages.blends.scores import BlendScores
from lib.stages.read import (
    catalog_of_part,
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

    product: int32 [Q]. class_id: int16 [Q]. correct: bool [Q], all False in the test part.
    probability: float32 [Q]. margin: float32 [Q], by which it is more probable than the second.
    """

    product: np.ndarray
    class_id: np.ndarray
    correct: np.ndarray
    probability: np.ndarray
    margin: np.ndarray


class LabelledSide(NamedTuple):
    """What the products to classify are compared with: the same whatever they are.

    oof: the scores that trained the rule. rule: the abstention rule. catalog, group: all labelled
    products, int [P]. columns: float32 [P, d] of `image_columns`. best_oof, best_locked: the best
    classes. near: float32 [P, 3] of `neighbor_columns`.
    """

    oof: BlendScores
    rule: AbstentionRule
    catalog: Catalog
    group: np.ndarray
    columns: np.ndarray
    best_oof: Best
    best_locked: Best
    near: np.ndarray


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


def by_given_labels(experiment: Experiment, part: BlendScores) -> tuple[int, Estimate]:
    """How many products of a part have a corrected label, and the accuracy by the original ones."""
    catalog, rows = catalog_of_part(experiment, "train"), part.rows
    given = read_given_labels(experiment.path("extract/train"))
    best = group_argmax(part.score, rows.product)
    products = rows.product[best]
    group = None if catalog.group is None else catalog.group[products]
    changed = int((given != catalog.label)[products].sum())
    return changed, accuracy(rows.class_id[best] == given[products], group=group)


def out_of_fold_accuracy(experiment: Experiment, oof: BlendScores) -> Estimate:
    """Accuracy of the submitted blend on the rows that trained the boosters, out-of-fold."""
    rows, group = oof.rows, catalog_of_part(experiment, experiment.config.stack_part).group
    best = group_argmax(oof.score, rows.product)
    groups = None if group is None else group[rows.product[best]]
    return accuracy(rows.target[best] == 1, group=groups)


def read_labelled(experiment: Experiment, oof: BlendScores, locked: BlendScores) -> LabelledSide:
    """What products are compared with. oof, locked: the scores of labelled products."""
    rule = AbstentionRule.load(experiment.path("calibration"))
    catalog = catalog_of_part(experiment, "train")
    group = catalog.group
    if group is None:
        group = np.arange(len(catalog.product_id))
    columns = image_columns(catalog, read_embeddings(experiment, "train"), read_scale(experiment))
    best_oof, best_locked = (_best(rule, part) for part in (oof, locked))
    near = _neighbors_of_labelled(experiment, catalog, group, best_oof)
    return LabelledSide(oof, rule, catalog, group, columns, best_oof, best_locked, near)


def measure_promise(
    experiment: Experiment, labelled: LabelledSide, test: BlendScores
) -> tuple[Promise, AbstentionRule]:
    """Compare the products to classify with the labelled ones; the rule that holds for them."""
    rule, group, best_oof = labelled.rule, labelled.group, labelled.best_oof
    new, seed = catalog_of_part(experiment, "test"), experiment.config.seed
    new_group = read_sets_in_test(experiment)
    images = _compare_images(experiment, labelled, new, new_group)
    best_locked, best_new = labelled.best_locked, _best(rule, test)
    near, near_new = labelled.near, _neighbors_of_new(experiment, labelled, new, best_new)

    nearest, nearest_new = near[:, 0], near_new[:, 0]
    # Products without an image are never accepted; they do not speak for the others.
    seen, seen_new = np.isfinite(nearest), np.isfinite(nearest_new)
    has_image = seen_new[best_new.product]
    tests = {
        "nearest_cos": loss_of_evidence(
            nearest[seen, None], nearest_new[seen_new, None], group[seen], new_group[seen_new], seed
        ),
        "probability": loss_of_evidence(
            np.column_stack([best_locked.probability, best_locked.margin]),
            np.column_stack([best_new.probability, best_new.margin])[has_image],
            group[best_locked.product],
            new_group[best_new.product[has_image]],
            seed,
        ),
    }
    losses = {name: auc for name, auc in tests.items() if auc is not None}
    expected = expected_accuracy(
        best_oof.correct,
        _evidence(best_oof, near),
        _evidence(best_new, near_new),
        group[best_oof.product],
        new_group[best_new.product],
        seed,
    )
    supported = images.supported & ~(nearest_new < far_limit(nearest))
    promise = Promise(images, losses, supported, expected, nearest_new)
    rows, weights = labelled.oof.rows, images.weights[best_oof.product]
    rule = reweight_rule(
        rule, images, weights, labelled.oof.score, rows.product, rows.target, labelled.catalog.group
    )
    return promise, rule.withdraw() if promise.withdrawn else rule


def usual_distances(experiment: Experiment, labelled: LabelledSide) -> UsualDistances:
    """How far apart labelled products are, for `compare_each`."""
    seen = labelled.catalog.image_count > 0
    return UsualDistances(labelled.columns[seen], labelled.group[seen], experiment.config.seed)


def compare_each(
    experiment: Experiment, labelled: LabelledSide, usual: UsualDistances, test: BlendScores
) -> tuple[np.ndarray, np.ndarray]:
    """Each product to classify as if it were the only one, of which no test says more.

    Returns bool [P], whether it looks like some labelled product, and float32 [P], the cosine to
    the nearest one: `supported` and `nearest_cos` of its own promise.
    """
    new, best = catalog_of_part(experiment, "test"), _best(labelled.rule, test)
    nearest = _neighbors_of_new(experiment, labelled, new, best)[:, 0]
    supported, seen = np.zeros(len(nearest), bool), new.image_count > 0
    columns = image_columns(new, read_embeddings(experiment, "test"), read_scale(experiment))
    supported[seen] = ~usual.is_far_alone(columns[seen])
    return supported & ~(nearest < far_limit(labelled.near[:, 0])), nearest


def _compare_images(
    experiment: Experiment, labelled: LabelledSide, new: Catalog, new_group: np.ndarray
) -> Shift:
    """The two-sample test on what the images of labelled and of new products show.

    Products without an image are left out: labelled ones have weight 1, new ones no support.
    """
    seen, seen_new = labelled.catalog.image_count > 0, new.image_count > 0
    columns = image_columns(new, read_embeddings(experiment, "test"), read_scale(experiment))
    shift = measure_shift(
        labelled.columns[seen],
        columns[seen_new],
        labelled.group[seen],
        new_group[seen_new],
        experiment.config.seed,
    )
    weights, supported = np.ones(len(seen)), np.zeros(len(seen_new), bool)
    weights[seen], supported[seen_new] = shift.weights, shift.supported
    return replace(shift, weights=weights, supported=supported)


def _best(rule: AbstentionRule, part: BlendScores) -> Best:
    """The best class of each product of a part."""
    rows, probability = part.rows, rule.probability(part.score, part.rows.product)
    best = group_argmax(part.score, rows.product)
    others = probability.copy()
    others[best] = 0
    query = np.unique(rows.product, return_inverse=True)[1]
    second = group_max(others, query, len(best)).astype(np.float32)
    first = probability[best]
    correct = rows.target[best] == 1
    return Best(rows.product[best], rows.class_id[best], correct, first, first - second)


def _evidence(best: Best, neighbors: np.ndarray) -> np.ndarray:
    """What speaks for the best class of each product: float32 [Q, 4], finite.

    Its log odds; of neighbors, float32 [P, 3], the cosine to the nearest labelled image and to the
    nearest of the best class, and by how much this is above the nearest of another class. A product
    without an image is like none.
    """
    chance = np.clip(best.probability, MIN_CHANCE, 1 - MIN_CHANCE)
    cosine = neighbors[best.product]
    cosine = np.where(np.isfinite(cosine), cosine, 0)
    margin = cosine[:, 1] - cosine[:, 2]
    return np.column_stack([np.log(chance / (1 - chance)), cosine[:, :2], margin])


def _neighbors_of_labelled(
    experiment: Experiment, labelled: Catalog, group: np.ndarray, best: Best
) -> np.ndarray:
    """`neighbor_columns` of the labelled products: float32 [P, 3], the best of their images.

    best: of some products; the others have no class.
    """
    images = _labelled_images(labelled, group)
    own_class = _class_of_images(best, labelled)
    cosine, row = read_nearest(experiment, "train")
    columns = neighbor_columns(cosine, row, images, images.group, own_class)
    alone = np.flatnonzero(np.isnan(columns[:, 0]))  # all their nearest are of their own group
    columns = fill_missing(columns, cosine, row)
    if len(alone):
        queries = read_embeddings(experiment, "train")[alone]
        found = open_labelled_search(experiment).search(queries, min(MANY_NEIGHBORS, len(row)))
        more = neighbor_columns(*found, images, images.group[alone], own_class[alone])
        columns[alone] = fill_missing(more, *found)
    return _best_of_images(columns, labelled)


def _neighbors_of_new(
    experiment: Experiment, labelled: LabelledSide, new: Catalog, best: Best
) -> np.ndarray:
    """`neighbor_columns` of the products to classify: float32 [P, 3], the best of their images."""
    cosine, row = read_nearest(experiment, "test")
    no_group = np.full(len(row), -1, np.int32)
    own_class, images = (
        _class_of_images(best, new),
        _labelled_images(labelled.catalog, labelled.group),
    )
    columns = neighbor_columns(cosine, row, images, no_group, own_class)
    return _best_of_images(fill_missing(columns, cosine, row), new)


def _labelled_images(labelled: Catalog, group: np.ndarray) -> LabelledImages:
    product = labelled.image_product
    return LabelledImages(group[product], labelled.label[product])


def _class_of_images(best: Best, catalog: Catalog) -> np.ndarray:
    """The best class of the product of each image: int16 [I], -1 where it has none."""
    class_id = np.full(len(catalog.product_id), -1, np.int16)
    class_id[best.product] = best.class_id
    return class_id[catalog.image_product]


def _best_of_images(columns: np.ndarray, catalog: Catalog) -> np.ndarray:
    """The highest of the images of each product, of every column: float32 [P, 3]."""
    product, num_products = catalog.image_product, len(catalog.product_id)
    return np.column_stack([max_per_product(values, product, num_products) for values in columns.T])
