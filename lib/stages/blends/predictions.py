"""The predictions of the submitted blend for the products to classify, as files."""

from pathlib import Path
from typing import NamedTuple

from lib.data.catalog import read_categories
from lib.evaluation.abstention import AbstentionRule
from lib.evaluation.promise import Promise
from lib.output.predictions import NUM_NEAR, write_predictions
from lib.pipeline.experiment import Experiment
from lib.stages.blends.promise import measure_promise
from lib.stages.blends.scores import BlendScores, score_part
from lib.stages.read import catalog_of_part, read_nearest_products


class Predictions(NamedTuple):
    """What was written: how many products, and accepted predictions; and what is promised."""

    counts: dict[str, int]
    promise: Promise
    rule: AbstentionRule


def predict_products(
    experiment: Experiment, folder: Path, oof: BlendScores, locked: BlendScores
) -> Predictions:
    """Write predictions.csv and predictions.parquet of the products to classify.

    oof, locked: the scores of labelled products, with which they are compared.
    """
    test = score_part(experiment, "test")
    promise, rule = measure_promise(experiment, oof, locked, test)
    products, accepted = write_predictions(
        folder,
        catalog_of_part(experiment, "test"),
        read_categories(experiment.path("extract/categories")),
        test.rows.product,
        test.rows.class_id,
        test.score,
        rule,
        experiment.config.inference.top_k,
        promise.supported,
        promise.nearest_cos,
        read_nearest_products(experiment, "test", NUM_NEAR),
        catalog_of_part(experiment, "train"),
    )
    return Predictions({"products": products, "accepted": accepted}, promise, rule)
