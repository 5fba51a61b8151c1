from typing import Annotated, Literal

import pytest

from lib.config.schema import Data
from lib.config.setting import (
    PositiveInt,
    Range,
    base_of,
    choices_of,
    items_of,
    range_of,
    settings_of,
)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        (Range(min=1), [1, 99], [0, 0.9], "at least 1"),
        (Range(min=0, max=1), [0, 1], [-0.1, 1.1], "from 0 to 1"),
        (Range(above=0, below=1), [0.5], [0, 1], "above 0, below 1"),
        (Range(min=0.5, below=1), [0.5], [0.4, 1], "at least 0.5, below 1"),
        (Range(above=0, max=1), [1], [0, 2], "above 0, at most 1"),
    ],
)
def test_a_range_holds_its_bounds_and_names_them(bounds, inside, outside, words):
    assert all(value in bounds for value in inside)
    assert not any(value in bounds for value in outside)
    assert float("nan") not in bounds
    assert str(bounds) == words


def test_settings_are_read_back_from_their_declaration():
    source = settings_of(Data)["source"]
    assert source.default == "bson"
    assert "sample" in choices_of(source.type)
    assert source.meaning.endswith(".")
    assert settings_of(Data)["sha256"].default == {}


def test_a_default_table_is_not_shared():
    Data().sha256["x"] = "y"
    assert Data().sha256 == {}


def test_types_are_taken_apart():
    assert range_of(PositiveInt) == Range(min=1)
    assert (range_of(int), range_of(Annotated[int, "other"])) == (None, None)
    assert (base_of(PositiveInt), base_of(int)) == (int, int)
    assert choices_of(Literal["a", 1]) == ("a", 1)
    assert choices_of(int) == ()
    assert items_of(tuple[int, ...]) == (tuple, (int, ...))
    assert items_of(dict[str, int]) == (dict, (str, int))
    assert items_of(int) == (None, ())
