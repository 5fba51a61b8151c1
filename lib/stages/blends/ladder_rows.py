"""The rows of the ladder: every step of the pipeline, scored on the locked part."""

from dataclasses import replace

import numpy as np

from lib.data.catalog import Catalog, Categories, read_categories, read_splits
from lib.evaluation.hash_rules import by_l1, by_majority, by_unanimous
from lib.evaluation.ladder import LadderRow
from lib.features.hashes.hash_lookup import ReferenceProducts, lookup_images
from lib.features.network import best_classes, network_features, weighted_mean
from lib.features.query import Query, make_query
from lib.features.table import FeatureTable
from lib.pipeline.experiment import Experiment
from lib.stacking import blend
from lib.stages.blends.scores import best_member, blend_names, scores_of_blend, submitted_scores
from lib.stages.read import (
    CandidateRows,
    all_boosters,
    catalog_of_part,
    read_candidates,
    read_scores,
    read_topk,
    read_topk_of_all,
)

LAYERS = (("cnn", "center"), ("cnn tta", "tta"))  # networks without and with TTA: name, prefix
HASH_RULES = {"majority": by_majority, "unanimous": by_unanimous, "largest share": by_l1}


def ladder_rows(experiment: Experiment) -> list[LadderRow]:
    """All rows, from single networks to the submitted blend, and the levels of the tree."""
    catalog = catalog_of_part(experiment, "locked")
    categories = read_categories(experiment.path("extract/categories"))
    locked = read_splits(experiment.path("extract/splits")).products("locked")
    query, truth = make_query(catalog, locked), catalog.label[locked]
    candidates = read_candidates(experiment, "locked")
    if not np.array_equal(np.unique(candidates.product), locked):
        raise ValueError("candidates of the locked part are not its products")

    rows = _network_rows(experiment, query, truth, len(categories))
    if experiment.config.predict.embed_models:
        rows += neighbor_rows(experiment, "locked", candidates, query, truth, len(categories))
    if experiment.config.features.use_md5:
        rows += _hash_rule_rows(experiment, catalog, query, len(categories))
    rows.append(_recall_row(candidates, locked))
    rows += _member_rows(experiment, candidates, truth)
    rows += _blend_rows(experiment, candidates, truth)
    rows += _tree_rows(experiment, candidates, categories, truth)
    group = None if catalog.group is None else catalog.group[locked]
    return [replace(row, group=group) for row in rows]


def _network_rows(
    experiment: Experiment, query: Query, truth: np.ndarray, num_classes: int
) -> list[LadderRow]:
    """Every network, without and with TTA, and the weighted means of all networks."""
    rows, config = [], experiment.config
    for layer, prefix in LAYERS:
        for name in config.classifiers:
            topk = read_topk(experiment, name, "locked", prefix)
            best = best_classes(query, [topk], [1.0], num_classes)
            rows.append(LadderRow(name, layer, best == truth))
    topks, weights = read_topk_of_all(experiment, "locked"), _weights(experiment)
    for how in ("arithmetic", "geometric"):
        best = best_classes(query, topks, weights, num_classes, how)
        rows.append(LadderRow(f"weighted {how} mean", "cnn mean", best == truth))
    return rows


def neighbor_rows(
    experiment: Experiment,
    part: str,
    candidates: CandidateRows,
    query: Query,
    truth: np.ndarray,
    num_classes: int,
) -> list[LadderRow]:
    """The nearest images of each candidate class alone, and averaged with all networks.

    candidates: of a part of the labelled products. query: these products; truth: their class_ids.
    The scores of a product's candidates are divided by their sum; in the mean they weigh as much
    as the predictions of the network whose embeddings they are of.
    Source: 8th-place Cdiscount team.
    """
    query_row, weights = np.searchsorted(query.products, candidates.product), _weights(experiment)
    networks = weighted_mean(read_topk_of_all(experiment, part), weights, num_classes)
    columns = network_features(query, networks, "all", query_row, candidates.class_id, num_classes)
    table = FeatureTable.load(experiment.path(f"features/neighbors/{part}"))
    total, rows = np.nan_to_num(columns["all_mean"]) * sum(weights), []
    for name in experiment.config.predict.embed_models:
        share = np.nan_to_num(table.column(f"{name}_knn_share"))
        total += experiment.config.models[name].blend_weight * share
        rows.append(LadderRow(name, "neighbors", _best_class(candidates, share) == truth))
    mean = _best_class(candidates, total)
    return [*rows, LadderRow("mean with the networks", "neighbors", mean == truth)]


def _hash_rule_rows(
    experiment: Experiment, catalog: Catalog, query: Query, num_classes: int
) -> list[LadderRow]:
    """The image hash alone where it names a class, the networks' geometric mean elsewhere.

    Source: public write-ups of the 3rd-place Cdiscount team.
    """
    topks, weights = read_topk_of_all(experiment, "locked"), _weights(experiment)
    fallback = best_classes(query, topks, weights, num_classes)
    reference = np.ones(len(catalog.label), bool)
    reference[query.products] = False
    counts = lookup_images(
        ReferenceProducts(catalog, reference, np.full(len(reference), -1, np.int8)),
        catalog,
        query.images,
        np.full(len(query.images), -1, np.int8),
        hash_k=1,
        leave_one_out=True,
    )
    truth = catalog.label[query.products]
    return [
        LadderRow(name, "hash rule", rule(query, counts, fallback) == truth)
        for name, rule in HASH_RULES.items()
    ]


def _recall_row(candidates: CandidateRows, locked: np.ndarray) -> LadderRow:
    """Products whose class is among their candidates: no booster can get more of them right."""
    row = np.searchsorted(locked, candidates.product)
    hits = np.bincount(row, candidates.target, len(locked))
    return LadderRow("recall", "candidates", hits > 0)


def _member_rows(
    experiment: Experiment, candidates: CandidateRows, truth: np.ndarray
) -> list[LadderRow]:
    best, rows = best_member(experiment, "l2"), []
    for member in sorted(all_boosters(experiment), key=lambda member: member.layer):
        scores = read_scores(experiment, member, "locked")
        correct = _best_class(candidates, scores) == truth
        baseline = "the layer's best by out-of-fold loss" if member == best else ""
        name = f"{member.source} {member.booster}"
        rows.append(LadderRow(name, member.layer, correct, baseline=baseline))
    return rows


def _blend_rows(
    experiment: Experiment, candidates: CandidateRows, truth: np.ndarray
) -> list[LadderRow]:
    rows = []
    for name in blend_names(experiment):
        correct = _best_class(candidates, scores_of_blend(experiment, name, "locked")) == truth
        baseline = "the plain average of all boosters" if name == "simple" else ""
        rows.append(LadderRow(name, "blend", correct, baseline=baseline))
    return rows


def _tree_rows(
    experiment: Experiment, candidates: CandidateRows, categories: Categories, truth: np.ndarray
) -> list[LadderRow]:
    """The submitted class against the true one, on the upper levels of the category tree."""
    best = _best_class(candidates, submitted_scores(experiment, "locked"))
    return [
        LadderRow(f"level {number}", "tree", (level[best] == level[truth]) & (truth >= 0))
        for number, level in enumerate(categories.levels(), 1)
    ]


def _weights(experiment: Experiment) -> list[float]:
    """The weight of each network in means, in the order of the config."""
    return list(experiment.config.model_weights.values())


def _best_class(candidates: CandidateRows, scores: np.ndarray) -> np.ndarray:
    """The class of the highest score of each product: int16 [products]."""
    return blend.argmax_per_product(candidates.product, candidates.class_id, scores)[1]
