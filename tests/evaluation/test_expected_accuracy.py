import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from lib.evaluation import expected_accuracy as module
from lib.evaluation.expected_accuracy import expected_accuracy


def draw(count, mean, seed):
    """Evidence of `count` predictions, and whether they are right: the odds grow with both."""
    rng = np.random.default_rng(seed)
    evidence = rng.normal(mean, 1, (count, 2)).astype(np.float32)
    chance = expit(1 + evidence @ np.array([1.0, 0.5]))
    return evidence, rng.random(count) < chance


def own(values):
    return np.arange(len(values))


def test_products_with_other_evidence_get_the_accuracy_that_they_have():
    labelled, correct = draw(2000, 0, 0)
    for mean in (-1.5, 0, 1.5):
        new, truth = draw(2000, mean, 1)
        found = expected_accuracy(correct, labelled, new, own(labelled), own(new))
        assert found.value == pytest.approx(truth.mean(), abs=0.04)
        assert found.low < found.value < found.high
        assert found.n == 2000
    less, more = (
        expected_accuracy(correct, labelled, draw(500, mean, 2)[0], own(labelled), np.arange(500))
        for mean in (-1.5, 1.5)
    )
    assert less.high < correct.mean() < more.low


def test_the_interval_covers_the_truth_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(module, "RESAMPLES", 60)
    covered, width = 0, []
    for seed in range(40):
        labelled, correct = draw(250, 0, seed)
        new, truth = draw(150, -0.7, 1000 + seed)
        found = expected_accuracy(correct, labelled, new, own(labelled), own(new), seed)
        covered += found.low <= truth.mean() <= found.high
        width.append(found.high - found.low)
    assert covered >= 34  # 38 are expected; fewer than 34 have a chance of 1 %
    assert np.mean(width) < 0.3


def test_groups_that_are_right_or_wrong_together_widen_the_interval():
    labelled, correct = draw(100, 0, 0)
    new, _ = draw(100, 0, 1)
    alone = expected_accuracy(correct, labelled, new, own(labelled), own(new))
    many = np.repeat(labelled, 8, 0), np.repeat(new, 8, 0)
    groups = np.repeat(np.arange(100), 8)
    copies = expected_accuracy(np.repeat(correct, 8), *many, groups, groups)
    blind = expected_accuracy(np.repeat(correct, 8), *many, np.arange(800), np.arange(800))
    assert copies.high - copies.low > 0.7 * (alone.high - alone.low)
    assert blind.high - blind.low < 0.6 * (alone.high - alone.low)


def test_evidence_never_speaks_against_a_prediction():
    """Noise may make the most sure predictions look wrong; that is not carried on to new ones."""
    rng = np.random.default_rng(0)
    labelled = rng.normal(size=(200, 1)).astype(np.float32)
    correct = labelled[:, 0] < 0.5
    sure = np.full((50, 1), 3, np.float32)
    found = expected_accuracy(correct, labelled, sure, own(labelled), own(sure))
    assert found.value == pytest.approx(correct.mean(), abs=0.01)


@pytest.mark.parametrize("right", [True, False])
def test_where_all_are_alike_the_chance_is_neither_none_nor_all(right):
    labelled, _ = draw(50, 0, 0)
    found = expected_accuracy(np.full(50, right), labelled, labelled, own(labelled), own(labelled))
    assert 0 < found.value < 1
    assert (found.value > 0.95) == right


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 40), st.integers(1, 40))
def test_the_value_lies_in_its_interval(seed, num_labelled, num_new):
    rng = np.random.default_rng(seed)
    labelled, new = rng.normal(size=(num_labelled, 2)), rng.normal(size=(num_new, 2))
    labelled[:, 1] = 1.0  # a column that says nothing
    groups = rng.integers(0, 5, num_labelled), rng.integers(0, 5, num_new)
    found = expected_accuracy(rng.random(num_labelled) < 0.5, labelled, new, *groups, seed)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.n == num_new


def test_a_sample_stands_for_all(monkeypatch):
    labelled, correct = draw(3000, 0, 0)
    new, _ = draw(3000, -1, 1)
    whole = expected_accuracy(correct, labelled, new, own(labelled), own(new))
    monkeypatch.setattr(module, "MAX_SAMPLE", 1000)
    monkeypatch.setattr(module, "MAX_NEW", 1000)
    sample = expected_accuracy(correct, labelled, new, own(labelled), own(new))
    assert sample.value == pytest.approx(whole.value, abs=0.05)
    assert sample.high - sample.low > whole.high - whole.low


def test_no_products_are_an_error():
    none, some = np.zeros((0, 2)), np.zeros((3, 2))
    for labelled, new in ((none, some), (some, none)):
        with pytest.raises(ValueError, match="labelled products and"):
            expected_accuracy(np.ones(len(labelled), bool), labelled, new, own(labelled), own(new))
