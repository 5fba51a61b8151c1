"""What each setting of the training earns against the default one (B5, C3 to C6, O5).

    python -m studies.recipe --config configs/fashion.toml --seeds 2
    python -m studies.recipe --config configs/fashion.toml --only "mixup" "weights averaged (ema)"
    python -m studies.recipe --config configs/fashion.toml --set train.resize=[96,72] \\
        --set train.crop=[90,68]

Stages 02 and 03 of one model of the config (`--model`, the first unless named), over and over, each
time with one setting changed and all else as the config has it; what `--set` changes holds for all
of them. A product's answer is the mean over its pictures and views; out-of-fold it is that of the
networks that never saw it. What is finished is not done again, so the study can be stopped, and
more seeds and settings added later.

Two kinds of chance are in a gain: which products are asked (the interval, over products, whose
answers of all seeds are drawn together), and how a network turned out (the gains seed by seed, and
the rows of another seed, which change nothing but the network's own chance).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from lib.config.load import load
from lib.config.schema import Config
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.runtime.log import configure_logging
from lib.stages import predict, train
from lib.stages.order import build_stage
from studies import models
from studies.tables import Answers, Line, lines_of, markdown, share, slug

DEFAULT = "as the config has it"
GEOMETRY = ("augment.min_area=0.6", "augment.max_stretch=0.15", "augment.max_rotation=10")
COLOUR = ("augment.brightness=0.2", "augment.contrast=0.2", "augment.saturation=0.2")
# Settings of the model, or of the whole where they begin with a dot.
SETTINGS: dict[str, tuple[str, ...]] = {
    DEFAULT: (),
    "another seed": ("seed=101",),  # what chance alone does
    "a third seed": ("seed=102",),
    "mixup": ("loss.mixup_alpha=0.2",),
    "geometry": GEOMETRY,
    "geometry, last epoch clean": (*GEOMETRY, "augment.no_aug_epochs=1"),
    "geometry, growing": (*GEOMETRY, "augment.ramp_epochs=3"),
    "colour": COLOUR,
    "some pictures grey": ("augment.grayscale_prob=0.2",),
    "rectangles blotted out": ("augment.erase_prob=0.25",),
    "quarter turns": ("augment.rot90=true",),
    "without flips": ("flip=false",),
    "weights averaged (ema)": ('weight_average.kind="ema"', "weight_average.ema_decay=0.99"),
    "weights averaged (swa)": ('weight_average.kind="swa"', "weight_average.swa_start=0.5"),
    "without smoothing": ("loss.label_smoothing=0",),
    "focal": ("loss.focal_gamma=2",),
    "category tree": ("loss.hierarchy_weight=0.3",),
    "one picture of each product": ("sampling.one_image_per_product=true",),
    "classes balanced by half": ("sampling.class_balance=0.5",),
    "hard pictures more often": ("sampling.hard_example_weight=2",),
    "one cycle": ('lr_schedule.kind="one_cycle"',),
    "cyclical": ('lr_schedule.kind="cyclical"', "lr_schedule.num_cycles=2"),
    "constant": ('lr_schedule.kind="constant"',),
    "plateau": ('lr_schedule.kind="plateau"',),
    "twice the rate": ("lr=0.002",),
    "half the rate": ("lr=0.0005",),
    "sgd": ('optimizer="sgd"', "lr=0.05", "weight_decay=0.0005"),
    "batch of 32": ("batch_size=32",),
    "batch grows": (
        "batch_size=32",
        "batch_size_schedule=[[2, 64], [3, 128]]",
        'lr_schedule.kind="constant"',
    ),
    "no epoch of the head alone": ("head_only_epochs=0",),
    "all layers": ("freeze_until=0",),
    "all layers, step by step": ("unfreeze_schedule=[16, 8, 0]",),
    "wide head": ('head="wide"', "head_rank=64"),
    "dropout": ("dropout=0.2",),
    "best epoch": ('checkpoint="best"',),
    "six epochs": ("epochs=6",),
    "two folds": ("n_folds=2",),
    "one view": (".predict.tta_views=1",),
    "two views": (".predict.tta_views=2",),
    "geometric mean": ('.predict.tta_mean="geometric"',),
}


def study(
    path: str, overrides: Sequence[str], model: str, names: Sequence[str], seeds: int
) -> list[Line]:
    """Stages 02 and 03 of each setting and seed, built where they are missing."""
    base = load(path, overrides)
    found: dict[str, list[Answers]] = {}
    for seed in range(seeds):
        for name in names:
            variant = _variant(base, path, overrides, model, name, seed)
            found.setdefault(name, []).append(answers(variant, model))
    return lines_of(found)


def _variant(
    base: Config, path: str, overrides: Sequence[str], model: str, name: str, seed: int
) -> Config:
    """One model with one setting changed; its networks are shared where only predictions differ."""
    changes = [
        change[1:] if change.startswith(".") else f"models.{model}.{change}"
        for change in SETTINGS[name]
    ]
    place = [f"work={Experiment(base).folder}_recipe", f"name={slug(name)}_{seed}"]
    fixed = [f"models.{model}.seed={seed}", 'data.test=""', "predict.embed_models=[]"]
    variant = load(path, [*overrides, *fixed, *changes, *place])
    share(base, variant, ["extract"])
    if changes and all(change.startswith(".") for change in SETTINGS[name]):
        default = replace(variant, name=f"{slug(DEFAULT)}_{seed}")
        share(default, variant, ["cnn"])
    return replace(variant, models={model: variant.models[model]})


def answers(config: Config, model: str) -> Answers:
    """Train and predict what is missing; whether each product's class comes first."""
    for stage in (train, predict):
        build_stage(stage, Experiment(config), rebuild=True)
    return models.answers(config, model)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m studies.recipe",
        description="What each setting of the training earns against the default one.",
        epilog="settings: " + "; ".join(SETTINGS),
    )
    parser.add_argument("--config", default="configs/fashion.toml", help="(%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--model", default="", help="whose training it is (the first)")
    parser.add_argument("--seeds", type=int, default=2, help="of the training (%(default)s)")
    parser.add_argument("--only", nargs="*", default=[], metavar="SETTING", help="these alone")
    arguments = parser.parse_args()
    configure_logging()
    try:
        names = _asked(arguments.only)
        config = load(arguments.config, arguments.set)
        model = arguments.model or next(iter(config.models))
        if model not in config.models:
            raise UserError(f"{arguments.config} has no model {model!r}")
        if not (Experiment(config).path("extract/splits")).is_dir():
            raise UserError(
                f"{Experiment(config).path('extract/splits')} is missing; run 01_extract.py first"
            )
        lines = study(arguments.config, arguments.set, model, names, arguments.seeds)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(f"{model}, seeds: {arguments.seeds}", lines))
    return 0


def _asked(only: Sequence[str]) -> list[str]:
    """The default first, then what was asked for. Raises UserError for what is no setting."""
    for name in only:
        if name not in SETTINGS:
            raise UserError(f"no setting {name!r}; there are: {'; '.join(SETTINGS)}")
    return list(dict.fromkeys([DEFAULT, *(only or SETTINGS)]))


if __name__ == "__main__":
    raise SystemExit(main())
