import pytest

from lib.data.sources.class_names import name_cautions


@pytest.mark.parametrize(
    ("labels", "listed"),
    [
        (["Red", "red", "RED", "Blue"], "'RED' = 'Red' = 'red'"),
        (["Men/Tops", "Men / Tops"], "'Men / Tops' = 'Men/Tops'"),
        (["T-Shirt", "t shirt"], "'T-Shirt' = 't shirt'"),
        (["Caf\u00e9", "Cafe\u0301"], "apart: "),
        (["12", "12.0"], "'12' = '12.0'"),
    ],
)
def test_names_that_look_the_same_are_listed(labels, listed):
    (caution,) = name_cautions(labels)
    assert "look the same" in caution
    assert listed in caution


def test_words_for_a_missing_value_are_listed():
    (caution,) = name_cautions(["nan", "NULL", "None", "Red", ""])
    assert caution.startswith("taken as names of categories: 'NULL', 'None', 'nan';")


def test_other_names_need_no_caution():
    assert name_cautions(["Red", "Redwood", "Men/Tops", "Men/Topsy", "1", "10", "1.5", ""]) == []


def test_a_long_list_is_cut():
    labels = [f"{word}{i}" for i in range(12) for word in ("a", "A")]
    (caution,) = name_cautions(labels)
    assert caution.endswith(" and 2 more")
    assert caution.count(" = ") == 10
