"""Settings that have the right type and still cannot work."""

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from lib.config.schema import BOOSTERS, Config, Model, Mosaic
from lib.errors import UserError

CHOICES: dict[str, tuple[Any, ...]] = {
    "data.source": ("bson", "csv", "folders", "npy", "strokes", "sample"),
    "predict.views": (1, 2, 5, 10),
    "predict.mean": ("arithmetic", "geometric"),
    "blend.final": ("fitted", "simple", "published"),
    "blend.fit": ("greedy", "convex", "selected"),
    "run.device": ("auto", "cpu", "cuda"),
}
MODEL_CHOICES: dict[str, tuple[Any, ...]] = {
    "kind": ("network", "mosaic", "fusion"),
    "head": ("linear", "wide"),
    "optimizer": ("sgd", "adamw"),
    "rate.kind": ("cosine", "one_cycle", "cyclical", "plateau", "table", "constant"),
    "average.kind": ("none", "ema", "swa"),
    "precision": ("auto", "bf16", "float32"),
    "checkpoint": ("last", "best"),
    "fusion.join": ("sum", "max"),
}

ANY = math.inf
RANGES = {  # least and most
    "predict.shard": (1, ANY),
    "predict.dims": (1, ANY),
    "run.threads": (0, ANY),
    "run.predict_batch": (1, ANY),
}
MODEL_RANGES = {
    "dropout": (0, 0.99),
    "head_rank": (0, ANY),
    "trainable_from": (0, ANY),
    "head_epochs": (0, ANY),
    "epochs": (0, ANY),
    "lr": (0, ANY),
    "head_lr": (0, ANY),
    "weight_decay": (0, ANY),
    "clip_norm": (0, ANY),
    "rate.warm_up": (0, 1),
    "rate.cycles": (1, ANY),
    "rate.floor": (0, 1),
    "rate.factor": (0, 1),
    "rate.patience": (1, ANY),
    "augment.least_area": (0.01, 1),
    "augment.stretch": (0, 1),
    "augment.rotate": (0, 180),
    "augment.brightness": (0, 1),
    "augment.contrast": (0, 1),
    "augment.saturation": (0, 1),
    "augment.grey": (0, 1),
    "augment.erase": (0, 1),
    "augment.clean_epochs": (0, ANY),
    "augment.grow_epochs": (0, ANY),
    "augment.start": (0, 1),
    "loss.smoothing": (0, 0.99),
    "loss.focal": (0, ANY),
    "loss.mixup": (0, ANY),
    "loss.tree": (0, ANY),
    "sampling.balance": (0, 1),
    "sampling.hard": (0, ANY),
    "average.decay": (0, 0.999999),
    "average.swa_from": (0, 0.99),
    "fusion.dropout": (0, 0.99),
}
LEAST_SIDE = 16  # pixels of what a network sees
TAKEN = ("mean", "multi", "candidates", "neighbours")  # folders beside those of the models


def check(config: Config, origin: str) -> None:
    """Raise UserError for the first such value; origin: the file that it is from."""
    checks = _Checks(origin)
    for where, choices in CHOICES.items():
        checks.one_of(where, attrgetter(where)(config), choices)
    for where, bounds in RANGES.items():
        checks.within(where, attrgetter(where)(config), *bounds)
    for name, model in config.models.items():
        checks.named(f"models.{name}", name)
        checks.of_model(f"models.{name}", model)
    checks.backbones(config)
    checks.parts(config)
    checks.rest(config)


