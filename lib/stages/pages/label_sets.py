"""Stage 06 with clusters.multi_label: the report, with the sections that sets of classes have

work/<name>/report    page.html, without the times and settings of a machine
work/<name>/submit    report.html, the whole page; by `lib.stages.report.publish`
"""

import csv
from functools import partial
from pathlib import Path
from typing import Any

from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph
from lib.runtime.workers import num_threads
from lib.stages.openimages.label_sets import ABSENT, MEAN, read_probs
from lib.stages.report import PAGE, histories
from lib.stages.train import label_set_inputs


def declare_report(graph: Graph) -> Artifact:
    """The artifact of the report."""
    experiment, config = graph.experiment, graph.experiment.config
    return graph.add(
        "report",
        partial(write_report, experiment),
        settings={"weights": config.model_weights},
        inputs=[
            *catalog_inputs("train"),
            *label_set_inputs(),
            "extract/categories",
            "extract/splits",
            "extract/nearest/train",
            *(name for name in graph.artifacts if name.startswith("cnn/")),
            *(f"predictions/{n}/{p}" for n in config.classifiers for p in _parts(experiment)),
            "submit",
        ],
    )


def _parts(experiment: Experiment) -> tuple[str, str]:
    return experiment.config.stack_part, "locked"


def write_report(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Write page.html; returns counts."""
    from lib.data.catalog import read_categories
    from lib.evaluation.label_sets import best_thresholds
    from lib.output.report.blocks import LOCKED, OUT_OF_FOLD
    from lib.output.report.names import ClassNames
    from lib.output.report.neighbors import NUM_NEAREST, SIDE, Neighborhood
    from lib.output.report.page import Heading, render_page
    from lib.output.report.pictures import Pictures
    from lib.output.report.sections import label_sets as sections
    from lib.output.report.sections.training import training_section
    from lib.pipeline.reading import read_json, reading
    from lib.stages.read import catalog_of_part, read_label_sets, read_nearest_products

    config, submit = experiment.config, experiment.path("submit")
    names = ClassNames(read_categories(experiment.path("extract/categories")))
    catalog, sets = catalog_of_part(experiment, "train"), read_label_sets(experiment)
    parts = []
    for origin, part in zip((OUT_OF_FOLD, LOCKED), _parts(experiment), strict=True):
        image, probs = read_probs(experiment, MEAN, part)
        product = catalog.image_product[image]
        parts.append(sections.LabelSetPart(origin, product, sets[image], probs))
    thresholds = best_thresholds(parts[0].sets == 1, parts[0].probs)
    rows = read_json(submit / "label_sets.json", f"{MEAN}, {ABSENT}")
    with reading(submit / "classes.csv"), (submit / "classes.csv").open(newline="") as file:
        classes = list(csv.DictReader(file))
    threads = num_threads(config.run)
    with Pictures(catalog, threads) as pictures, Pictures(catalog, threads, SIDE) as small:
        nearest = read_nearest_products(experiment, "train", NUM_NEAREST)
        near = Neighborhood(nearest, catalog, names, small)
        mistakes = [
            sections.mistakes_section(part, thresholds, catalog, names, pictures, near, key)
            for part, key in zip(parts, ("mistakes", "locked-mistakes"), strict=True)
        ]
        shown = [
            sections.headline_section(
                rows, f"{MEAN}, {ABSENT}", (submit / "ladder.txt").read_text()
            ),
            sections.networks_section(rows),
            training_section(histories(experiment), config.segmenters),
            sections.classes_section(classes),
            *mistakes,
        ]
    labelled = f"{len(catalog.product_id):,} labelled images, {len(names):,} classes"
    page = render_page(Heading(config.name, labelled), shown)
    (folder / PAGE).write_text(page)
    return {"sections": len(shown), "bytes": len(page)}
