"""A second round of training (C15): test products whose class the first round knows join it.

    [pseudo_label]
    teacher = "configs/fashion.toml"

The experiment of the round before must be trained, with the same catalogue, parts and folds. Which
networks and tables may label for a network of this round is in `lib/stacking/pseudo.py`: those that
have not seen the products which that network leaves out. Where the boosters learn from `holdout`,
none has, so all teach all; where they learn from out-of-fold rows, fold by fold.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.chain import taught
from lib.chain_rounds import teachers
from lib.config.schema import Config, Model, nets
from lib.data.catalog import Catalog, Splits, concat_catalogs, read_categories, read_splits
from lib.evaluation.hash_rules import by_unanimous
from lib.features.candidates import Query, make_query
from lib.features.hash_lookup import look_up
from lib.inference.topk import TopK
from lib.stacking import pseudo
from lib.stages import ranking_stage
from lib.stages.vision_stage import PseudoLabelled, predict_by


def build_pseudo(
    config: Config, folds: int, net: str, known: Catalog, test: Catalog, folder: Path
) -> dict[str, Any]:
    """Write the labels for networks `net` of models of `folds`.

    Returns facts: products labelled by hash and by confidence, the least confidence, and how many
    of the labels that either source would give to the products left out are right.
    """
    assert config.before is not None
    splits = read_splits(config.at("extract/splits"))
    everybody = config.stack_part == "holdout"
    own = None if everybody else int(net.removeprefix("fold"))
    left_out = _left_out(splits, folds, own)
    classes = len(read_categories(config.at("extract/classes")))
    names = teachers(config, folds)
    weights = [config.before.models[name].blend_weight for name in names]
    watched = make_query(known, left_out)
    dumps = [
        _of(ranking_stage.read_dump(config.before, n, config.stack_part), watched) for n in names
    ]
    seen = pseudo.answers(watched, dumps, weights, classes)
    truth = known.label[left_out]
    least = pseudo.least_confidence(seen, truth, config.pseudo_label.min_precision)
    asked = make_query(test, np.arange(len(test.product_id)))
    dumps = [_test_dump(config, name, own, test, folder) for name in names]
    answered = pseudo.answers(asked, dumps, weights, classes)
    reference = np.zeros(len(known.label), bool)
    reference[np.setdiff1d(splits.products("fit"), left_out)] = True

    by_hash = (
        partial(_by_hash, known, reference, classes) if config.pseudo_label.use_hashes else _silent
    )
    found = pseudo.choose(asked, by_hash(test, asked), answered, least)
    found.save(folder)
    shutil.rmtree(folder / "dumps", ignore_errors=True)
    sure = np.zeros(len(truth), bool) if least is None else seen[1] >= least
    return {
        "by_hash": int((found.why == pseudo.HASH).sum()),
        "by_confidence": int((found.why == pseudo.SURE).sum()),
        "least_confidence": None if least is None else round(float(least), 4),
        "hash_precision": _precision(by_hash(known, watched), truth),
        "precision": _precision(np.where(sure, seen[0], -1), truth),
    }


def _by_hash(
    known: Catalog, reference: np.ndarray, classes: int, query: Catalog, asked: Query
) -> np.ndarray:
    """The class that all holders among the reference products agree on, int16 [Q], else -1."""
    held = look_up(
        known,
        reference=reference,
        reference_fold=np.full(len(reference), -1, np.int8),
        query=query,
        images=asked.images,
        query_fold=np.full(len(asked.images), -1, np.int8),
        same=query is known,
        hash_k=1,
        class_count=classes,
    )
    return by_unanimous(asked, held, _silent(query, asked))


def _silent(_: Catalog, asked: Query) -> np.ndarray:
    return np.full(len(asked.products), -1, np.int16)


def extra(config: Config, model: Model, net: str, known: Catalog, test: Catalog) -> PseudoLabelled:
    """What a network of this round learns from beside the labelled products."""
    labels = pseudo.read(config.at(f"pseudo/{taught(config, model, net)}"))
    label = np.full(len(test.product_id), -1, np.int16)
    label[labels.product] = labels.cls
    both = concat_catalogs(known, test)
    both.label[len(known.product_id) :] = label
    return PseudoLabelled(
        both, len(known.product_id) + labels.product, config.pseudo_label.loss_weight
    )


def _left_out(splits: Splits, folds: int, own: int | None) -> np.ndarray:
    """Products int64 that no teacher has seen, and no network of this round will learn from."""
    if own is None:
        return splits.products("holdout")
    fit = splits.products("fit")
    return fit[splits.fold_of_product(folds)[fit] == own]


def _of(dump: TopK, query: Query) -> TopK:
    """The rows of some of a dump's pictures."""
    rows = np.searchsorted(dump.image, query.images)
    assert np.array_equal(dump.image[rows], query.images), "a picture has not been scored"
    return TopK(query.images, dump.classes[rows], dump.probs[rows], dump.rest[rows])


def _test_dump(config: Config, name: str, own: int | None, test: Catalog, folder: Path) -> TopK:
    """What the teacher `name`, or only its network `own`, says of the test pictures."""
    assert config.before is not None
    if own is None:
        return ranking_stage.read_dump(config.before, name, "test")
    model = config.before.models[name]
    checkpoint = config.before.at(f"cnn/{name}/{nets(model)[own]}") / f"{model.checkpoint}.pt"
    return predict_by(config, model, checkpoint, test, folder / "dumps" / name)


def _precision(cls: np.ndarray, truth: np.ndarray) -> float | None:
    named = cls >= 0
    return round(float((cls[named] == truth[named]).mean()), 4) if named.any() else None
