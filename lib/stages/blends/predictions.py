"""The predictions of the submitted blend for the products to classify, as files."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from lib.data.catalog import read_categories
from lib.evaluation.abstention import AbstentionRule
from lib.evaluation.promise import Promise
from lib.output.predictions import NUM_NEAR, Likeness, prediction_tables, write_predictions
from lib.pipeline.experiment import Experiment
from lib.similarity.support import UsualDistances
from lib.stages.blends.promise import LabelledSide, compare_each, measure_promise
from lib.stages.blends.scores import score_part
from lib.stages.read import catalog_of_part, read_nearest_products


class Predictions(NamedTuple):
    """What was written: how many products, and accepted predictions; and what is promised."""

    counts: dict[str, int]
    promise: Promise
    rule: AbstentionRule


def predict_products(experiment: Experiment, folder: Path, labelled: LabelledSide) -> Predictions:
    """Write predictions.csv and predictions.parquet of the products to classify.

    labelled: what they are compared with.
    """
    test = score_part(experiment, "test")
    promise, rule = measure_promise(experiment, labelled, test)
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
        labelled.catalog,
    )
    return Predictions({"products": products, "accepted": accepted}, promise, rule)


def predict_each(experiment: Experiment, labelled: LabelledSide, usual: UsualDistances) -> pa.Table:
    """The rows of predictions.parquet as if each product to classify were the only one.

    usual: of the labelled products.
    """
    test = score_part(experiment, "test")
    supported, nearest_cos = compare_each(experiment, labelled, usual, test)
    nearest = read_nearest_products(experiment, "test", NUM_NEAR)
    return pa.concat_tables(
        prediction_tables(
            catalog_of_part(experiment, "test"),
            read_categories(experiment.path("extract/categories")),
            test.rows.product,
            test.rows.class_id,
            test.score,
            labelled.rule,
            experiment.config.inference.top_k,
            Likeness(supported, nearest_cos, nearest, labelled.catalog),
        )
    )
