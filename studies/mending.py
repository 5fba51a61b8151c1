"""What mending the annotations earns: the same composed scenes with faults, mended and as they are.

    python -m studies.mending --config configs/openimages_sample.toml --seeds 3

Scenes have planted faults in their tables and in the tree of classes, and a truth without any.
Three catalogs are made of the same images: from the truth; from the tables with faults, mended by
the rules of stage 01; and from the same tables with `clusters.mend = false`. All have the clusters
of the truth, and further ones where their own counts of images ask for it. One model of the config
is trained for each catalog and seed. Its out-of-fold prediction is right if it is the image's true
cluster, whatever label the tables gave the image.

Images that a catalog leaves out, because no cluster has their class, are wrong in it: a reader of
the tables gets no answer for them. Without mending, a class that stands in two clusters gives an
image one of them by the digest of its ImageID, as a join with all places would; part of what
mending earns is that.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from json import dumps

import numpy as np

from lib.config.clusters import Clusters
from lib.config.load import load
from lib.config.scenes import DESCRIPTIONS_FILE, HIERARCHY_FILE
from lib.data.catalog import read_splits
from lib.data.openimages.cluster_table import read_clusters
from lib.data.openimages.hierarchy import read_hierarchy
from lib.data.openimages.places import read_hierarchy_file
from lib.errors import UserError
from lib.evaluation.markdown import table
from lib.pipeline.executor import ensure_all
from lib.pipeline.experiment import Experiment
from lib.stages import extract
from lib.stages.order import build_stage, declare_all
from lib.stages.read import catalog_of_part
from studies import recipe, tables
from studies.command import add_model, config_parser, find_classifier, print_report

TRUTH, MENDED, PUBLISHED = "no faults", "mended", "as published"
VARIANTS = (PUBLISHED, MENDED, TRUTH)


@dataclass(frozen=True)
class Catalog:
    """One of the three catalogs: its clusters, and the label of each image by ImageID.

    A cluster is named by the label of its class, such as /m/0k4j: a description may be missing.
    """

    clusters: list[str]
    labels: dict[str, str]


def study(
    path: str, overrides: Sequence[str], model: str, seeds: int
) -> tuple[dict[str, Catalog], dict[str, list[dict[str, str]]]]:
    """Build the catalogs, train and predict where missing.

    Returns the catalogs, and for each the predicted cluster by ImageID, of every seed.
    """
    scenes = compose_scenes(path, overrides)
    configure = partial(make_variant, path, overrides, scenes, model)
    clusters: list[str] = []
    catalogs, predicted = {}, {}
    for name in reversed(VARIANTS):  # the clusters of the truth are clusters of the others
        variants = [configure(name, clusters, seed) for seed in range(seeds)]
        build_stage(extract, variants[0], rebuild=True)
        for variant in variants[1:]:
            tables.link_stages(variants[0], variant, ["extract"])
        catalogs[name] = read_catalog(variants[0])
        clusters = clusters or catalogs[name].clusters
        predicted[name] = [predict_clusters(v, model, catalogs[name]) for v in variants]
    return catalogs, predicted


def compose_scenes(path: str, overrides: Sequence[str]) -> Experiment:
    """The experiment whose scenes all catalogs read; only they are built of it."""
    experiment = Experiment(load(path, [*overrides, "scenes.num_test_images=0", 'data.test=""']))
    wanted = experiment.path("extract/scenes")
    artifacts = [a for a in declare_all(experiment)["extract"] if a.path == wanted]
    if not artifacts:
        raise UserError(f"{path}: the config composes no scenes; set scenes.num_images")
    ensure_all("extract", artifacts, experiment.config.run, rebuild=True, parallel=False)
    return experiment


def make_variant(
    path: str,
    overrides: Sequence[str],
    scenes: Experiment,
    model: str,
    name: str,
    clusters: Sequence[str],
    seed: int,
) -> Experiment:
    """The experiment of one catalog and seed; clusters: classes that are clusters in any case."""
    folder = scenes.path("extract/scenes").resolve()
    root = folder / "truth" if name == TRUTH else folder
    mend = name != PUBLISHED
    hierarchy, _ = read_hierarchy_file(
        root / HIERARCHY_FILE, root / DESCRIPTIONS_FILE, Clusters(mend=mend)
    )
    known = [label for label in clusters if label in hierarchy.labels]
    settings = [
        f'data.root="{root}"',
        'data.train="train-annotations-bbox.csv"',
        f'data.images_root="{folder / "train"}"',
        'data.test=""',
        "data.max_bad_fraction=1",  # unmended, boxes of unknown classes are lost
        "scenes.num_images=0",
        "scenes.num_test_images=0",
        f"clusters.split={dumps(known)}",
        f"clusters.mend={dumps(mend)}",
        "predict.embed_models=[]",
        f"models.{model}.seed={seed}",
        f"work={scenes.folder}_mending",
        f"name={tables.slug(name)}_{seed}",
    ]
    config = load(path, [*overrides, *settings])
    return Experiment(replace(config, models={model: config.models[model]}))


def read_catalog(variant: Experiment) -> Catalog:
    """The clusters of a catalog, and the label of each of its images."""
    hierarchy = read_hierarchy(variant.path("extract/hierarchy"))
    rows = read_clusters(variant.path("extract/clusters")).class_row
    clusters = [hierarchy.labels[row] for row in rows.tolist()]
    catalog = catalog_of_part(variant, "train")
    labels = catalog.label.tolist()
    return Catalog(clusters, {catalog.key(i): clusters[k] for i, k in enumerate(labels)})


def predict_clusters(variant: Experiment, model: str, catalog: Catalog) -> dict[str, str]:
    """The cluster that a model predicts for each image by ImageID, out-of-fold."""
    answers = recipe.train_and_predict(variant, model)
    products = read_splits(variant.path("extract/splits")).products(variant.config.stack_part)
    images = catalog_of_part(variant, "train")
    keys = [images.key(product) for product in products.tolist()]
    return dict(zip(keys, (catalog.clusters[k] for k in answers.predicted.tolist()), strict=True))


def to_markdown(
    catalogs: dict[str, Catalog], predicted: dict[str, list[dict[str, str]]], title: str
) -> str:
    """A table of the catalogs, and one of the accuracy with gains over the annotation as it is.

    The images are those whose prediction in the catalog without faults is out-of-fold and that no
    other catalog keeps for the final figures.
    """
    truth = catalogs[TRUTH].labels
    keys = sorted(
        key
        for key in predicted[TRUTH][0]
        if all(key in predicted[name][0] or key not in c.labels for name, c in catalogs.items())
    )
    correct = {
        name: [
            np.array([of_seed.get(key) == truth[key] for key in keys])
            for of_seed in predicted[name]
        ]
        for name in VARIANTS
    }
    lines = []
    for name in VARIANTS:
        labels = catalogs[name].labels
        own = [np.mean([p[key] == labels[key] for key in p]) for p in predicted[name]]
        right = np.mean([labels[key] == truth[key] for key in keys if key in labels])
        lines.append(
            [
                name,
                str(len(catalogs[name].clusters)),
                f"{len(labels):,}",
                f"{100 * right:.1f}",
                f"{np.mean(own):.4f}",
            ]
        )
    header = ["", "clusters", "images", "true labels, %", "accuracy by its own labels"]
    gains = tables.to_markdown(title, tables.compare(correct), "accuracy by the true labels")
    return f"{gains}\n\n{table(header, lines)}"


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    description = "Accuracy with mended annotations against annotations as they are."
    parser = config_parser("mending", description, "configs/openimages_sample.toml")
    add_model(parser, seeds=3)
    return print_report(parser.parse_args(), report)


def report(arguments: argparse.Namespace) -> str:
    """Both tables in Markdown."""
    model = find_classifier(load(arguments.config, arguments.set), arguments.model)
    results = study(arguments.config, arguments.set, model, arguments.seeds)
    return to_markdown(*results, f"{model}, seeds: {arguments.seeds}")


if __name__ == "__main__":
    sys.exit(main())