class _Checks:
    def __init__(self, origin: str) -> None:
        self.origin = origin

    def need(self, good: bool, message: str) -> None:
        if not good:
            raise UserError(f"{self.origin}: {message}")

    def one_of(self, where: str, value: Any, choices: Sequence[Any]) -> None:
        listed = ", ".join(map(str, choices)) or "none is there"
        self.need(value in choices, f"{where} = {value!r}; choose one of {listed}")

    def within(self, where: str, value: float, least: float, most: float) -> None:
        allowed = f"at least {least:g}" if most == ANY else f"from {least:g} to {most:g}"
        self.need(least <= value <= most, f"{where} = {value}: {allowed}")

    def named(self, where: str, name: str) -> None:
        self.need(name not in TAKEN, f"{where}: this name is taken by another folder")
        plain = name.replace("_", "").replace("-", "").isalnum()
        self.need(plain, f"{where}: use a-z 0-9 _ -")

    def sized(self, where: str, resize: tuple[int, int], crop: tuple[int, int]) -> None:
        self.need(min(crop) >= LEAST_SIDE, f"{where}.crop = {crop}: at least {LEAST_SIDE} pixels")
        inside = crop[0] <= resize[0] and crop[1] <= resize[1]
        self.need(inside, f"{where}.crop {crop} is larger than resize {resize}")

    def of_model(self, where: str, model: Model) -> None:
        for key, choices in MODEL_CHOICES.items():
            self.one_of(f"{where}.{key}", attrgetter(key)(model), choices)
        for key, bounds in MODEL_RANGES.items():
            self.within(f"{where}.{key}", attrgetter(key)(model), *bounds)
        self.sized(where, model.resize, model.crop)
        self.need(model.epochs + model.head_epochs > 0, f"{where}: epochs and head_epochs are 0")
        sizes = (model.batch, *(size for _, size in model.batches))
        self.need(min(sizes) > 1, f"{where}.batch = {min(sizes)}: at least 2")
        self.need(
            model.accumulate > 0 and all(size % model.accumulate == 0 for size in sizes),
            f"{where}.accumulate = {model.accumulate} does not divide batch {list(sizes)}",
        )
        table = [first for first, _ in model.rate.table]
        self.need(
            model.rate.kind != "table" or (table[:1] == [0] and table == sorted(table)),
            f"{where}.rate.table: rows of [epoch, rate], the first of epoch 0, ascending",
        )
        self.need(
            not (model.sampling.hard and model.loss.mixup),
            f"{where}: sampling.hard cannot tell which pictures are hard under loss.mixup",
        )
        of = model.fusion.of
        self.need(
            bool(of) == (model.kind == "fusion"),
            f'{where}.fusion.of = {list(of)}: what a model of kind "fusion" reads, and no other',
        )
        self.mosaic(where, model)

    def mosaic(self, where: str, model: Model) -> None:
        mosaic, (height, width) = model.mosaic, model.crop
        if model.kind != "mosaic":
            only = f'{where}.mosaic: settings of a model of kind "mosaic", and no other'
            self.need(mosaic == Mosaic(), only)
            return
        least, most = mosaic.least_images, mosaic.most_images
        self.need(least >= 1, f"{where}.mosaic.least_images = {least}: at least 1")
        self.need(
            most == 0 or most >= least,
            f"{where}.mosaic.most_images = {most}: 0 (any number), or from least_images {least} on",
        )
        self.need(
            2 * height > model.resize[0] and 2 * width > model.resize[1],
            f"{where}.crop {model.crop}: more than half of resize {model.resize}, or it leaves out"
            " whole pictures of a mosaic",
        )
        self.need(
            min(height, width) >= 2 * LEAST_SIDE,
            f"{where}.crop = {model.crop}: at least {2 * LEAST_SIDE} pixels, as a mosaic has"
            " pictures of half the size",
        )
        self.need(
            not model.sampling.one_of_product,
            f"{where}.sampling.one_of_product: a mosaic shows all of a product's pictures at once",
        )

    def backbones(self, config: Config) -> None:
        for name, backbone in config.backbones.items():
            self.named(f"backbones.{name}", name)
            self.need(name not in config.models, f"backbones.{name}: there is a model of that name")
            self.sized(f"backbones.{name}", backbone.resize, backbone.crop)
        seen = [name for name, model in config.models.items() if model.kind == "network"]
        for name, model in config.models.items():
            for one in model.fusion.of:
                self.one_of(f"models.{name}.fusion.of", one, (*seen, *config.backbones))
                folds = config.models[one].folds if one in config.models else model.folds
                self.need(
                    folds == model.folds,
                    f"models.{name}.folds = {model.folds} and models.{one}.folds = {folds}: a"
                    " fusion leaves out the same folds as the models that it reads",
                )
        for name in config.predict.embeddings:
            self.one_of("predict.embeddings", name, seen)

    def parts(self, config: Config) -> None:
        split = config.split
        self.need(0 < split.locked < 1, f"split.locked = {split.locked}: a share between 0 and 1")
        self.need(0 <= split.holdout < 1, f"split.holdout = {split.holdout}: a share from 0 to 1")
        left = split.locked + split.holdout < 0.9
        self.need(left, "split: locked and holdout leave too little to fit")
        self.need(split.folds >= 2, f"split.folds = {split.folds}: at least 2")
        for name, model in config.models.items():
            self.need(
                model.folds > 1 or split.holdout > 0,
                f"models.{name}.folds = 1 leaves no out-of-fold rows, so the boosters need"
                " split.holdout above 0",
            )
            divides = model.folds == 1 or (model.folds > 1 and split.folds % model.folds == 0)
            self.need(
                divides,
                f"models.{name}.folds = {model.folds}: 1, or a divisor of split.folds"
                f" {split.folds}",
            )

    def rest(self, config: Config) -> None:
        data, stack = config.data, config.stack
        self.need(
            not data.group_by or data.source == "csv",
            f"data.group_by names a column of a csv; data.source is {data.source}",
        )
        self.need(
            (not data.only and not data.rows) or data.source in ("npy", "strokes"),
            f"data.only and data.rows are for npy and strokes; data.source is {data.source}",
        )
        self.need(data.rows >= 0, f"data.rows = {data.rows}: 0 (all), or how many of each class")
        self.need(data.raster >= 8, f"data.raster = {data.raster}: at least 8 pixels a side")
        self.round(config)
        wide, kept = config.features.top_k, config.predict.top_k
        self.need(wide <= kept, f"features.top_k {wide} is above predict.top_k {kept}")
        self.need(config.new.top >= 1, f"new.top = {config.new.top}: at least 1")
        share = config.new.precision
        self.need(0.5 <= share < 1, f"new.precision = {share}: a share from 0.5 to below 1")
        for order in stack.orders:
            self.one_of("stack.orders", order, (1, 2))
        self.need(bool(stack.layer2), "stack.layer2 names no booster")
        self.need(bool(config.sources), "stack.orders and stack.multi leave nothing to stack")
        stands = bool(stack.layer3) or not stack.layer4
        self.need(stands, "stack.layer4 stands on stack.layer3")
        for layer in ("layer2", "layer3", "layer4", "multi"):
            for booster in getattr(stack, layer):
                self.one_of(f"stack.{layer}", booster, BOOSTERS)

    def round(self, config: Config) -> None:
        share, one = config.round.precision, config.round.weight
        self.need(0.5 <= share < 1, f"round.precision = {share}: a share from 0.5 to below 1")
        self.need(0 < one <= 1, f"round.weight = {one}: above 0, at most 1")
        self.need(
            config.has_test or not config.round.of,
            "round.of: a second round learns from products to classify; data.test names none",
        )
        folds = {model.folds for model in config.models.values() if model.kind == "network"}
        for name, model in config.models.items():
            labelled = bool(folds) if config.stack_part == "holdout" else model.folds in folds
            self.need(
                not config.round.of or model.kind != "mosaic" or labelled,
                f"models.{name}: in a second round a mosaic learns from the labels that are found"
                f" for networks, and no model of kind network has folds = {model.folds}",
            )
