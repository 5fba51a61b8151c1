"""The products of a labelling task, each person's order, and class names on the page."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.catalog import Categories, read_splits
from lib.errors import UserError
from lib.labelling.items import display_names, sample_task
from lib.pipeline.experiment import Experiment
from tests.labelling.conftest import make_task


def categories(*names, keys=None):
    return Categories(np.arange(len(names)), list(names), keys)


def test_a_task_is_a_random_sample_of_the_part(four_classes):
    _, config = four_classes
    catalog, task = make_task(config, 20)
    fit = read_splits(Experiment(config).path("extract/splits")).products("fit")
    assert len(task) == len(set(task.products.tolist())) == 20
    assert np.isin(task.products, fit).all()
    assert np.array_equal(task.truth, catalog.label[task.products])
    assert not np.array_equal(task.products, fit[:20])
    assert len(make_task(config, 10_000)[1]) == len(fit)


def test_a_task_depends_on_its_seed_and_size_alone(four_classes):
    _, config = four_classes
    _, task = make_task(config, 20)
    _, again = make_task(config, 20)
    _, other_seed = make_task(config, 20, seed=2)
    _, shorter = make_task(config, 19)
    assert np.array_equal(again.products, task.products)
    assert not np.array_equal(other_seed.products, task.products)
    assert again.digest == task.digest
    assert len({task.digest, other_seed.digest, shorter.digest}) == 3


def test_each_person_has_a_different_order(four_classes):
    _, task = make_task(four_classes[1], 20)
    orders = [task.order(person) for person in (1, 2, 3)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(20))
    assert len({tuple(order.tolist()) for order in orders}) == 3
    assert np.array_equal(task.order(2), orders[1])


def test_products_without_an_image_or_a_label_are_left_out(four_classes):
    catalog, _ = make_task(four_classes[1], 5)
    label, count = catalog.label.copy(), catalog.image_count.copy()
    label[0], count[1] = -1, 0
    incomplete = replace(catalog, label=label, image_count=count)
    names = categories(*[("A", "B", str(i)) for i in range(4)])
    assert sample_task(incomplete, names, np.arange(5), 5, 0).products.tolist() == [2, 3, 4]
    with pytest.raises(UserError, match="--part"):
        sample_task(incomplete, names, np.arange(2), 5, 0)


def test_a_class_is_named_by_its_lowest_level_if_that_is_unique():
    names = categories(("M", "Tops", "Tees"), ("W", "Tops", "Tees"), ("W", "Tops", "Bras"))
    assert display_names(names) == ["M / Tops / Tees", "W / Tops / Tees", "Bras"]
    assert display_names(categories(("fish", "", ""), ("dog", "", ""))) == ["fish", "dog"]


def test_classes_with_the_same_name_at_every_level_get_their_ids():
    assert display_names(categories(("X", "X", "X"), ("X", "X", "X"))) == ["X (0)", "X (1)"]
    assert display_names(categories(("", "", ""), keys=["seven"])) == ["seven"]


@given(st.lists(st.tuples(*[st.sampled_from(["", "a", "b"])] * 3), min_size=1, max_size=8))
def test_display_names_are_unique(names):
    displayed = display_names(categories(*names))
    assert len(set(displayed)) == len(names)
    assert all(displayed)
