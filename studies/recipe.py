"""The effect of each training setting: a network with one setting changed against the baseline.

    python -m studies.recipe --config configs/fashion.toml --seeds 2
    python -m studies.recipe --config configs/fashion.toml --only "mixup" "weight average (ema)"
    python -m studies.recipe --config configs/fashion.toml --set train.resize=[96,72] \\
        --set train.crop=[90,68]

Runs stages 02 and 03 of one model of the config (`--model`; by default the first) once for each
setting and seed. `--set` applies to all of them. The prediction of a product is the mean over its
images and views, out-of-fold: by the networks that were trained without the product. A second table
has the mean F1 over the classes, in which a small class weighs as much as a large one.
Finished runs are kept, so the study can be stopped and extended by seeds and settings later.

A gain is subject to two kinds of chance. The interval covers the choice of products; it draws a
product with its predictions of all seeds. The training's own chance shows in the gains seed by
seed, and in the rows "second seed" and "third seed", which change nothing else.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from lib.config.load import load
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.stages import predict, train
from lib.stages.order import build_stage
from studies import models, tables
from studies.command import add_model, config_parser, find_classifier, print_report
from studies.tables import Answers, slug

BASELINE = "baseline"
GEOMETRY = ("augment.min_area=0.6", "augment.max_stretch=0.15", "augment.max_rotation=10")
COLOR = ("augment.brightness=0.2", "augment.contrast=0.2", "augment.saturation=0.2")
# Changes to the model's settings, or to the whole config if they begin with a dot.
SETTINGS: dict[str, tuple[str, ...]] = {
    BASELINE: (),
    "second seed": ("seed={second}",),  # the effect of chance
    "third seed": ("seed={third}",),
    "mixup": ("loss.mixup_alpha=0.2",),
    "geometry": GEOMETRY,
    "geometry, last epoch without": (*GEOMETRY, "augment.no_aug_epochs=1"),
    "geometry, ramped up": (*GEOMETRY, "augment.ramp_epochs=3"),
    "color": COLOR,
    "grayscale": ("augment.grayscale_prob=0.2",),
    "random erasing": ("augment.erase_prob=0.25",),
    "90-degree rotations": ("augment.rot90=true",),
    "no flips": ("flip=false",),
    "weight average (ema)": ('weight_average.kind="ema"', "weight_average.ema_decay=0.99"),
    "weight average (swa)": ('weight_average.kind="swa"', "weight_average.swa_start=0.5"),
    "no label smoothing": ("loss.label_smoothing=0",),
    "focal loss": ("loss.focal_gamma=2",),
    "hierarchical loss": ("loss.hierarchy_weight=0.3",),
    "one image per product": ("sampling.one_image_per_product=true",),
    "class balance 0.5": ("sampling.class_balance=0.5",),
    "class balance 1": ("sampling.class_balance=1",),
    "oversampling": ("sampling.oversample=1",),
    "oversampling to a quarter": ("sampling.oversample=0.25",),
    "augmentation of a tenth": (*GEOMETRY, *COLOR, "augment.image_fraction=0.1"),
    "augmentation of a quarter": (*GEOMETRY, *COLOR, "augment.image_fraction=0.25"),
    "oversampling to a quarter, augmentation of a quarter": (
        "sampling.oversample=0.25",
        *GEOMETRY,
        *COLOR,
        "augment.image_fraction=0.25",
    ),
    "hard examples": ("sampling.hard_example_weight=2",),
    "one cycle": ('lr_schedule.kind="one_cycle"',),
    "cyclical": ('lr_schedule.kind="cyclical"', "lr_schedule.num_cycles=2"),
    "constant": ('lr_schedule.kind="constant"',),
    "plateau": ('lr_schedule.kind="plateau"',),
    "double learning rate": ("lr=0.002",),
    "half learning rate": ("lr=0.0005",),
    "sgd": ('optimizer="sgd"', "lr=0.05", "weight_decay=0.0005"),
    "batch size 32": ("batch_size=32",),
    "growing batch size": (
        "batch_size=32",
        "batch_size_schedule=[[2, 64], [3, 128]]",
        'lr_schedule.kind="constant"',
    ),
    "no head-only epoch": ("head_only_epochs=0",),
    "all layers trained": ("freeze_until=0",),
    "gradual unfreezing": ("unfreeze_schedule=[16, 8, 0]",),
    "wide head": ('head="wide"', "head_rank=64"),
    "dropout": ("dropout=0.2",),
    "best checkpoint": ('checkpoint="best"',),
    "six epochs": ("epochs=6",),
    "two folds": ("n_folds=2",),
    "one view": (".predict.tta_views=1",),
    "two views": (".predict.tta_views=2",),
    "geometric mean": ('.predict.tta_mean="geometric"',),
}


def study(
    path: str, overrides: Sequence[str], model: str, names: Sequence[str], seeds: int
) -> dict[str, list[Answers]]:
    """Train and predict each setting and seed where missing; the answers of each setting."""
    experiment = Experiment(load(path, overrides))
    answers: dict[str, list[Answers]] = {}
    for seed in range(seeds):
        for name in names:
            variant = make_variant(experiment, path, overrides, model, name, seed)
            answers.setdefault(name, []).append(train_and_predict(variant, model))
    return answers


def with_seeds(change: str, seed: int) -> str:
    """A change whose {second} and {third} are seeds that no other row and no other run has."""
    return change.replace("{second}", str(101 + 2 * seed)).replace("{third}", str(102 + 2 * seed))


def make_variant(
    experiment: Experiment,
    path: str,
    overrides: Sequence[str],
    model: str,
    name: str,
    seed: int,
) -> Experiment:
    """The experiment of one model with the setting `name`.

    It shares stage 01 with `experiment`, and the baseline's networks if only predictions differ.
    """
    changes = [
        change[1:] if change.startswith(".") else f"models.{model}.{with_seeds(change, seed)}"
        for change in SETTINGS[name]
    ]
    folder = [f"work={experiment.folder}_recipe", f"name={slug(name)}_{seed}"]
    fixed = [f"models.{model}.seed={seed}", 'data.test=""', "predict.embed_models=[]"]
    config = load(path, [*overrides, *fixed, *changes, *folder])
    variant = Experiment(replace(config, models={model: config.models[model]}))
    tables.link_stages(experiment, variant, ["extract"])
    if changes and all(change.startswith(".") for change in SETTINGS[name]):
        baseline = replace(config, name=f"{slug(BASELINE)}_{seed}")
        tables.link_stages(Experiment(baseline), variant, ["cnn"])
    return variant


def train_and_predict(experiment: Experiment, model: str) -> Answers:
    """Run stages 02 and 03 where missing; the answers, as of `models.read_answers`."""
    for stage in (train, predict):
        build_stage(stage, experiment, rebuild=True)
    return models.read_answers(experiment, model)


def select_settings(only: Sequence[str]) -> list[str]:
    """The baseline, then the settings in `only`, or all. Raises UserError for unknown names."""
    for name in only:
        if name not in SETTINGS:
            raise UserError(f"no setting {name!r}; choose from: {'; '.join(SETTINGS)}")
    return list(dict.fromkeys([BASELINE, *(only or SETTINGS)]))


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    description = "The effect of each training setting against the baseline."
    epilog = "settings: " + "; ".join(SETTINGS)
    parser = config_parser("recipe", description, "configs/fashion.toml", epilog)
    add_model(parser, seeds=2)
    parser.add_argument("--only", nargs="*", default=[], metavar="SETTING", help="(default: all)")
    return print_report(parser.parse_args(), report)


def report(arguments: argparse.Namespace) -> str:
    """Tables of accuracy and of the mean F1 in Markdown."""
    names = select_settings(arguments.only)
    config = load(arguments.config, arguments.set)
    model = find_classifier(config, arguments.model)
    splits = Experiment(config).path("extract/splits")
    if not splits.is_dir():
        raise UserError(f"{splits} is missing; run 01_extract.py first")
    answers = study(arguments.config, arguments.set, model, names, arguments.seeds)
    title = f"{model}, seeds: {arguments.seeds}"
    accuracy = tables.to_markdown(title, tables.compare_accuracy(answers))
    f1 = tables.to_markdown(f"{title}, F1", tables.compare_macro_f1(answers), "mean F1")
    return f"{accuracy}\n\n{f1}"


if __name__ == "__main__":
    sys.exit(main())
