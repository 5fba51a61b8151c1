"""Which products are to be decided, and in which order."""

from dataclasses import replace

import numpy as np
import pytest

from lib.data.catalog import Categories
from lib.labelling.review.task import distinct_paths, make_review_task
from lib.output.report.names import ClassNames
from lib.similarity.nearest_products import NearestProducts
from tests.labelling.review.conftest import NUM_OPEN, predictions_of


def names_of(task):
    count = len(task.class_keys)
    return ClassNames(Categories(np.arange(count), [("x", "", str(c)) for c in range(count)]))


@pytest.fixture
def near(task):
    count = len(task.catalog.product_id)
    rows = np.arange(count)[:, None]
    return NearestProducts(rows, rows.astype(np.float32), rows)


def test_what_is_not_accepted_comes_least_sure_first(task, near):
    predictions = predictions_of(task.catalog, 12)
    made = make_review_task(task.catalog, task.catalog, predictions, near, names_of(task))
    assert len(made) == NUM_OPEN
    assert not predictions.accepted[made.products].any()
    best = predictions.probability[made.products, 0]
    assert (np.diff(best) >= 0).all()
    assert made.choices.shape == made.probabilities.shape == (NUM_OPEN, 5)
    assert made.keys == [task.catalog.key(row) for row in made.products.tolist()]
    assert (made.near.product[:, 0] == made.products).all()


def test_products_without_a_picture_come_last(task, near):
    predictions = predictions_of(task.catalog, 12)
    first = int(task.products[0])
    images = predictions.images.copy()
    images[first] = 0
    predictions = replace(predictions, images=images)
    made = make_review_task(task.catalog, task.catalog, predictions, near, names_of(task))
    assert made.products.tolist() == [*task.products[1:].tolist(), first]


def test_classes_of_one_path_are_told_apart_by_their_keys():
    levels = [("men", "tees", ""), ("men", "tees", ""), ("men", "hats", "")]
    names = ClassNames(Categories(np.array([3, 5, 8]), levels))
    assert distinct_paths(names) == ["men > tees (3)", "men > tees (5)", "men > hats"]
