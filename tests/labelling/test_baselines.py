"""Predictions of the config's models for the products that people label."""

import numpy as np

from lib.features.query import make_query
from lib.inference.topk import TopK
from lib.labelling import baselines
from lib.stages import ranking_stage
from tests.labelling.conftest import make_task

NUM_ITEMS = 12


def test_a_model_without_predictions_is_left_out_with_a_note(four_classes):
    _, config = four_classes
    catalog, task = make_task(config, NUM_ITEMS)
    classes, notes = baselines.predicted_classes(config, "locked", catalog, task.products, 4)
    assert classes == {}
    assert notes == ["a is left out: its predictions of locked are missing."]


def test_fresh_predictions_give_the_best_class_of_each_product(four_classes, monkeypatch):
    """Top-k predictions of the whole part put class 7 * product % 4 first for every image."""
    _, config = four_classes
    catalog, task = make_task(config, NUM_ITEMS)
    _, whole_part = make_task(config, 10_000)
    query = make_query(catalog, whole_part.products)
    first = ((catalog.image_product[query.images] * 7) % 4).astype(np.int16)
    classes = np.stack([first, (first + 1) % 4], axis=1).astype(np.int16)
    probs = np.tile(np.float32([0.8, 0.1]), (len(first), 1))
    topk = TopK(query.images, classes, probs, np.full(len(first), 0.1, np.float32))

    class Fresh:
        state = "fresh"

    monkeypatch.setattr(ranking_stage, "read_dump", lambda *_: topk)
    monkeypatch.setattr(baselines, "survey", lambda made: {one.path: Fresh() for one in made})
    predicted, notes = baselines.predicted_classes(config, "locked", catalog, task.products, 4)
    assert notes == []
    assert np.array_equal(predicted["a"], (task.products * 7) % 4)
