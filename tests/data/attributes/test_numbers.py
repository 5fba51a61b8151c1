import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.data.attributes.numbers import NumberColumn, parse

READ = {
    "1.299,00 €": 1299,
    "1,299.00": 1299,
    "€ -5": -5,
    "\u22123": -3,
    "Rs.499": 499,
    "CHF 1'299.-": 1299,
    "1 299,50 kr": 1299.5,
    "1.299.000": 1_299_000,
    "1,00,000": 100_000,
    "0.500": 0.5,
    ",5": 0.5,
    "1.5e-3": 0.0015,
    "5 m²": 5,
    "١٢": 12,
    "US$3.99": 3.99,
    "from 12": 12,
}
UNREADABLE = (
    *("10-20", "2024-05-01", "AB-12", "12 x 30", "1.29.9", "1,2,3", "1 29", "big", "(5)", "1e999"),
    *("1.234'567", "a very long remark 12"),
)


@pytest.mark.parametrize(("text", "value"), READ.items())
def test_numbers_of_shops_are_read(text, value):
    parsed = parse(text)
    assert parsed is not None
    assert parsed.point == parsed.comma == pytest.approx(value)
    assert not parsed.is_ambiguous


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_single_number_is_not_read(text):
    assert parse(text) is None


@given(st.text())
@example("\u066b5")
@example("1²")
def test_any_text_is_a_finite_number_or_none(text):
    parsed = parse(text)
    assert parsed is None or (math.isfinite(parsed.point) and math.isfinite(parsed.comma))


STYLES = {
    "point": ("{:,.2f}", str),
    "comma": ("{:,.2f}", lambda t: t.translate({44: ".", 46: ","})),
}


@given(
    st.lists(st.floats(0, 1e7).map(lambda v: round(v, 2)), min_size=1, max_size=20),
    st.sampled_from(sorted(STYLES)),
    st.sampled_from(["{} €", "EUR {}", "{}"]),
)
def test_a_column_with_cents_is_read_as_it_was_written(values, decimal, affix):
    form, swap = STYLES[decimal]
    column = column_of(*(affix.format(swap(form.format(value))) for value in values))
    assert column.decide() == (decimal, True)
    np.testing.assert_array_equal(column.values(decimal), values)


def column_of(*texts: str) -> NumberColumn:
    column = NumberColumn.empty(len(texts))
    for row, text in enumerate(texts):
        column.take(row, text)
    return column


@pytest.mark.parametrize(
    ("texts", "decimal", "is_shown", "first"),
    [
        (["1.299", "12,50"], "comma", True, 1299),
        (["1.299", "12.50"], "point", True, 1.299),
        (["1,299", "12.50", "9.90", "3,5"], "point", True, 1299),
        (["1.299", "899", "450"], "comma", False, 1299),
        (["1.299", "899", "1450"], "point", False, 1.299),
        (["1.299", "2.345"], "point", False, 1.299),
        (["1,299", "899"], "point", False, 1299),
        (["1,299"], "point", False, 1299),
        (["Rs. 1,299"], "point", False, 1299),
        (["899"], "point", True, 899),
    ],
)
def test_the_column_decides_what_one_value_leaves_open(texts, decimal, is_shown, first):
    column = column_of(*texts)
    assert column.decide() == (decimal, is_shown)
    assert column.values(decimal)[0] == first


def test_missing_words_are_missing_and_other_words_are_counted():
    column = column_of("N/A", "-", "on request", "on request", "3-4", "12")
    np.testing.assert_array_equal(column.values("point"), [np.nan] * 5 + [12])
    assert (column.numbers, column.unreadable) == (1, 3)
    assert column.unreadable_values() == ["'on request' (2)", "'3-4' (1)"]


def test_several_units_are_said():
    assert column_of("1 €", "2 €", "$3", "4").units() == ["'\\u20ac' (2)", "'$' (1)"]
    assert column_of("1 €", "2").units() == []


def test_the_first_value_of_a_product_counts():
    column = NumberColumn.empty(1)
    for text in ("big", "5", "7"):
        column.take(0, text)
    assert column.values("point").tolist() == [5]
