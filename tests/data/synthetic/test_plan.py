from dataclasses import replace

import numpy as np
import pytest

from lib.config.data import Sample
from lib.data.synthetic.plan import measure_plan, plan_catalog

SETTINGS = Sample(train_products=1600, test_products=400, num_classes=30, image_size=24)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("duplicate_fraction", 0.1),
        ("conflict_fraction", 0.05),
        ("test_shared_fraction", 0.6),
        ("label_noise", 0.2),
    ],
)
def test_a_setting_sets_its_fraction(name, value):
    measured = measure_plan(plan_catalog(replace(SETTINGS, **{name: value}), 3))
    assert measured[name] == pytest.approx(value, abs=0.035)


def test_ids_are_informative_and_class_sizes_have_a_long_tail():
    plan = plan_catalog(replace(SETTINGS, train_products=8000, test_products=2000), 2)
    train, test = np.flatnonzero(~plan.test), np.flatnonzero(plan.test)
    nearest = train[np.clip(np.searchsorted(train, test), 0, len(train) - 1)]
    same_class = (plan.label[nearest] == plan.label[test]).mean()
    counts = np.sort(np.bincount(plan.label, minlength=30))
    assert same_class > 2 * ((counts / counts.sum()) ** 2).sum()
    assert counts[-1] > 8 * counts[0]
    quarters = np.array_split(plan.test, 4)
    assert [q.mean() for q in quarters] == pytest.approx([0.2] * 4, abs=0.03)


def test_slots_follow_products_and_sources_are_originals():
    plan = plan_catalog(SETTINGS, 1)
    assert (np.diff(plan.product) >= 0).all()
    assert len(np.unique(plan.product)) == len(plan.ids)
    first = np.flatnonzero(np.diff(plan.product, prepend=-1))
    assert (plan.position[first] == 0).all()
    shown = plan.source[plan.source >= 0]
    assert (plan.source[shown] == shown).all()
    copies = np.flatnonzero((plan.source >= 0) & (plan.source != np.arange(len(plan.source))))
    assert not plan.test[plan.product[plan.source[copies]]].any()


def test_the_number_of_placeholders_is_that_of_the_settings():
    plan = plan_catalog(replace(SETTINGS, num_placeholders=2), 1)
    assert np.unique(plan.source[plan.source < 0]).tolist() == [-2, -1]
    plan = plan_catalog(replace(SETTINGS, num_placeholders=0), 1)
    assert plan.source.min() >= 0
