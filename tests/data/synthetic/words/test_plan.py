"""Every setting of the words is measured on their plan."""

from dataclasses import replace

import numpy as np
import pytest

from lib.config.data import Sample
from lib.data.synthetic.plan import plan_catalog
from lib.data.synthetic.words.plan import GENERAL, MISSING, WordPlan, measure_words, plan_words

SETTINGS = Sample(
    train_products=4000,
    test_products=1000,
    num_classes=40,
    title_missing=0.3,
    brand_missing=0.2,
    price_missing=0.1,
    picture_words=0.25,
)
CATALOG = plan_catalog(SETTINGS, 1)
FAMILY = np.arange(40) // 4


def planned(**changes) -> WordPlan:
    return plan_words(replace(SETTINGS, **changes), CATALOG, FAMILY, 1)


def between_classes(values: np.ndarray) -> float:
    """The share of the variance that lies between classes."""
    label = CATALOG.appearance
    mean = np.bincount(label, values) / np.maximum(np.bincount(label), 1)
    return float(mean[label].var() / values.var())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title_missing", 0.6),
        ("title_informative", 0.4),
        ("title_misspelt", 0.3),
        ("brand_missing", 0.7),
        ("price_missing", 0.8),
        ("picture_words", 0.5),
    ],
)
def test_a_setting_sets_its_fraction(name, value):
    settings = replace(SETTINGS, **{name: value})
    facts = measure_words(plan_words(settings, CATALOG, FAMILY, 1), settings)
    assert facts[name] == pytest.approx(value, abs=0.03)


def test_a_catalog_without_words_has_no_facts_of_them():
    settings = Sample(train_products=100, test_products=20, num_classes=8)
    plan = plan_words(settings, plan_catalog(settings, 1), FAMILY[:8], 1)
    assert measure_words(plan, settings) == {}
    assert (plan.title == MISSING).all()
    assert (plan.brand == MISSING).all()
    assert np.isnan(plan.price).all()
    assert not plan.in_picture.any()


def test_titles_name_the_class_that_is_drawn_but_for_wrong_ones():
    for wrong in (0.0, 0.5):
        plan = planned(title_wrong=wrong)
        named = plan.title >= 0
        others = (plan.title != CATALOG.appearance)[named].mean()
        assert (others == 0) if wrong == 0 else (0.3 < others < 0.5)
    assert (planned(title_informative=0.0).title < 0).all()


def test_products_to_classify_are_drawn_as_labelled_ones():
    plan, test = planned(), CATALOG.test
    for is_so in (plan.title == MISSING, plan.title == GENERAL, plan.brand == MISSING):
        assert is_so[test].mean() == pytest.approx(is_so[~test].mean(), abs=0.05)


def test_a_setting_changes_its_own_part_alone_and_missing_titles_stay_missing():
    plan, other = planned(), planned(title_missing=0.6, brand_informative=0.0)
    assert ((other.title == MISSING) | (other.title == plan.title)).all()
    assert (other.title == MISSING).sum() > (plan.title == MISSING).sum()
    np.testing.assert_array_equal(plan.price, other.price)
    np.testing.assert_array_equal(plan.in_picture, other.in_picture)


def test_brands_have_a_long_tail_and_sell_few_families():
    family = FAMILY[CATALOG.appearance]
    num_families = {}
    for informative in (1.0, 0.0):
        brand = planned(brand_missing=0.0, brand_informative=informative).brand
        pairs = np.unique(np.stack([brand, family]), axis=1)[0]
        num_families[informative] = np.mean(np.unique(pairs, return_counts=True)[1])
        sizes = np.sort(np.bincount(brand))
        assert sizes[-1] > 5 * np.median(sizes)
    assert num_families[1.0] < 3.5 < num_families[0.0]


def test_prices_of_classes_overlap_as_the_setting_says():
    for informative, least, most in ((0.0, 0.0, 0.05), (0.5, 0.3, 0.7), (1.0, 0.97, 1.0)):
        price = planned(price_missing=0.0, price_informative=informative).price
        assert price.min() >= 1
        assert least <= between_classes(np.log(price)) <= most
