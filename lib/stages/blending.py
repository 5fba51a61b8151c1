"""Stage 06: scores of every blend on the rows of a part; what they promise for new products."""

import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lib.data.catalog import LOCKED, Catalog, read_splits
from lib.errors import UserError
from lib.evaluation.abstention import (
    AbstentionResult,
    AbstentionRule,
    evaluate_abstention,
    reweight_rule,
)
from lib.evaluation.metrics import Estimate, accuracy
from lib.evaluation.product_columns import far_limit, image_columns, nearest_outside_group
from lib.evaluation.promise import Promise, expected_accuracy, loss_of_evidence, without_twin
from lib.evaluation.shift import measure_shift
from lib.pipeline.experiment import Experiment
from lib.runtime.workers import num_threads
from lib.similarity.nearest import NearestImages, scale_of
from lib.similarity.twins import connected_sets, find_pairs, max_per_product, other_products
from lib.stacking import blend
from lib.stages.read import (
    Member,
    all_members,
    catalog_of_part,
    nearest_of_products,
    read_candidates,
    read_embeddings,
    read_nearest,
    read_scores,
    read_twins,
    search_labelled,
)
from lib.utils.groups import group_argmax, group_max, group_normalize

NUM_NEAREST = 16  # images in which twins among the products to classify are found
MANY_NEIGHBORS = 200  # in which an image looks for one outside of its group


def blend_names(experiment: Experiment) -> list[str]:
    """The blends that can be scored: "published" needs members of its own."""
    published = blend.published_members(list(experiment.config.models))
    complete = published <= set(all_members(experiment))
    return ["simple", "fitted", *(["published"] if complete else [])]


def scores_of_blend(experiment: Experiment, name: str, part: str) -> np.ndarray:
    """Scores of a blend on the rows of a part: float32 [R]."""
    members = all_members(experiment)
    read = partial(read_scores, experiment, part=part)
    if name == "published":
        published = blend.published_members(list(experiment.config.models))
        scores = {member: read(Member(*member)) for member in published}
        return blend.published(scores, experiment.config.model_weights)
    if name == "simple":
        weights = dict.fromkeys(members, 1 / len(members))
    else:
        weights = {m: weight for m, weight in fitted_weights(experiment).items() if weight > 0}
    product = read_candidates(experiment, part).product
    return blend.weighted_mean(map(read, weights), np.array(list(weights.values())), product)


def fitted_weights(experiment: Experiment) -> dict[Member, float]:
    """The weight of every member in the fitted blend."""
    fitted = json.loads((experiment.path("blend") / "weights.json").read_text())
    return {Member(*name.split("/")): weight for name, weight in fitted.items()}


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

    members = all_members(experiment)
    return min((member for member in members if member.layer == layer), key=log_loss)


def measure_abstention(experiment: Experiment) -> AbstentionResult:
    """Measure the fitted abstention rule on the locked part."""
    rows = read_candidates(experiment, "locked")
    rule = AbstentionRule.load(experiment.path("calibration"))
    scores = submitted_scores(experiment, "locked")
    group = catalog_of_part(experiment, "locked").group
    return evaluate_abstention(rule, scores, rows.product, rows.target, group)


def locked_without_twin(experiment: Experiment) -> tuple[int, Estimate | None]:
    """How many locked products have a near twin in training, and the accuracy of the others."""
    catalog, rows = catalog_of_part(experiment, "locked"), read_candidates(experiment, "locked")
    splits, found = read_splits(experiment.path("extract/splits")), read_twins(experiment)
    cosine, row = read_nearest(experiment, "train")
    trained = splits.part[catalog.image_product[np.maximum(row, 0)]] != LOCKED
    alike = (row >= 0) & (cosine >= found.threshold) & trained
    twin = max_per_product(
        alike.any(axis=1).astype(np.float32), catalog.image_product, len(splits.part)
    )
    best = group_argmax(submitted_scores(experiment, "locked"), rows.product)
    products = rows.product[best]
    group = None if catalog.group is None else catalog.group[products]
    has_twin = twin[products] > 0
    return int(has_twin.sum()), without_twin(rows.target[best] == 1, has_twin, group)


def out_of_fold_accuracy(experiment: Experiment) -> Estimate:
    """Accuracy of the submitted blend on the rows that trained the boosters, out-of-fold."""
    part = experiment.config.stack_part
    rows, group = read_candidates(experiment, part), catalog_of_part(experiment, part).group
    best = group_argmax(submitted_scores(experiment, part), rows.product)
    groups = None if group is None else group[rows.product[best]]
    return accuracy(rows.target[best] == 1, group=groups)


