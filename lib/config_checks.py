"""Settings that have the right type and still cannot work."""

from typing import Any

from lib.config import BOOSTERS, Config
from lib.errors import UserError

CHOICES: dict[str, tuple[Any, ...]] = {
    "data.source": ("bson", "csv", "folders", "npy", "sample"),
    "predict.views": (1, 2, 5, 10),
    "blend.final": ("fitted", "simple", "published"),
    "blend.fit": ("greedy", "convex", "selected"),
    "run.device": ("auto", "cpu", "cuda"),
}
MODEL_CHOICES: dict[str, tuple[Any, ...]] = {
    "optimizer": ("sgd", "adamw"),
    "precision": ("auto", "bf16", "float32"),
    "checkpoint": ("last", "best"),
}

TAKEN = ("mean", "multi", "candidates", "neighbours")  # folders beside those of the models


def check(config: Config, origin: str) -> None:
    """Raise UserError for the first such value; origin: the file that it is from."""

    def one_of(where: str, value: Any, choices: tuple[Any, ...]) -> None:
        if value not in choices:
            listed = ", ".join(map(str, choices))
            raise UserError(f"{origin}: {where} = {value!r}; choose one of {listed}")

    def need(good: bool, message: str) -> None:
        if not good:
            raise UserError(f"{origin}: {message}")

    for where, choices in CHOICES.items():
        section, key = where.split(".")
        one_of(where, getattr(getattr(config, section), key), choices)
    for name, model in config.models.items():
        need(name not in TAKEN, f"models.{name}: this name is taken by another folder")
        need(name.replace("_", "").replace("-", "").isalnum(), f"models.{name}: use a-z 0-9 _ -")
        for key, choices in MODEL_CHOICES.items():
            one_of(f"models.{name}.{key}", getattr(model, key), choices)
        need(min(model.crop) >= 16, f"models.{name}.crop = {model.crop}: at least 16 pixels")
        need(
            model.crop[0] <= model.resize[0] and model.crop[1] <= model.resize[1],
            f"models.{name}.crop {model.crop} is larger than resize {model.resize}",
        )
        need(model.epochs + model.head_epochs > 0, f"models.{name}: epochs and head_epochs are 0")
        need(model.batch > 1, f"models.{name}.batch = {model.batch}: at least 2")
    data = config.data
    need(
        not data.group_by or data.source == "csv",
        f"data.group_by names a column of a csv; data.source is {data.source}",
    )
    split = config.split
    need(0 < split.locked < 1, f"split.locked = {split.locked}: a share between 0 and 1")
    need(0 <= split.holdout < 1, f"split.holdout = {split.holdout}: a share from 0 to 1")
    need(split.locked + split.holdout < 0.9, "split: locked and holdout leave too little to fit")
    need(split.folds >= 2, f"split.folds = {split.folds}: at least 2")
    for name, model in config.models.items():
        need(
            model.folds > 1 or split.holdout > 0,
            f"models.{name}.folds = 1 leaves no out-of-fold rows, so the boosters need"
            " split.holdout above 0",
        )
        need(
            model.folds == 1 or (model.folds > 1 and split.folds % model.folds == 0),
            f"models.{name}.folds = {model.folds}: 1, or a divisor of split.folds {split.folds}",
        )
    need(
        config.features.top_k <= config.predict.top_k,
        f"features.top_k {config.features.top_k} is above predict.top_k {config.predict.top_k}",
    )
    need(config.new.top >= 1, f"new.top = {config.new.top}: at least 1")
    need(
        0.5 <= config.new.precision < 1,
        f"new.precision = {config.new.precision}: a share from 0.5 to below 1",
    )
    for name in config.predict.embeddings:
        one_of("predict.embeddings", name, tuple(config.models))
    for order in config.stack.orders:
        one_of("stack.orders", order, (1, 2))
    need(bool(config.stack.layer2), "stack.layer2 names no booster")
    need(bool(config.sources), "stack.orders and stack.multi leave nothing to stack")
    need(
        bool(config.stack.layer3) or not config.stack.layer4, "stack.layer4 stands on stack.layer3"
    )
    for layer in ("layer2", "layer3", "layer4", "multi"):
        for booster in getattr(config.stack, layer):
            one_of(f"stack.{layer}", booster, BOOSTERS)
