"""Every setting with the extremes of its type: each is refused in one line, or has a reason here.

A new setting fails this test until its range is bounded, or until the table below says why an
extreme value of it is meaningful.
"""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from lib.config.load import load
from lib.config.reference import tables
from lib.config.setting import LARGEST, base_of, choices_of, items_of
from lib.config.write import to_toml_value
from lib.errors import UserError

LONG = "x" * 101
EXTREMES: dict[type, list[Any]] = {
    int: [0, -1, 1, LARGEST, LARGEST + 1, 2**63, 10**40],
    float: [0.0, -1.0, 1.0, 1e6, 1e9, 1e300, math.nan, math.inf, -math.inf, 10**40],
    str: ["", " ", "a\0b", LONG, "x" * 1001],
    bool: [0, 1, "", []],
}
CHOICES = [0, -1, 1, 1.0, "", math.nan, []]
ORDINARY = {int: 20, float: 0.5, str: "a"}

# reason: key: the extreme values that are allowed for it.
ALLOWED: dict[str, dict[str, list[Any]]] = {
    "0 switches it off, as its meaning or its name says": {
        "data.max_per_class": [0],
        "data.draw": [0, 1],
        "sample.duplicate_fraction": [0.0],
        "sample.conflict_fraction": [0.0],
        "sample.test_shared_fraction": [0.0],
        "sample.test_unambiguous_fraction": [0.0],
        "sample.num_placeholders": [0, 1],
        "sample.label_noise": [0.0],
        "sample.picture_words": [0.0],
        "sample.zipf_exponent": [0.0, 1.0],
        "split.holdout": [0.0],
        "scenes.num_images": [0, 1],
        "scenes.num_test_images": [0, 1],
        "scenes.power_law": [0.0, 1.0],
        "scenes.max_others": [0, 1],
        "ocr.min_confidence": [0.0],
        "train.head_rank": [0, 1],
        "train.dropout": [0.0],
        "train.freeze_until": [0, 1],
        "train.head_only_epochs": [0, 1],
        "train.epochs": [0, 1],
        "train.weight_decay": [0.0, 1.0],
        "train.aspect.num_clusters": [0, 1],
        "train.aspect.scale": [0.0, 1.0],
        "train.augment.max_rotation": [0.0, 1.0],
        "train.loss.label_smoothing": [0.0],
        "train.loss.focal_gamma": [0.0, 1.0],
        "train.loss.mixup_alpha": [0.0, 1.0],
        "train.segmentation.core": [0.0],
        "train.segmentation.bce_weight": [0.0, 1.0],
        "train.segmentation.dice_weight": [0.0, 1.0],
        "train.loss.hierarchy_weight": [0.0, 1.0],
        "train.sampling.hard_example_weight": [0.0, 1.0],
        "train.fusion.dropout": [0.0],
        "train.fusion.input_dropout": [0.0],
        "train.mosaic.max_images": [0],
        "features.hash_k": [0, 1],
        "features.id_neighbors": [0, 1],
        "features.knn_k": [0, 1],
        "features.attribute_k": [0, 1],
        "run.threads": [0, 1],
        "run.workers": [0, 1],
        "run.time_limit": [0, 1],
    },
    "both ends of a fraction are what they say": {
        "data.max_bad_fraction": [0.0, 1.0],
        "train.segmentation.occluded_weight": [0.0, 1.0],
        "train.segmentation.group_weight": [0.0, 1.0],
        "train.segmentation.depiction_weight": [0.0, 1.0],
        "train.segmentation.unannotated_weight": [0.0, 1.0],
        "clusters.unannotated_weight": [0.0, 1.0],
        "cascade.min_prob": [0.0, 1.0],
        "cascade.threshold": [0.0, 1.0],
        "data.max_missing_fraction": [0.0, 1.0],
        "sample.difficulty": [0.0, 1.0],
        "sample.title_missing": [0.0, 1.0],
        "sample.title_informative": [0.0, 1.0],
        "sample.title_wrong": [0.0, 1.0],
        "sample.title_misspelt": [0.0, 1.0],
        "sample.brand_missing": [0.0, 1.0],
        "sample.brand_informative": [0.0, 1.0],
        "sample.price_missing": [0.0, 1.0],
        "sample.price_informative": [0.0, 1.0],
        "scenes.occlusion": [0.0, 1.0],
        "scenes.truncation": [0.0, 1.0],
        "scenes.groups": [0.0, 1.0],
        "scenes.depictions": [0.0, 1.0],
        "scenes.parts": [0.0, 1.0],
        "scenes.inside": [0.0, 1.0],
        "scenes.difficulty": [0.0, 1.0],
        "scenes.faults.placed_twice": [0.0, 1.0],
        "scenes.faults.missing_parent": [0.0, 1.0],
        "scenes.faults.missing_description": [0.0, 1.0],
        "scenes.faults.two_levels": [0.0, 1.0],
        "scenes.faults.missing_box": [0.0, 1.0],
        "scenes.faults.wrong_label": [0.0, 1.0],
        "scenes.faults.missing_ancestor": [0.0, 1.0],
        "pseudo_label.loss_weight": [1.0],
        "train.lr_schedule.warmup_fraction": [0.0, 1.0],
        "train.lr_schedule.min_lr_ratio": [0.0, 1.0],
        "train.augment.image_fraction": [0.0, 1.0],
        "train.augment.min_area": [1.0],
        "train.augment.max_stretch": [0.0, 1.0],
        "train.augment.brightness": [0.0, 1.0],
        "train.augment.contrast": [0.0, 1.0],
        "train.augment.saturation": [0.0, 1.0],
        "train.augment.grayscale_prob": [0.0, 1.0],
        "train.augment.erase_prob": [0.0, 1.0],
        "train.augment.ramp_start": [0.0, 1.0],
        "train.sampling.class_balance": [0.0, 1.0],
        "train.sampling.oversample": [0.0, 1.0],
        "train.weight_average.ema_decay": [0.0],
        "train.weight_average.swa_start": [0.0],
    },
    "one is the smallest number of them": {
        "train.n_folds": [],  # 1 needs split.holdout
        "train.grad_accum_steps": [1],
        "clusters.min_images": [1],
        "train.lr_schedule.num_cycles": [1],
        "train.mosaic.min_images": [1],
        "train.text.epochs": [1],
        "train.segmentation.min_boxes": [1],
        "cascade.top_k": [1],
        "cascade.min_cells": [1],
        "cascade.max_boxes": [1],
        "predict.tta_views": [1],
        "predict.top_k": [],  # features.top_k is 5
        "features.top_k": [1],
        "stack.n_estimators": [1],
        "stack.forest_n_estimators": [1],
        "blend.greedy_steps": [1],
        "inference.top_k": [1],
        "predict.shard_size": [1],
        "run.predict_batch_size": [1],
    },
    "a rate of 1 is used with normalised steps": {
        "train.lr": [1.0],
        "train.head_lr": [1.0],
        "train.text.lr": [1.0],
        "stack.learning_rate": [1.0],
    },
    "the worth of depth is relative to that of being in a cluster": {
        "clusters.depth_worth": [0.0, 1.0],
        "clusters.same_object_iou": [1.0],  # equal boxes alone
    },
    "it is compared with the checksum of the file": {
        "data.sha256": [{}, {"a": ""}, {"a": LONG}],
    },
    "any whole number is a seed": {
        "seed": [0, 1, LARGEST],
        "train.seed": [0, 1, LARGEST],
        "stack.seed": [0, 1, LARGEST],
    },
    "a layer has one hidden unit at least": {
        "train.fusion.squeeze_ratio": [1, LARGEST],
    },
    "a limit that is never reached is no limit": {
        "sample.run_length": [LARGEST],
        "train.clip_grad_norm": [0.0, 1.0, 1e6, 1e9],
        "train.lr_schedule.plateau_patience": [1, LARGEST],
        "train.augment.no_aug_epochs": [0, 1, LARGEST],
        "train.augment.ramp_epochs": [0, 1, LARGEST],
        "predict.embedding_dim": [1, LARGEST],
        "features.max_candidates": [0, 1, LARGEST],
        "stack.early_stopping_rounds": [0, 1, LARGEST],
    },
    "it is compared with the data when there are rows (lib/stacking/oof.py)": {
        "stack.min_data_in_leaf": [1, LARGEST],
    },
    "weights are relative to each other": {
        "train.blend_weight": [1.0, 1e6, 1e9],
        "scenes.aspect_weights": [
            [0.5] * place + [value] + [0.5] * (2 - place)
            for place in range(3)
            for value in (0.0, 1.0, 1e6, 1e9)
        ],
        "sample.image_count_weights": [[0.5, 0.5], [1.0], [1e6], [1e9]],
    },
    "a row of a later epoch never comes": {
        "train.batch_size_schedule": [[], [[0, 20]], [[1, 20]], [[LARGEST, 20]]],
        "train.head_lr_milestones": [[], [[0, 0.5]]],
        "train.lr_schedule.milestones": [
            [],
            [[0.5, 0.5], [0.5, 0.5]],  # of another kind of schedule, which does not read them
            [[0.0, 0.5]],
            [[1.0, 0.5]],
            [[1e6, 0.5]],
            [[1e9, 0.5]],
            [[0.5, 1.0]],
        ],
    },
    "the values of an epoch, or of a layer, may be equal": {
        "train.unfreeze_schedule": [[], [20, 20], [0], [1]],
        "train.fusion.hidden_sizes": [[], [20, 20], [1]],
    },
    "a window over all products is cut to a part of them": {
        "features.id_windows": [[], [1], [LARGEST]],
        "features.similar_id_windows": [[], [1], [LARGEST]],
    },
    "empty is none or all, as its meaning says": {
        "data.test": ["", LONG],
        "data.images_root": ["", LONG],
        "data.text_columns": [[], [LONG]],
        "data.categorical_columns": [[], [LONG]],
        "data.numeric_columns": [[], [LONG]],
        "data.train_texts": [""],
        "data.test_texts": [""],
        "train.text.columns": [[]],
        "text_encoders.NAME.columns": [[]],
        "scenes.pictures": ["", LONG],
        "data.group_by": [""],
        "data.id_column": ["", LONG],
        "data.images_column": ["", LONG],
        "data.split_column": [""],
        "run.cluster": [""],
        "data.classes": [[]],
        "train.segmentation.clusters": [[]],
        "clusters.split": [[], [LONG]],
        "clusters.drop": [[], [LONG]],
        "clusters.parents": [{}, {"a": ""}, {"a": LONG}],
        "clusters.merge": [{}, {"a": []}, {"a": [LONG]}],
        "clusters.rename": [{}, {"a": LONG}],
        "pseudo_label.teacher": ["", LONG],
        "pseudo_label.reviewed": ["", LONG],
        "data.corrections": ["", LONG],
        "train.fusion.inputs": [[]],
        "train.mosaic.split_at": [[]],
        "predict.embed_models": [[]],
        "stack.l3": [[]],
        "stack.l4": [[]],
    },
    "a path, a column or an architecture may have a long name": {
        "work": [LONG],
        "data.root": [LONG],
        "data.train": [LONG],
        "data.hierarchy": [LONG],
        "data.class_descriptions": [LONG],
        "data.categories": [LONG],
        "data.label_column": [LONG],
        "train.arch": [LONG],
        "train.weights": [LONG],
        "train.warm_start": ["", LONG],
        "backbones.NAME.arch": [LONG],
        "backbones.NAME.weights": [LONG],
        "text_encoders.NAME.weights": [LONG],
    },
}


