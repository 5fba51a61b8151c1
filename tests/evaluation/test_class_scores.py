import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from lib.data.catalog import Categories
from lib.evaluation.class_scores import (
    macro_f1,
    macro_f1_gain,
    score_classes,
    write_class_scores,
)

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(PAIRS)
def test_rates_are_those_of_scikit_learn(pairs):
    label, predicted = np.array(pairs).T
    scores = score_classes(label, predicted, 6)
    expected = precision_recall_fscore_support(
        label, predicted, labels=range(6), zero_division=np.nan
    )
    np.testing.assert_allclose(scores.precision, expected[0])
    np.testing.assert_allclose(scores.recall, expected[1])
    present = np.unique(label)
    np.testing.assert_allclose(scores.f1[present], expected[2][present])
    assert np.isnan(np.delete(scores.f1, present)).all()
    assert scores.macro_f1 == pytest.approx(expected[2][present].mean())


def test_the_interval_holds_the_value_and_is_wider_for_groups():
    rng = np.random.default_rng(0)
    label = np.repeat(rng.integers(0, 3, 40), 5)
    predicted = np.where(np.repeat(rng.random(40) < 0.7, 5), label, (label + 1) % 3)
    alone = macro_f1(label, predicted, 3)
    together = macro_f1(label, predicted, 3, group=np.repeat(np.arange(40), 5))
    assert alone.low < alone.value < alone.high
    assert together.value == alone.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_a_gain_is_paired_and_the_mean_over_seeds():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 3, 120)
    baseline = np.where(rng.random((2, 120)) < 0.6, label, 0)
    better = np.where(rng.random((2, 120)) < 0.5, label, baseline)
    gain = macro_f1_gain(label, better, baseline, 3)
    assert gain.value == pytest.approx(
        macro_f1(label, better, 3).value - macro_f1(label, baseline, 3).value
    )
    assert 0 < gain.low < gain.value < gain.high
    same = macro_f1_gain(label, baseline, baseline, 3)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    alone = [macro_f1(label, seed, 3).value for seed in baseline]
    assert macro_f1(label, baseline, 3).value == pytest.approx(np.mean(alone))


def test_no_products_and_unequal_lengths_are_errors():
    with pytest.raises(ValueError, match="no products"):
        macro_f1(np.zeros(0, int), np.zeros(0, int), 3)
    with pytest.raises(ValueError, match="2 labels and 1"):
        score_classes(np.zeros(2, int), np.zeros(1, int), 3)


def test_the_table_has_a_row_for_each_class(tmp_path):
    categories = Categories(np.array([10, 20, 30]), [("A", "B", name) for name in "XYZ"])
    scores = score_classes(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    write_class_scores(tmp_path / "classes.csv", scores, categories, np.array([7, 5, 1]))
    with (tmp_path / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        **{"category": "10", "level1": "A", "level2": "B", "level3": "X", "labelled": "7"},
        **{"products": "2", "predicted": "1", "correct": "1"},
        **{"precision": "1.0000", "recall": "0.5000", "f1": "0.6667"},
    }
    assert (rows[2]["labelled"], rows[2]["products"], rows[2]["f1"]) == ("1", "0", "")
