"""Settings that have the right type and still cannot work."""

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from lib.config.schema import BOOSTERS, Config, Model, Mosaic
from lib.errors import UserError

CHOICES: dict[str, tuple[Any, ...]] = {
    "data.source": ("bson", "csv", "folders", "npy", "strokes", "sample"),
    "predict.tta_views": (1, 2, 5, 10),
    "predict.tta_mean": ("arithmetic", "geometric"),
    "blend.submit": ("fitted", "simple", "published"),
    "blend.method": ("greedy", "convex", "selected"),
    "run.device": ("auto", "cpu", "cuda"),
}
MODEL_CHOICES: dict[str, tuple[Any, ...]] = {
    "input": ("image", "mosaic", "embedding"),
    "head": ("linear", "wide"),
    "optimizer": ("sgd", "adamw"),
    "lr_schedule.kind": ("cosine", "one_cycle", "cyclical", "plateau", "multistep", "constant"),
    "weight_average.kind": ("none", "ema", "swa"),
    "precision": ("auto", "bf16", "float32"),
    "checkpoint": ("last", "best"),
    "fusion.pooling": ("sum", "max"),
}

ANY = math.inf
RANGES = {  # least and most
    "predict.shard_size": (1, ANY),
    "predict.embedding_dim": (1, ANY),
    "run.threads": (0, ANY),
    "run.predict_batch_size": (1, ANY),
}
MODEL_RANGES = {
    "dropout": (0, 0.99),
    "head_rank": (0, ANY),
    "freeze_until": (0, ANY),
    "head_only_epochs": (0, ANY),
    "epochs": (0, ANY),
    "lr": (0, ANY),
    "head_lr": (0, ANY),
    "weight_decay": (0, ANY),
    "clip_grad_norm": (0, ANY),
    "lr_schedule.warmup_fraction": (0, 1),
    "lr_schedule.num_cycles": (1, ANY),
    "lr_schedule.min_lr_ratio": (0, 1),
    "lr_schedule.plateau_factor": (0, 1),
    "lr_schedule.plateau_patience": (1, ANY),
    "augment.min_area": (0.01, 1),
    "augment.max_stretch": (0, 1),
    "augment.max_rotation": (0, 180),
    "augment.brightness": (0, 1),
    "augment.contrast": (0, 1),
    "augment.saturation": (0, 1),
    "augment.grayscale_prob": (0, 1),
    "augment.erase_prob": (0, 1),
    "augment.no_aug_epochs": (0, ANY),
    "augment.ramp_epochs": (0, ANY),
    "augment.ramp_start": (0, 1),
    "loss.label_smoothing": (0, 0.99),
    "loss.focal_gamma": (0, ANY),
    "loss.mixup_alpha": (0, ANY),
    "loss.hierarchy_weight": (0, ANY),
    "sampling.class_balance": (0, 1),
    "sampling.hard_example_weight": (0, ANY),
    "weight_average.ema_decay": (0, 0.999999),
    "weight_average.swa_start": (0, 0.99),
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
        self.need(
            model.epochs + model.head_only_epochs > 0,
            f"{where}: epochs and head_only_epochs are 0",
        )
        sizes = (model.batch_size, *(size for _, size in model.batch_size_schedule))
        self.need(min(sizes) > 1, f"{where}.batch_size = {min(sizes)}: at least 2")
        self.need(
            model.grad_accum_steps > 0
            and all(size % model.grad_accum_steps == 0 for size in sizes),
            f"{where}.grad_accum_steps = {model.grad_accum_steps} does not divide batch_size"
            f" {list(sizes)}",
        )
        table = [first for first, _ in model.lr_schedule.milestones]
        self.need(
            model.lr_schedule.kind != "multistep" or (table[:1] == [0] and table == sorted(table)),
            f"{where}.lr_schedule.milestones: rows of [epoch, rate], the first of epoch 0,"
            " ascending",
        )
        self.need(
            not (model.sampling.hard_example_weight and model.loss.mixup_alpha),
            f"{where}: sampling.hard_example_weight cannot tell which pictures are hard under"
            " loss.mixup_alpha",
        )
        of = model.fusion.inputs
        self.need(
            bool(of) == (model.input == "embedding"),
            f'{where}.fusion.inputs = {list(of)}: what a model with input = "embedding"'
            " reads, and no other",
        )
        self.mosaic(where, model)

    def mosaic(self, where: str, model: Model) -> None:
        mosaic, (height, width) = model.mosaic, model.crop
        if model.input != "mosaic":
            only = f'{where}.mosaic: settings of a model with input = "mosaic", and no other'
            self.need(mosaic == Mosaic(), only)
            return
        least, most = mosaic.min_images, mosaic.max_images
        self.need(least >= 1, f"{where}.mosaic.min_images = {least}: at least 1")
        self.need(
            most == 0 or most >= least,
            f"{where}.mosaic.max_images = {most}: 0 (any number), or from min_images {least} on",
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
            not model.sampling.one_image_per_product,
            f"{where}.sampling.one_image_per_product: a mosaic shows all of a product's"
            " pictures at once",
        )

    def backbones(self, config: Config) -> None:
        for name, backbone in config.backbones.items():
            self.named(f"backbones.{name}", name)
            self.need(name not in config.models, f"backbones.{name}: there is a model of that name")
            self.sized(f"backbones.{name}", backbone.resize, backbone.crop)
        seen = [name for name, model in config.models.items() if model.input == "image"]
        for name, model in config.models.items():
            for one in model.fusion.inputs:
                self.one_of(f"models.{name}.fusion.inputs", one, (*seen, *config.backbones))
                folds = config.models[one].n_folds if one in config.models else model.n_folds
                self.need(
                    folds == model.n_folds,
                    f"models.{name}.n_folds = {model.n_folds} and models.{one}.n_folds = {folds}: a"
                    " fusion leaves out the same folds as the models that it reads",
                )
        for name in config.predict.embed_models:
            self.one_of("predict.embed_models", name, seen)

    def parts(self, config: Config) -> None:
        split = config.split
        self.need(0 < split.locked < 1, f"split.locked = {split.locked}: a share between 0 and 1")
        self.need(0 <= split.holdout < 1, f"split.holdout = {split.holdout}: a share from 0 to 1")
        left = split.locked + split.holdout < 0.9
        self.need(left, "split: locked and holdout leave too little to fit")
        self.need(split.n_folds >= 2, f"split.n_folds = {split.n_folds}: at least 2")
        for name, model in config.models.items():
            self.need(
                model.n_folds > 1 or split.holdout > 0,
                f"models.{name}.n_folds = 1 leaves no out-of-fold rows, so the boosters need"
                " split.holdout above 0",
            )
            divides = model.n_folds == 1 or (
                model.n_folds > 1 and split.n_folds % model.n_folds == 0
            )
            self.need(
                divides,
                f"models.{name}.n_folds = {model.n_folds}: 1, or a divisor of split.n_folds"
                f" {split.n_folds}",
            )

    def rest(self, config: Config) -> None:
        data, stack = config.data, config.stack
        self.need(
            not data.group_by or data.source == "csv",
            f"data.group_by names a column of a csv; data.source is {data.source}",
        )
        self.need(
            (not data.classes and not data.max_per_class) or data.source in ("npy", "strokes"),
            "data.classes and data.max_per_class are for npy and strokes; data.source is"
            f" {data.source}",
        )
        self.need(
            data.max_per_class >= 0,
            f"data.max_per_class = {data.max_per_class}: 0 (all), or how many of each class",
        )
        self.need(
            data.bitmap_size >= 8,
            f"data.bitmap_size = {data.bitmap_size}: at least 8 pixels a side",
        )
        self.round(config)
        wide, kept = config.features.top_k, config.predict.top_k
        self.need(wide <= kept, f"features.top_k {wide} is above predict.top_k {kept}")
        self.need(
            config.inference.top_k >= 1,
            f"inference.top_k = {config.inference.top_k}: at least 1",
        )
        share = config.inference.min_precision
        self.need(
            0.5 <= share < 1,
            f"inference.min_precision = {share}: a share from 0.5 to below 1",
        )
        for source in stack.sources:
            self.one_of("stack.sources", source, ("mean", "per_model", "multi"))
        self.need(bool(stack.l2), "stack.l2 names no booster")
        self.need(bool(stack.sources), "stack.sources is empty: nothing to stack")
        multi = bool(stack.multi_l2) or "multi" not in stack.sources
        self.need(multi, 'stack.multi_l2 names no booster, and stack.sources lists "multi"')
        stands = bool(stack.l3) or not stack.l4
        self.need(stands, "stack.l4 stands on stack.l3")
        for layer in ("l2", "l3", "l4", "multi_l2"):
            for booster in getattr(stack, layer):
                self.one_of(f"stack.{layer}", booster, BOOSTERS)

    def round(self, config: Config) -> None:
        share, one = config.pseudo_label.min_precision, config.pseudo_label.loss_weight
        self.need(
            0.5 <= share < 1,
            f"pseudo_label.min_precision = {share}: a share from 0.5 to below 1",
        )
        self.need(0 < one <= 1, f"pseudo_label.loss_weight = {one}: above 0, at most 1")
        self.need(
            config.data.test != "" or not config.pseudo_label.teacher,
            "pseudo_label.teacher: a second round learns from products to classify;"
            " data.test names none",
        )
        folds = {model.n_folds for model in config.models.values() if model.input == "image"}
        for name, model in config.models.items():
            labelled = bool(folds) if config.stack_part == "holdout" else model.n_folds in folds
            self.need(
                not config.pseudo_label.teacher or model.input != "mosaic" or labelled,
                f"models.{name}: in a second round a mosaic learns from the labels that are found"
                f' for networks, and no model with input = "image" has n_folds = {model.n_folds}',
            )
