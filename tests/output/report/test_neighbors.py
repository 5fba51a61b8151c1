from dataclasses import replace

import numpy as np

from lib.output.report.names import ClassNames
from tests.output.report.parts import catalog_of, categories, neighborhood

LABEL = [1, 2, 1, 1, 2]


def strips_of(products, labels=None, **changes):
    catalog = catalog_of(LABEL, [0, 1, 2, 4])  # the fourth has no image
    near = replace(neighborhood(catalog, ClassNames(categories(3))), **changes)
    return near.strips(products, labels)


def test_neighbors_of_the_own_class_are_marked_where_the_class_is_known():
    ((nearest, by_id),) = strips_of([2], [2])
    assert [(n.title, n.mark) for n in nearest.neighbors] == [("1003", ""), ("1004", "truth")]
    assert [n.title for n in by_id.neighbors] == ["1000", "1001", "1003", "1004"]
    assert [n.mark for n in by_id.neighbors] == ["", "truth", "", "truth"]
    ((nearest, _),) = strips_of([2])
    assert {n.mark for n in nearest.neighbors} == {""}


def test_a_product_that_nothing_is_near_has_an_empty_strip():
    ((nearest, _),) = strips_of([4])
    assert nearest.neighbors == []


def test_ids_that_tell_nothing_are_not_shown():
    ((nearest,),) = strips_of([0], id_is_number=None)
    assert len(nearest.neighbors) == 2
    named = np.array([False, True, True, True, True])
    first, second = strips_of([0, 1], id_is_number=named)
    assert len(first) == 1  # its own id is a name
    assert [n.title for n in second[1].neighbors] == ["1002", "1003"]
