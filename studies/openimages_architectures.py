"""The Open Images article's attempts with other networks: trunks, and convolutions for pooling.

    python -m studies.openimages_architectures --config configs/openimages.toml --seeds 3
    python -m studies.openimages_architectures --only heads --set train.epochs=2

Runs stages 02 and 03 of one model of the config once for each variant and seed, out-of-fold, and
compares each with the plain one of its table on the same products. Finished runs are kept.

Trunks: all whose weights come as packages, and two without pretrained weights as a floor. The part
of the trunk that stays frozen is the same for all; a trunk without weights trains as a whole, for
as many epochs in all.
Heads: a 1xN and an Nx1 convolution in place of pooling, on resized images; and with batches of one
aspect cluster, convolutions of own weights for each of three shapes.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from lib.config.load import load
from lib.config.model import Model
from lib.data.aspect.clusters import common_shapes
from lib.errors import UserError
from lib.models import efficientnet_lite, factory
from lib.pipeline.experiment import Experiment
from lib.stages.read import num_classes
from studies import aspect, recipe, tables
from studies.command import add_model, config_parser, find_classifier, print_report

FLOOR = ("resnet18", "resnet34")
CLUSTERS = "aspect.num_clusters=3"
HEADS: dict[str, dict[str, tuple[str, ...]]] = {
    "resized images": {
        "adaptive pooling": ('head="linear"',),
        "1xN and Nx1 convolutions": ('head="strips"',),
    },
    "batches of one aspect cluster": {
        "clusters, adaptive pooling": (CLUSTERS, 'head="linear"'),
        "clusters, convolutions of each shape": (CLUSTERS, 'head="shape_strips"'),
    },
}
TABLES = ("trunks", "heads")


def trunk_settings(model: Model) -> dict[str, tuple[str, ...]]:
    """The changes of a model for each trunk, that of the model first."""
    share = model.freeze_until / num_units(model.arch)
    settings: dict[str, tuple[str, ...]] = {}
    for arch in dict.fromkeys([model.arch, *efficientnet_lite.NAMES]):
        frozen = round(share * num_units(arch))
        settings[arch] = (f'arch="{arch}"', f"freeze_until={frozen}")
    epochs = model.head_only_epochs + model.epochs
    for arch in FLOOR:
        settings[f"{arch}, without weights"] = (
            f'arch="{arch}"',
            'weights="none"',
            "freeze_until=0",
            "unfreeze_schedule=[]",
            "head_only_epochs=0",
            f"epochs={epochs}",
        )
    return settings


def num_units(arch: str) -> int:
    """Number of parts of a trunk that can be frozen one by one."""
    return len(factory.create_model(arch, 2, "none").units)


def make_variant(
    base: Experiment,
    path: str,
    overrides: Sequence[str],
    model: str,
    name: str,
    changes: Sequence[str],
) -> Experiment:
    """The experiment of one model with these changes; it shares stage 01 with `base`."""
    of_model = [f"models.{model}.{change}" for change in changes]
    folder = [f"work={base.folder}_architectures", f"name={tables.slug(name)}"]
    others = ['data.test=""', "predict.embed_models=[]"]
    config = load(path, [*overrides, *of_model, *others, *folder])
    variant = Experiment(replace(config, models={model: config.models[model]}))
    tables.link_stages(base, variant, ["extract"])
    if CLUSTERS in changes:
        aspect.read_sizes(variant)
    return variant


def study(
    path: str,
    overrides: Sequence[str],
    model: str,
    variants: dict[str, tuple[str, ...]],
    seeds: int,
) -> str:
    """Train and predict each variant and seed where missing; the lines of a table in Markdown."""
    base = Experiment(load(path, overrides))
    answers: dict[str, list[tables.Answers]] = {}
    for seed in range(seeds):
        for name, changes in variants.items():
            of_seed = (*changes, f"seed={seed}")
            variant = make_variant(base, path, overrides, model, f"{name}_{seed}", of_seed)
            million = num_weights(variant.config.models[model], base) / 1e6
            title = f"{name}, {million:.1f} M weights"
            answers.setdefault(title, []).append(recipe.train_and_predict(variant, model))
    return tables.to_markdown("", tables.compare_accuracy(answers)).removeprefix("### \n\n")


def num_weights(model: Model, experiment: Experiment) -> int:
    """Number of parameters of the network of a model."""
    shapes = common_shapes(model) if model.aspect.num_clusters else ()
    net = factory.create_from_config(model, num_classes(experiment), "none", shapes)
    return sum(parameter.numel() for parameter in net.parameters())


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    description = "Trunks and heads of the Open Images article, each against the plain one."
    parser = config_parser("openimages_architectures", description, "configs/openimages.toml")
    add_model(parser, seeds=1)
    parser.add_argument("--only", choices=TABLES, help="one of the tables (default: both)")
    return print_report(parser.parse_args(), report)


def report(arguments: argparse.Namespace) -> str:
    """The tables in Markdown. Raises UserError before stage 01, and for an unknown model."""
    experiment = Experiment(load(arguments.config, arguments.set))
    model = find_classifier(experiment.config, arguments.model)
    if not experiment.path("extract/splits").is_dir():
        raise UserError(f"{experiment.path('extract/splits')} is missing; run 01_extract.py first")
    trunks = trunk_settings(experiment.config.models[model])
    groups = {} if arguments.only == "heads" else {"trunks": trunks}
    if arguments.only != "trunks":
        groups |= {f"heads, {title}": variants for title, variants in HEADS.items()}
    options = (arguments.config, arguments.set, model)
    return "\n\n".join(
        f"### {title}, seeds: {arguments.seeds}\n\n{study(*options, group, arguments.seeds)}"
        for title, group in groups.items()
    )


if __name__ == "__main__":
    sys.exit(main())
