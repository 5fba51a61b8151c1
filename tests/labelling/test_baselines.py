"""Predictions of models for the products that people label."""

import numpy as np

from lib.features.query import make_query
from lib.inference.topk import TopK
from lib.labelling.baselines import predicted_classes
from tests.labelling.conftest import make_task

NUM_ITEMS = 12


def test_the_best_class_of_each_product_is_selected_from_the_whole_part(four_classes):
    """Top-k predictions of the whole part put class 7 * product % 4 first for every image."""
    _, config = four_classes
    catalog, task = make_task(config, NUM_ITEMS)
    _, whole_part = make_task(config, 10_000)
    query = make_query(catalog, whole_part.products)
    first = ((catalog.image_product[query.images] * 7) % 4).astype(np.int16)
    classes = np.stack([first, (first + 1) % 4], axis=1).astype(np.int16)
    probs = np.tile(np.float32([0.8, 0.1]), (len(first), 1))
    topk = TopK(query.images, classes, probs, np.full(len(first), 0.1, np.float32))
    predicted = predicted_classes({"a": topk}, catalog, task.products, 4)
    assert np.array_equal(predicted["a"], (task.products * 7) % 4)


def test_without_models_there_are_no_predictions(four_classes):
    catalog, task = make_task(four_classes[1], NUM_ITEMS)
    assert predicted_classes({}, catalog, task.products, 4) == {}
