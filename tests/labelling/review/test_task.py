"""Which products are to be decided, and in which order."""

from dataclasses import replace

import numpy as np
import pytest

from lib.data.catalog import Categories
from lib.labelling.review.task import distinct_paths, make_label_task, make_review_task
from lib.output.report.names import ClassNames
from lib.output.report.part import TopClass
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


def test_a_label_comes_first_then_its_suggestion(task, near):
    """Then the most probable classes; a class that has no probability has none on the page."""
    catalog, names = task.catalog, names_of(task)
    products = np.array([5, 2])
    first, second = catalog.label[products].tolist()
    others = [c for c in range(12) if c not in (first, second)]
    tops = [[TopClass(others[0], 0.6), TopClass(first, 0.3), TopClass(others[1], 0.1)], []]
    suggested = np.array([others[1], -1])
    made = make_label_task(catalog, products, ["a", "b"], suggested, tops, near, names)
    assert made.choices[0].tolist() == [first, others[1], others[0], -1, -1]
    assert made.choices[1].tolist() == [second, -1, -1, -1, -1]
    np.testing.assert_array_equal(made.probabilities[0, :4], [0.3, 0.1, 0.6, np.nan])
    assert np.isnan(made.probabilities[1]).all()
    assert made.label.tolist() == [first, second]
    assert made.keys == [catalog.key(5), catalog.key(2)]
    assert made.near.product[:, 0].tolist() == [5, 2]


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