def measure_promise(experiment: Experiment) -> tuple[Promise, AbstentionRule]:
    """Compare the products to classify with the labelled ones; the rule that holds for them."""
    rule = AbstentionRule.load(experiment.path("calibration"))
    labelled, test = (catalog_of_part(experiment, side) for side in ("train", "test"))
    group = labelled.group
    if group is None:
        group = np.arange(len(labelled.product_id))
    test_group = _sets_of_test(experiment, test)
    seed, scale = experiment.config.seed, _scale(experiment)
    images = measure_shift(
        image_columns(labelled, read_embeddings(experiment, "train"), scale),
        image_columns(test, read_embeddings(experiment, "test"), scale),
        group,
        test_group,
        seed,
    )
    near = _nearest_labelled(experiment, labelled, group)
    near_test = nearest_of_products(experiment, "test")
    locked, locked_product = _confidence(experiment, rule, "locked")
    new, _ = _confidence(experiment, rule, "test")
    losses = {
        "nearest_cos": loss_of_evidence(_column(near), _column(near_test), group, test_group, seed),
        "probability": loss_of_evidence(locked, new, group[locked_product], test_group, seed),
    }
    supported = images.supported & ~(near_test < far_limit(near))

    part = experiment.config.stack_part
    rows, scores = read_candidates(experiment, part), submitted_scores(experiment, part)
    best = group_argmax(scores, rows.product)
    products = rows.product[best]
    expected = expected_accuracy(
        rows.target[best] == 1,
        images.weights[products],
        images.effective,
        new[:, 0],
        supported,
    )
    found = {name: auc for name, auc in losses.items() if auc is not None}
    promise = Promise(images, found, supported, expected, near_test)
    rule = reweight_rule(
        rule, images, images.weights[products], scores, rows.product, rows.target, labelled.group
    )
    return promise, rule.withdraw() if promise.withdrawn else rule


def _confidence(
    experiment: Experiment, rule: AbstentionRule, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """What the model itself says of each product: float32 [Q, 2]; and the products, int32 [Q].

    The probability of its best class, and its distance to the second.
    """
    rows, scores = read_candidates(experiment, part), submitted_scores(experiment, part)
    probability = rule.probability(scores, rows.product)
    best = group_argmax(scores, rows.product)
    first = probability[best]
    others = probability.copy()
    others[best] = 0
    _, query = np.unique(rows.product, return_inverse=True)
    second = group_max(others, query, len(best))
    return np.column_stack([first, first - second]).astype(np.float32), rows.product[best]


def _column(values: np.ndarray) -> np.ndarray:
    """float32 [n] as a table of one column, NaN where a product has no image."""
    return np.where(np.isfinite(values), values, np.nan)[:, None]


def _scale(experiment: Experiment) -> np.ndarray:
    return scale_of(read_embeddings(experiment, "train"))


def _nearest_labelled(experiment: Experiment, labelled: Catalog, group: np.ndarray) -> np.ndarray:
    """Cosine of each labelled product to the nearest outside of its group: float32 [P]."""
    cosine, row = read_nearest(experiment, "train")
    image_group = group[labelled.image_product]
    near = nearest_outside_group(cosine, row, image_group, image_group)
    inside = ~((row >= 0) & (image_group[np.maximum(row, 0)] != image_group[:, None])).any(axis=1)
    images = np.flatnonzero(inside)
    if len(images):  # all their nearest images are of the same group
        k = min(MANY_NEIGHBORS, len(image_group))
        found = search_labelled(experiment, read_embeddings(experiment, "train")[images], k)
        near[images] = nearest_outside_group(*found, image_group, image_group[images])
    return max_per_product(near, labelled.image_product, len(labelled.product_id))


def _sets_of_test(experiment: Experiment, test: Catalog) -> np.ndarray:
    """Sets of near twins among the products to classify: int32 [P]."""
    embeddings, threads = read_embeddings(experiment, "test"), num_threads(experiment.config.run)
    num_products, product = len(test.product_id), test.image_product
    with TemporaryDirectory() as folder:
        search = NearestImages.build(Path(folder), embeddings, _scale(experiment), threads)
        own_images = int(test.image_count.max(initial=0))
        cosine, row = search.search(embeddings, NUM_NEAREST + own_images)
    cosine, row = other_products(cosine, row, product, product, NUM_NEAREST)
    no_label = np.zeros(num_products, np.int16)
    pairs = find_pairs(cosine, row, product, no_label, read_twins(experiment).threshold)
    return connected_sets(pairs, num_products)
