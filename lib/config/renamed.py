"""Old names of settings, so that an old config is an error that names the new key."""

from collections.abc import Iterator
from typing import Any

from lib.errors import UserError

Path = tuple[str, ...]

RENAMED_TABLES = {"round": "pseudo_label", "new": "inference"}

# By table, old name -> new name; "model" is for [train] and [models.NAME].
RENAMED_KEYS = {
    "data": {
        "only": "classes",
        "rows": "max_per_class",
        "raster": "bitmap_size",
        "max_damaged": "max_bad_fraction",
    },
    "sample": {
        "classes": "num_classes",
        "image_counts": "image_count_weights",
        "copies": "duplicate_fraction",
        "conflicts": "conflict_fraction",
        "test_shared": "test_shared_fraction",
        "test_unambiguous": "test_unambiguous_fraction",
        "placeholders": "num_placeholders",
        "tail": "zipf_exponent",
        "batch": "run_length",
    },
    "pseudo_label": {
        "of": "teacher",
        "precision": "min_precision",
        "weight": "loss_weight",
        "hashes": "use_hashes",
    },
    "split": {
        "folds": "n_folds",
    },
    "model": {
        "network": "arch",
        "folds": "n_folds",
        "trainable_from": "freeze_until",
        "unfreeze": "unfreeze_schedule",
        "head_epochs": "head_only_epochs",
        "batch": "batch_size",
        "batches": "batch_size_schedule",
        "accumulate": "grad_accum_steps",
        "clip_norm": "clip_grad_norm",
        "weight": "blend_weight",
        "rate": "lr_schedule",
        "average": "weight_average",
    },
    "lr_schedule": {
        "warm_up": "warmup_fraction",
        "cycles": "num_cycles",
        "floor": "min_lr_ratio",
        "factor": "plateau_factor",
        "patience": "plateau_patience",
        "table": "milestones",
    },
    "augment": {
        "least_area": "min_area",
        "stretch": "max_stretch",
        "rotate": "max_rotation",
        "turns": "rot90",
        "grey": "grayscale_prob",
        "erase": "erase_prob",
        "clean_epochs": "no_aug_epochs",
        "grow_epochs": "ramp_epochs",
        "start": "ramp_start",
    },
    "loss": {
        "smoothing": "label_smoothing",
        "focal": "focal_gamma",
        "mixup": "mixup_alpha",
        "tree": "hierarchy_weight",
    },
    "sampling": {
        "balance": "class_balance",
        "one_of_product": "one_image_per_product",
        "hard": "hard_example_weight",
    },
    "weight_average": {
        "decay": "ema_decay",
        "swa_from": "swa_start",
    },
    "fusion": {
        "of": "inputs",
        "hidden": "hidden_sizes",
        "join": "pooling",
        "gate": "squeeze_excitation",
    },
    "mosaic": {
        "least_images": "min_images",
        "most_images": "max_images",
    },
    "backbone": {
        "network": "arch",
    },
    "predict": {
        "views": "tta_views",
        "mean": "tta_mean",
        "shard": "shard_size",
        "embeddings": "embed_models",
        "dims": "embedding_dim",
    },
    "features": {
        "near_k": "id_neighbors",
        "neighbour_k": "knn_k",
        "cap": "max_candidates",
        "windows": "id_windows",
        "alike_windows": "similar_id_windows",
        "hashes": "use_md5",
        "alike": "use_phash",
        "raw": "use_raw_topk",
    },
    "stack": {
        "orders": "sources",
        "layer2": "l2",
        "layer3": "l3",
        "layer4": "l4",
        "multi": "multi_l2",
        "trees": "n_estimators",
        "patience": "early_stopping_rounds",
        "forest_trees": "forest_n_estimators",
        "leaves": "num_leaves",
        "min_leaf": "min_data_in_leaf",
    },
    "blend": {
        "final": "submit",
        "fit": "method",
        "steps": "greedy_steps",
    },
    "inference": {
        "top": "top_k",
        "precision": "min_precision",
    },
    "run": {
        "jobs": "workers",
        "predict_batch": "predict_batch_size",
    },
}

# Names of the Cdiscount 5th-place write-up -> names that describe the booster.
RENAMED_BOOSTERS: dict[Any, str] = {
    "lgbm_1": "lgbm_deep",
    "lgbm_2": "lgbm_extra",
    "lgbm_3": "lgbm_shallow",
}

# By new key, old value -> new value.
RENAMED_VALUES: dict[str, dict[Any, str]] = {
    "model.input": {"network": "image", "fusion": "embedding"},
    "lr_schedule.kind": {"table": "multistep"},
    "stack.sources": {1: "mean", 2: "per_model"},
    **dict.fromkeys(("stack.l2", "stack.l3", "stack.l4", "stack.multi_l2"), RENAMED_BOOSTERS),
}


def check_renamed(tree: dict[str, Any], origin: str) -> None:
    """Raise UserError that lists every old key, and every old value, with its new name.

    tree: the values of a TOML file, before `[train]` is merged into the models.
    origin: the name of the file, for the error.
    """
    changes = dict.fromkeys(_changes(tree))
    if changes:
        raise UserError(f"{origin}: {', '.join(changes)}")


def _changes(tree: dict[str, Any]) -> Iterator[str]:
    for path, value in _leaves(tree):
        new, setting = new_path(path)
        key = ".".join(new)
        if new != path:
            yield f"{'.'.join(path)} is now {key}"
        old_values = RENAMED_VALUES.get(setting, {})
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str | int) and item in old_values:
                yield f"{key} = {item!r} is now {old_values[item]!r}"


def _leaves(tree: dict[str, Any], parents: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*parents, key))
        else:
            yield (*parents, key), value


def new_path(path: Path) -> tuple[Path, str]:
    """The present names of a key, and the key as in RENAMED_VALUES.

    ("models", "a", "batch_size") and "model.batch_size" of ("models", "a", "batch").
    """
    top = RENAMED_TABLES.get(path[0], path[0])
    table = {"train": "model", "models": "model", "backbones": "backbone"}.get(top, top)
    named = 2 if top in ("models", "backbones", "text_encoders") else 1
    new, setting = [top, *path[1:named]], table
    for name in path[named:]:
        name = RENAMED_KEYS.get(table, {}).get(name, name)
        new.append(name)
        table, setting = name, f"{table}.{name}"
    return tuple(new), setting
