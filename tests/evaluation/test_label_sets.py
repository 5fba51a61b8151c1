"""Scores of sets of classes, against scikit-learn and loops."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from lib.data.catalog import Categories
from lib.evaluation.label_sets import NEVER, best_thresholds, score_label_sets, write_class_scores


def draw(seed: int, n: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Sets of classes and probabilities with ties; the last class has no product."""
    rng = np.random.default_rng(seed)
    present = rng.random((n, classes)) < [0.5, 0.2, 0.1, 0][:classes]
    probs = np.clip(0.4 * present + 0.6 * rng.random((n, classes)), 0, 1).round(1)
    return present, probs.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(seed):
    present, probs = draw(seed)
    thresholds = np.array([0.5, 0.45, 0.7, NEVER])
    scores = score_label_sets(present, probs, thresholds)
    predicted = probs >= thresholds
    own = [average_precision_score(present[:, c], probs[:, c]) for c in range(3)]
    np.testing.assert_allclose(scores.average_precision[:3], own)
    assert np.isnan(scores.average_precision[3])
    assert scores.mean_average_precision.value == pytest.approx(np.mean(own))
    macro = f1_score(present[:, :3], predicted[:, :3], average="macro")
    assert scores.macro_f1.value == pytest.approx(macro)
    assert scores.micro_f1.value == pytest.approx(f1_score(present, predicted, average="micro"))
    for estimate in (scores.mean_average_precision, scores.macro_f1, scores.micro_f1):
        assert estimate.low < estimate.value < estimate.high
        assert estimate.n == 60
    np.testing.assert_array_equal(scores.correct, (present & predicted).sum(0))


def test_pairs_that_nobody_annotated_do_not_count():
    present, probs = draw(5)
    known = np.random.default_rng(1).random(present.shape) < 0.6
    scores = score_label_sets(present, probs, np.full(4, 0.5), known)
    for c in range(3):
        rows = known[:, c]
        expected = average_precision_score(present[rows, c], probs[rows, c])
        assert scores.average_precision[c] == pytest.approx(expected)
        expected = f1_score(present[rows, c], probs[rows, c] >= 0.5)
        assert scores.f1[c] == pytest.approx(expected)


def test_products_of_a_group_are_drawn_together():
    present, probs = draw(2)
    thresholds = np.full(4, 0.5)
    alone = score_label_sets(present, probs, thresholds)
    copies = [np.repeat(array, 5, axis=0) for array in (present, probs)]
    group = np.repeat(np.arange(60), 5)
    grouped = score_label_sets(*copies, thresholds, group=group)
    for name in ("mean_average_precision", "macro_f1", "micro_f1"):
        one, five = getattr(alone, name), getattr(grouped, name)
        assert (five.value, five.low, five.high) == pytest.approx((one.value, one.low, one.high))
        assert five.n == 300


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=12))
def test_no_threshold_has_a_higher_f1(rows):
    present = np.array([row[0] for row in rows])[:, None]
    probs = np.array([row[1] / 5 for row in rows], np.float32)[:, None]
    (threshold,) = best_thresholds(present, probs)
    if not present.any():
        assert threshold == NEVER
        return
    f1 = [f1_score(present, probs >= value / 10) for value in range(11)]
    assert f1_score(present, probs >= threshold) == pytest.approx(max(f1))


def test_without_products_there_is_no_score():
    with pytest.raises(ValueError, match="no products"):
        score_label_sets(np.empty((0, 2), bool), np.empty((0, 2)), np.zeros(2))


def test_each_class_has_a_row(tmp_path):
    present, probs = draw(0)
    thresholds = best_thresholds(present, probs)
    categories = Categories(np.arange(4), [(name, "", "") for name in "ABCD"], list("ABCD"))
    scores = score_label_sets(present, probs, thresholds)
    write_class_scores(tmp_path / "classes.csv", scores, categories, thresholds)
    with (tmp_path / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["category"] for row in rows] == list("ABCD")
    assert float(rows[0]["f1"]) == pytest.approx(scores.f1[0], abs=1e-4)
    assert (rows[3]["average_precision"], rows[3]["threshold"]) == ("", "")
