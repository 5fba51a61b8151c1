"""Which products are asked, in which order, and what they are called."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.catalog import Categories, read_splits
from lib.errors import UserError
from lib.labelling.items import draw, shown_names
from tests.labelling.conftest import sheet_of


def named(*names, keys=None):
    return Categories(np.arange(len(names)), list(names), keys)


def test_a_sheet_is_a_draw_of_the_part(few):
    _, config = few
    catalogue, sheet = sheet_of(config, 20)
    locked = read_splits(config.at("extract/splits")).products("locked")
    assert len(sheet) == len(set(sheet.products.tolist())) == 20
    assert np.isin(sheet.products, locked).all()
    assert np.array_equal(sheet.truth, catalogue.label[sheet.products])
    assert not np.array_equal(sheet.products, locked[:20])
    again, other, shorter = (
        sheet_of(config, n, seed)[1] for n, seed in ((20, None), (20, 2), (19, None))
    )
    assert np.array_equal(again.products, sheet.products)
    assert not np.array_equal(other.products, sheet.products)
    assert len({sheet.digest, other.digest, shorter.digest}) == 3
    assert again.digest == sheet.digest
    assert len(sheet_of(config, 10_000)[1]) == len(locked)


def test_everybody_has_an_order_of_their_own(few):
    _, sheet = sheet_of(few[1], 20)
    orders = [sheet.order(person) for person in (1, 2, 3)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(20))
    assert len({tuple(order.tolist()) for order in orders}) == 3
    assert np.array_equal(sheet.order(2), orders[1])


def test_products_without_a_picture_or_a_class_are_not_asked(few):
    catalogue, _ = sheet_of(few[1], 5)
    label, count = catalogue.label.copy(), catalogue.image_count.copy()
    label[0], count[1] = -1, 0
    bare = replace(catalogue, label=label, image_count=count)
    classes = named(*[("A", "B", str(i)) for i in range(4)])
    assert draw(bare, classes, np.arange(5), 5, 0).products.tolist() == [2, 3, 4]
    with pytest.raises(UserError, match="--part"):
        draw(bare, classes, np.arange(2), 5, 0)


def test_the_lowest_name_that_tells_classes_apart():
    assert shown_names(named(("fish", "", ""), ("hot dog", "", ""))) == ["fish", "hot dog"]
    found = shown_names(named(("M", "Tops", "Tees"), ("W", "Tops", "Tees"), ("W", "Tops", "Bras")))
    assert found == ["M / Tops / Tees", "W / Tops / Tees", "Bras"]
    same = named(("X", "X", "X"), ("X", "X", "X"))
    assert shown_names(same) == ["X (0)", "X (1)"]
    assert shown_names(named(("", "", ""), keys=["seven"])) == ["seven"]


@given(st.lists(st.tuples(*[st.sampled_from(["", "a", "b"])] * 3), min_size=1, max_size=8))
def test_names_are_never_the_same(names):
    found = shown_names(named(*names))
    assert len(set(found)) == len(names)
    assert all(found)
