from dataclasses import replace

import numpy as np
import pytest

from lib.config.data import Sample
from lib.data.attributes.numbers import NumberColumn
from lib.data.synthetic.plan import plan_catalog
from lib.data.synthetic.words.plan import plan_words
from lib.data.synthetic.words.vocabulary import word
from lib.data.synthetic.words.writer import WordWriter, write_price

SETTINGS = Sample(
    train_products=1500,
    test_products=100,
    num_classes=12,
    title_missing=0.0,
    title_wrong=0.0,
    title_misspelt=0.0,
    brand_missing=0.5,
    price_missing=0.5,
)
CATALOG = plan_catalog(SETTINGS, 1)
FAMILY = np.arange(12) // 4


def make_writer(**changes) -> WordWriter:
    return WordWriter(plan_words(replace(SETTINGS, **changes), CATALOG, FAMILY, 1), FAMILY, seed=1)


def nouns(class_id: int) -> set[str]:
    """The words of a class and those that it shares, in both languages."""
    numbers = {"class": class_id, "sisters": class_id // 2, "family": class_id // 4}
    return {word(1, kind, number, lang) for kind, number in numbers.items() for lang in (0, 1)}


@pytest.mark.parametrize("informative", [0.0, 1.0])
def test_an_informative_title_has_a_noun_of_its_class(informative):
    writer = make_writer(title_informative=informative)
    found = [
        bool(nouns(int(CATALOG.appearance[product])) & set(title.casefold().split()))
        for product in range(300)
        for title in [writer.of_product(product)["title"]]
    ]
    assert np.mean(found) == informative


def test_values_are_missing_where_the_plan_says_so():
    writer = make_writer()
    for product in range(200):
        values = writer.of_product(product)
        assert ("brand" in values) == (writer.plan.brand[product] >= 0)
        assert ("price" in values) == (not np.isnan(writer.plan.price[product]))


def test_a_misspelt_title_differs_from_the_title():
    plain, other = make_writer(), make_writer(title_misspelt=1.0)
    pairs = [[w.of_product(product)["title"] for w in (plain, other)] for product in range(100)]
    assert np.mean([a != b for a, b in pairs]) > 0.9
    assert all(abs(len(a) - len(b)) <= 1 for a, b in pairs)


def test_prices_are_read_as_they_were_meant():
    """A column of all notations, read as stage 01 reads it."""
    rng = np.random.default_rng(0)
    prices = np.round(np.exp(rng.normal(5, 2, 400)), 2)
    texts = [write_price(price, rng) for price in prices.tolist()]
    column = NumberColumn.empty(400)
    for row, text in enumerate(texts):
        column.take(row, text)
    assert len({text.strip("0123456789") for text in texts}) >= 4
    np.testing.assert_allclose(column.values(column.decide()[0]), prices)


def test_pictures_say_the_family_in_capitals():
    writer = make_writer(picture_words=1.0)
    assert writer.in_picture(0, 5) == writer.in_picture(1, 4) == word(1, "family", 1, 1).upper()
    assert make_writer().in_picture(0, 5) == ""
