"""Accuracy of the models of one config, or of several configs on the same catalog.

    python -m studies.models --config configs/fashion_frozen.toml
    python -m studies.models --config configs/mine.toml configs/mine_round2.toml --first lite0

Reads the predictions of stage 03; nothing is trained. The prediction of a product is the mean over
its images and views, out-of-fold: by the networks that were trained without the product. Gains are
over the first model, or over the one that `--first` names, on the same products. "minutes" are
those of the training of all folds. After stage 04 there are also the nearest labelled images of
each class (`predict.embed_models`), alone and averaged with the networks by `blend_weight`.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from lib.config.load import load
from lib.config.schema import Config
from lib.data.catalog import read_splits
from lib.errors import UserError
from lib.features.network import best_classes
from lib.features.query import make_query
from lib.pipeline.experiment import Experiment
from lib.pipeline.manifest import read_manifest
from lib.stages.blends.ladder_rows import neighbor_rows
from lib.stages.order import declare_all
from lib.stages.read import catalog_of_part, num_classes, read_candidates, read_topk
from studies import tables
from studies.tables import Answers


def read_answers(experiment: Experiment, model: str) -> Answers:
    """What a model predicts for the labelled products, out-of-fold.

    Raises UserError if stage 03 has not run.
    """
    part = experiment.config.stack_part
    folder = experiment.path(f"predictions/{model}/{part}")
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; run 03_predict_tta.py")
    catalog = catalog_of_part(experiment, "train")
    query = make_query(catalog, read_splits(experiment.path("extract/splits")).products(part))
    topk = read_topk(experiment, model, part)
    predicted = best_classes(query, [topk], [1.0], num_classes(experiment))
    return Answers(catalog.label[query.products], predicted)


def read_neighbors(experiment: Experiment) -> dict[str, np.ndarray]:
    """bool [products] for each line of the ladder's neighbors, on the rows of the boosters.

    Empty without embeddings, or before stage 04.
    """
    part = experiment.config.stack_part
    if not experiment.path(f"features/neighbors/{part}").is_dir():
        return {}
    catalog = catalog_of_part(experiment, "train")
    query = make_query(catalog, read_splits(experiment.path("extract/splits")).products(part))
    truth, candidates = catalog.label[query.products], read_candidates(experiment, part)
    rows = neighbor_rows(experiment, part, candidates, query, truth, num_classes(experiment))
    return {f"neighbors, {row.name}": row.correct for row in rows}


def training_minutes(experiment: Experiment, model: str) -> float:
    """Minutes that the training of all networks of a model took, as their manifests have them."""
    declared = [artifact for stage in declare_all(experiment).values() for artifact in stage]
    folder = experiment.path(f"cnn/{model}")
    manifests = [read_manifest(a.path) for a in declared if a.path.is_relative_to(folder)]
    return sum(manifest["seconds"] for manifest in manifests if manifest) / 60


def compare(configs: Sequence[Config], first: str) -> str:
    """The table in Markdown, gains over the model `first` ("": the first one).

    Raises UserError if there is no such model, or if the configs have different products.
    """
    correct, minutes = {}, {}
    for config in configs:
        experiment, prefix = Experiment(config), "" if len(configs) == 1 else f"{config.name}, "
        for model in config.classifiers:
            correct[f"{prefix}{model}"] = read_answers(experiment, model).correct
            minutes[f"{prefix}{model}"] = training_minutes(experiment, model)
        neighbors = read_neighbors(experiment)
        correct |= {f"{prefix}{name}": of_rule for name, of_rule in neighbors.items()}
    matches = [name for name in correct if name == first or name.endswith(f", {first}")]
    if first and not matches:
        raise UserError(f"no model {first!a}; choose one of: {', '.join(correct)}")
    if first:
        correct = {matches[0]: correct[matches[0]]} | correct
    if len({len(of_model) for of_model in correct.values()}) > 1:
        raise UserError(
            "the configs have different out-of-fold products; compare configs of one catalog and"
            " one split"
        )
    title = ", ".join(config.name for config in configs)
    rows = tables.compare({name: [of_model] for name, of_model in correct.items()})
    cells = [f"{minutes[row.name]:.1f}" if row.name in minutes else "" for row in rows]
    return tables.to_markdown(title, rows, minutes=cells)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.models",
        description="Accuracy of models, and the gain of each over the first.",
        epilog="example: python -m studies.models --config configs/fashion_frozen.toml",
    )
    parser.add_argument(
        "--config", nargs="+", default=["configs/fashion.toml"], help="TOML files (%(default)s)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--first", default="", help="the model that gains are over")
    arguments = parser.parse_args()
    try:
        configs = [load(path, arguments.set) for path in arguments.config]
        print(compare(configs, arguments.first))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