def extremes(kind: Any) -> list[Any]:
    """Extreme values of the type of a setting, as TOML has them."""
    if choices_of(kind):
        return CHOICES
    container, items = items_of(kind)
    if container is dict:
        return [{}, *({"a": value} for value in extremes(items[1]))]
    if container is None:
        return EXTREMES[base_of(kind)]
    if items[-1] is Ellipsis:
        twice = [ordinary(items[0])] * 2
        return [[], twice, *([value] for value in extremes(items[0]))]
    row = [ordinary(item) for item in items]
    one_extreme = [
        [*row[:place], value, *row[place + 1 :]]
        for place, item in enumerate(items)
        for value in extremes(item)
    ]
    return [[], *one_extreme]


def ordinary(kind: Any) -> Any:
    """A value of a type that is not extreme."""
    if choices_of(kind):
        return choices_of(kind)[0]
    container, items = items_of(kind)
    return [ordinary(item) for item in items] if container else ORDINARY[base_of(kind)]


def toml(value: Any) -> str:
    """The value as TOML; lists become tuples, which the writer knows."""
    return to_toml_value(tuple_of(value))


def tuple_of(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    if isinstance(value, dict):
        return {key: tuple_of(item) for key, item in value.items()}
    return tuple(map(tuple_of, value)) if isinstance(value, list) else value


def keys_and_extremes() -> Iterator[tuple[str, list[Any]]]:
    """Every key of the reference, and the extreme values of its type."""
    for table in tables():
        for setting in table.settings:
            yield table.full_key(setting), extremes(setting.type)


ALL = dict(keys_and_extremes())
REASON = {key: (reason, values) for reason, keys in ALLOWED.items() for key, values in keys.items()}


# Settings without which a table is refused as a whole.
NEEDS = {"text_encoders": ["data.train_texts=a.csv", 'data.text_columns=["title"]']}


@pytest.mark.parametrize("key", ALL)
def test_an_extreme_value_is_refused_in_one_line_or_has_a_reason(config_file, key):
    accepted = []
    for value in ALL[key]:
        try:
            needed = NEEDS.get(key.partition(".")[0], [])
            load(config_file, [*needed, f"{key.replace('NAME', 'x')}={toml(value)}"])
            accepted.append(value)
        except UserError as error:
            message = str(error)
            assert "\n" not in message
            assert len(message) < 400
            assert key.split(".")[-1] in message or ".mosaic is for" in message
    assert accepted == REASON.get(key, ("", []))[1]


def test_reasons_are_of_settings_that_exist():
    assert REASON.keys() <= ALL.keys()
    assert sum(map(len, ALLOWED.values())) == len(REASON)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stack.n_estimators=0", "stack.n_estimators = 0: from 1 to 100000"),
        ("stack.forest_n_estimators=0", "stack.forest_n_estimators = 0: from 1 to 100000"),
        ("stack.num_leaves=1", "stack.num_leaves = 1: from 2 to 131072"),
        ("stack.learning_rate=0", "stack.learning_rate = 0.0: above 0, at most 1"),
        ("stack.learning_rate=inf", "stack.learning_rate = inf: above 0, at most 1"),
        ("train.lr=1e6", "train.lr = 1000000.0: above 0, at most 10"),
        ("train.clip_grad_norm=inf", "clip_grad_norm = inf: at least 0, at most 1000000000"),
        (f"train.clip_grad_norm={10**40}", "at least 0, at most 1000000000"),
        ("stack.seed=-1", "stack.seed = -1: at least 0"),
        (f"seed={2**63}", "seed = 9223372036854775808: at least 0, at most 1000000000"),
        (f"seed={'9' * 5000}", "seed takes a whole number, not '999"),
        ("stack.early_stopping_rounds=-1", "early_stopping_rounds = -1: at least 0"),
        ('stack.l2=["xgboost", "xgboost"]', "stack.l2 = ['xgboost', 'xgboost']: each once"),
        ('stack.sources=["mean", "mean"]', "stack.sources = ['mean', 'mean']: each once"),
        ("name=../x", "name = '../x': the name of a folder, without /"),
        ("predict.tta_views=1.0", "predict.tta_views = 1.0; choose one of 1, 2, 5, 10"),
    ],
)
def test_the_line_names_key_value_and_range(config_file, override, words):
    with pytest.raises(UserError) as error:
        load(config_file, [override])
    assert words in str(error.value)
