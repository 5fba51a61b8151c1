import math
from typing import Annotated, Literal

import pytest

from lib.config.data import Data
from lib.config.setting import (
    Distinct,
    Pattern,
    PositiveInt,
    Range,
    base_of,
    choices_of,
    constraint_of,
    items_of,
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
    assert not any(value in bounds for value in (math.nan, math.inf, -math.inf, 10**40))
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
    assert constraint_of(PositiveInt) == Range(min=1)
    assert (constraint_of(int), constraint_of(Annotated[int, "other"])) == (None, None)
    assert (base_of(PositiveInt), base_of(int)) == (int, int)
    assert choices_of(Literal["a", 1]) == ("a", 1)
    assert choices_of(int) == ()
    assert items_of(tuple[int, ...]) == (tuple, (int, ...))
    assert items_of(dict[str, int]) == (dict, (str, int))
    assert items_of(int) == (None, ())
    assert items_of(Annotated[tuple[int, ...], Distinct()]) == (tuple, (int, ...))


def test_bounds_are_written_out():
    assert str(Range(min=0.5, max=1_000_000)) == "from 0.5 to 1000000"


def test_a_pattern_is_of_the_whole_string():
    pattern = Pattern("[a-z]+", "small letters")
    assert [text in pattern for text in ("ab", "aB", "a\n", "")] == [True, False, False, False]
    assert str(pattern) == "small letters"


def test_a_list_may_name_a_thing_once():
    assert ("a", "b") in Distinct()
    assert () in Distinct()
    assert ("a", "b", "a") not in Distinct()
