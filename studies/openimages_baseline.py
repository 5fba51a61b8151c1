"""A trained network against logistic regression on a frozen one, on some classes of photographs.

    python -m studies.openimages_baseline --config configs/openimages.toml

Run stages 01 to 03 of the config first. Both choose among the same classes (`--classes`: the five
vehicles of the photographs), for the products that belong to one of them. The logistic regression
of scikit-learn reads the vectors of the same architecture with its first weights, before any
training here, at the same image size; it is computed once and kept in the work folder.

Out-of-fold, both predict a product without having seen its fold. The regularisation of the
regression is chosen on these rows, so its figure there is slightly too good. On the locked part
the regression is fitted on all others, and the network is the mean of its folds and views; nothing
is chosen on it.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from lib.config.load import load
from lib.config.model import Backbone
from lib.config.schema import as_dict
from lib.data.catalog import read_categories, read_splits
from lib.errors import UserError
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy, gain
from lib.inference.embeddings import write_embeddings
from lib.inference.topk import dense_probs
from lib.pipeline.experiment import Experiment
from lib.pipeline.manifest import read_manifest
from lib.pipeline.reading import map_array
from lib.stages.read import catalog_of_part, num_classes, read_topk
from lib.stages.scoring import open_images
from lib.training.checkpoint import load_backbone
from studies.command import add_model, config_parser, find_classifier, print_report
from studies.pages import percent, points, write_section

VEHICLES = ("Ambulance", "Bus", "Car", "Motorcycle", "Truck")
STRENGTHS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)  # C of scikit-learn, the inverse of the penalty


def frozen_features(experiment: Experiment, name: str) -> np.ndarray:
    """Vectors of all labelled images by the untouched trunk of a model: float16 [I, width]."""
    config, model = experiment.config, experiment.config.models[name]
    backbone = Backbone(model.arch, model.weights, model.resize, model.crop, model.precision)
    manifest = read_manifest(experiment.path("extract/train"))
    key = json.dumps([as_dict(backbone), manifest and manifest["digest"]])
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    folder = experiment.folder / "trials" / f"frozen-{digest}"
    if not folder.is_dir():
        partial_folder = folder.with_suffix(".partial")
        partial_folder.mkdir(parents=True, exist_ok=True)
        network = partial(load_backbone, backbone)
        with open_images(experiment, backbone, catalog_of_part(experiment, "train")) as reader:
            write_embeddings(
                partial_folder, backbone, config.predict, network, None, True, reader, config.run
            )
        partial_folder.rename(folder)
    return map_array(folder / "features.npy")


def class_ids(experiment: Experiment, names: Sequence[str]) -> list[int]:
    """The class of each name. Raises UserError for a name that no class has."""
    paths = read_categories(experiment.path("extract/categories")).names
    known = [next(filter(None, reversed(path))) for path in paths]
    for name in names:
        if name not in known:
            raise UserError(f"--classes: no class {name!a}; there are {', '.join(known)}")
    return [known.index(name) for name in names]


def compare(experiment: Experiment, name: str, names: Sequence[str]) -> str:
    """The table of both, out-of-fold and locked, in Markdown.

    Raises UserError for a model without folds, or stages that have not run.
    """
    model, ids = experiment.config.models[name], class_ids(experiment, names)
    if model.n_folds == 1:
        raise UserError(f"models.{name}.n_folds = 1: no out-of-fold predictions; choose another")
    catalog = catalog_of_part(experiment, "train")
    splits = read_splits(experiment.path("extract/splits"))
    fit, locked = (
        products[np.isin(catalog.label[products], ids)]
        for products in map(splits.products, ("fit", "locked"))
    )
    features = frozen_features(experiment, name).astype(np.float32)[catalog.first_image]
    label, fold = catalog.label, splits.fold_of_product(model.n_folds)
    right: dict[str, dict[str, np.ndarray]] = {"fit": {}, "locked": {}}
    strength, right["fit"]["regression"] = best_regression(features, label, fold, fit)
    fitted = _regression(strength).fit(features[fit], label[fit])
    right["locked"]["regression"] = fitted.predict(features[locked]) == label[locked]
    for part, products in (("fit", fit), ("locked", locked)):
        topk = read_topk(experiment, name, part)
        probs = dense_probs(topk, num_classes(experiment))[:, ids]
        rows = np.searchsorted(topk.image, catalog.first_image[products])
        right[part]["network"] = np.array(ids)[probs[rows].argmax(axis=1)] == label[products]
    groups = {
        part: None if catalog.group is None else catalog.group[products]
        for part, products in (("fit", fit), ("locked", locked))
    }
    lines = [
        [title, *(percent(accuracy(right[part][key], group=groups[part])) for part in right)]
        for title, key in (
            (f"logistic regression on {model.arch} as it came, C = {strength:g}", "regression"),
            (f"{name}, trained", "network"),
        )
    ]
    gains = (gain(r["network"], r["regression"], group=groups[part]) for part, r in right.items())
    lines.append(["gain, points", *map(points, gains)])
    header = ["", f"out-of-fold, {len(fit)} products, %", f"locked, {len(locked)} products, %"]
    return f"Classes: {', '.join(names)}.\n\n{table(header, lines)}"


def best_regression(
    features: np.ndarray, label: np.ndarray, fold: np.ndarray, products: np.ndarray
) -> tuple[float, np.ndarray]:
    """The strength with the most right products out-of-fold, and which are right: bool [n]."""
    best, right = STRENGTHS[0], np.zeros(len(products), bool)
    for strength in STRENGTHS:
        correct = np.zeros(len(products), bool)
        for k in np.unique(fold[products]):
            own = fold[products] == k
            others = products[~own]
            fitted = _regression(strength).fit(features[others], label[others])
            correct[own] = fitted.predict(features[products[own]]) == label[products[own]]
        if correct.sum() > right.sum():
            best, right = strength, correct
    return best, right


def _regression(strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    description = (__doc__ or "").splitlines()[0]
    parser = config_parser("openimages_baseline", description, "configs/openimages.toml")
    add_model(parser)
    parser.add_argument("--classes", nargs="+", default=list(VEHICLES), help="(the vehicles)")
    parser.add_argument("--page", type=Path, help="Markdown page whose section is replaced")
    return print_report(parser.parse_args(), report)


def report(arguments: argparse.Namespace) -> str:
    """The table in Markdown, also written to a page if there is one."""
    experiment = Experiment(load(arguments.config, arguments.set))
    name = find_classifier(experiment.config, arguments.model)
    if not experiment.path(f"predictions/{name}/locked").is_dir():
        raise UserError(f"{experiment.folder}: no predictions; run stages 01 to 03 first")
    text = compare(experiment, name, arguments.classes)
    if arguments.page:
        write_section(arguments.page, "openimages_baseline", text)
    return text


if __name__ == "__main__":
    sys.exit(main())
