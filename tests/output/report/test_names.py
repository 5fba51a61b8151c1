import numpy as np

from lib.data.catalog import Categories
from lib.output.report.names import ClassNames


def test_a_name_that_several_classes_share_gets_its_number():
    categories = Categories(
        np.array([7, 8, 9]), [("A", "B", "x"), ("A", "C", "x"), ("A", "A", "y")]
    )
    names = ClassNames(categories)
    assert names.short == ["x (7)", "x (8)", "y"]
    assert names.paths == ["A > B > x", "A > C > x", "A > y"]


def test_classes_without_names_are_shown_by_their_keys():
    names = ClassNames(Categories(np.array([7, 8]), [("", "", "")] * 2, ["cat", "dog"]))
    assert names.short == names.paths == ["cat", "dog"]
