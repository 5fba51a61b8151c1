"""Stage 06 with clusters.multi_label: scores of sets of clusters, and predictions.

    work/<name>/submit   label_sets.json, ladder.txt, classes.csv, predictions.csv and .parquet;
                         boxes.csv and boxes_coco.json with models that draw masks

The networks' mean is the last step. Boosters rank the candidates of a product that has one class:
their shares, blends and calibration have no meaning for several. So stages 04 and 05 build nothing.
"""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph
from lib.stages.cascade.files import write_box_files
from lib.stages.train import label_set_inputs

if TYPE_CHECKING:
    import numpy as np

    from lib.evaluation.label_sets import LabelSetScores

MEAN = "mean"
ABSENT, ANNOTATED = "no box is an absent class", "where a class is annotated"
NO_BOOSTERS = (
    "multi-label: the last step is the mean of the networks; boosters (stages 04 and 05) choose one"
    " class and are not used"
)


def declare_label_sets(graph: Graph) -> Artifact:
    """The scores and predictions of sets of clusters."""
    experiment, config = graph.experiment, graph.experiment.config
    return graph.add(
        "submit",
        partial(write_scores, experiment),
        settings={"multi_label": True, "weights": config.model_weights},
        inputs=[
            "extract/categories",
            "extract/splits",
            *catalog_inputs(*experiment.sides),
            *label_set_inputs(),
            *(
                f"predictions/{name}/{part}"
                for name in config.classifiers
                for part in experiment.parts
            ),
            *(name for name in graph.artifacts if name.startswith("cascade/")),
        ],
    )


def write_scores(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Choose thresholds out-of-fold, score every network and their mean, and predict.

    label_sets.json, ladder.txt: mean average precision, macro and micro F1 on the locked part.
    classes.csv: each class there, by the mean. predictions: of the products to classify.
    """
    import numpy as np

    from lib.data.catalog import read_categories
    from lib.evaluation.label_sets import best_thresholds, write_class_scores
    from lib.output.label_sets import write_label_sets
    from lib.stages.read import catalog_of_part, read_label_sets

    config, sets = experiment.config, read_label_sets(experiment)
    categories = read_categories(experiment.path("extract/categories"))
    rows: dict[str, Any] = {}
    notes = []
    for name in (*config.classifiers, MEAN):
        image, fitted = read_probs(experiment, name, config.stack_part)
        thresholds = best_thresholds(sets[image] == 1, fitted)
        for rule, scores in _score_locked(experiment, name, sets, thresholds).items():
            rows[f"{name}, {rule}"] = {
                key: asdict(getattr(scores, key))
                for key in ("mean_average_precision", "macro_f1", "micro_f1")
            }
            notes.append(_line(f"{name}, {rule}", scores))
            if name == MEAN and rule == ABSENT:
                write_class_scores(folder / "classes.csv", scores, categories, thresholds)
    (folder / "label_sets.json").write_text(json.dumps(rows, indent=1) + "\n")
    count = next(iter(rows.values()))["macro_f1"]["n"]
    header = f"sets of clusters on the locked part, {count:,} images, thresholds chosen out-of-fold"
    (folder / "ladder.txt").write_text("\n".join([header, *notes, NO_BOOSTERS]) + "\n")
    facts = {"rows": len(rows)}
    if experiment.has_test:
        catalog = catalog_of_part(experiment, "test")
        image, probs = read_probs(experiment, MEAN, "test")
        of_product = np.zeros((len(catalog.product_id), probs.shape[1]), np.float32)
        of_product[catalog.image_product[image]] = probs  # none of an image that has no pixels
        facts["classes"] = write_label_sets(folder, catalog, categories, of_product, thresholds)
        facts |= write_box_files(experiment, folder)
    return facts


def _score_locked(
    experiment: Experiment, name: str, sets: "np.ndarray", thresholds: "np.ndarray"
) -> "dict[str, LabelSetScores]":
    """Scores with every absent box as an absent class, and, with verified labels, without those."""
    from lib.evaluation.label_sets import score_label_sets
    from lib.stages.read import catalog_of_part

    image, probs = read_probs(experiment, name, "locked")
    catalog, truth = catalog_of_part(experiment, "locked"), sets[image]
    group = None if catalog.group is None else catalog.group[catalog.image_product[image]]
    scores = {ABSENT: score_label_sets(truth == 1, probs, thresholds, group=group)}
    if (truth == 0).any():
        known = truth >= 0
        scores[ANNOTATED] = score_label_sets(truth == 1, probs, thresholds, known, group=group)
    return scores


def read_probs(experiment: Experiment, name: str, part: str) -> "tuple[np.ndarray, np.ndarray]":
    """The images of a part, int64 [n], and their probabilities by a network: float32 [n, C].

    name: of a model, or "mean" for the weighted mean of all.
    """
    import numpy as np

    from lib.inference.topk import dense_probs
    from lib.stages.read import num_classes, read_topk

    weights = experiment.config.model_weights if name == MEAN else {name: 1.0}
    topks = [read_topk(experiment, model, part) for model in weights]
    probs = np.zeros((len(topks[0].image), num_classes(experiment)), np.float32)
    for topk, weight in zip(topks, weights.values(), strict=True):
        assert np.array_equal(topk.image, topks[0].image), "different images"
        probs += np.float32(weight / sum(weights.values())) * dense_probs(topk, probs.shape[1])
    return topks[0].image, probs


def _line(name: str, scores: "LabelSetScores") -> str:
    names = ("mean average precision", "macro F1", "micro F1")
    values = (scores.mean_average_precision, scores.macro_f1, scores.micro_f1)
    return f"{name}: " + ", ".join(
        f"{what} {value}" for what, value in zip(names, values, strict=True)
    )
