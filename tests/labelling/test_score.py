"""Accuracies, agreement and confusion, compared with counting by hand."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from lib.evaluation import metrics
from lib.labelling import score
from lib.labelling.score import Responses
from lib.labelling.store import SKIPPED, UNANSWERED

NAMES = ["a", "b", "c"]
# True class, answers of two people (SKIPPED and UNANSWERED included), class of a model.
ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 2)),
    min_size=1,
    max_size=30,
)


def make_responses(rows, group=None):
    truth, first, second, model = np.array(rows, np.int16).T
    return Responses(truth, NAMES, {1: first, 2: second}, {"net": model}, group)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_accuracies_match_counting(rows):
    responses = make_responses(rows)
    for person in (1, 2):
        answered = [row for row in rows if row[person] != UNANSWERED]
        estimate = score.accuracy_of(responses, responses.people[person])
        assert (estimate is None) == (not answered)
        if estimate:
            assert estimate.n == len(answered)
            assert estimate.value == pytest.approx(np.mean([r[0] == r[person] for r in answered]))
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        by_class = score.accuracy_by_class(responses, responses.people[person])
        assert set(by_class) == {row[0] for row in rows}
        for class_id, of_class in by_class.items():
            correct = [row[0] == row[person] for row in answered if row[0] == class_id]
            assert (of_class is None) == (not correct)
            assert of_class is None or (of_class.n, of_class.value) == (
                len(correct),
                np.mean(correct),
            )


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_confusion_matches_counting(rows):
    counts = np.zeros((3, 4), int)
    for truth, *chosen, _ in rows:
        for class_id in chosen:
            if class_id != UNANSWERED:
                counts[truth, 3 if class_id == SKIPPED else class_id] += 1
    confusion = score.confusion(make_responses(rows))
    assert confusion.dtype == np.int64
    assert np.array_equal(confusion, counts)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_agreement_is_over_products_that_both_answered(rows):
    both = [(row[1], row[2]) for row in rows if UNANSWERED not in row[1:3]]
    agreements = score.agreements(make_responses(rows))
    assert len(agreements) == bool(both)
    if both:
        assert agreements[0].n == len(both)
        assert agreements[0].share == pytest.approx(np.mean([a == b for a, b in both]))
        if len({class_id for pair in both for class_id in pair}) > 1:
            kappa = cohen_kappa_score(*zip(*both, strict=True))
            assert agreements[0].kappa == pytest.approx(kappa)
        else:
            assert np.isnan(agreements[0].kappa)


def test_wilson_interval_has_its_nominal_coverage():
    """Exact coverage for a share of 0.87 over 100 answers."""
    coverage = 0.0
    for correct in range(101):
        estimate = score.wilson(correct / 100, 100)
        if estimate.low <= 0.87 <= estimate.high:
            coverage += comb(100, correct) * 0.87**correct * 0.13 ** (100 - correct)
    assert 0.93 < coverage < 0.97


def test_wilson_interval_of_all_correct_is_not_a_point():
    estimate = score.wilson(1.0, 10)
    assert estimate.high == 1
    assert estimate.low == pytest.approx(0.7225, abs=1e-4)  # from a published table


@given(st.integers(1, 300), st.data())
def test_wilson_interval_matches_its_formula(n, data):
    share = data.draw(st.integers(0, n)) / n
    z = 1.959963984540054
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    estimate = score.wilson(share, n)
    assert estimate.low == pytest.approx(max(0, center - half), abs=1e-15)
    assert estimate.high == pytest.approx(min(1, center + half), abs=1e-15)


def test_products_of_a_group_are_resampled_together():
    correct = np.repeat([True, False], 10)
    group = np.repeat([0, 1], 10).astype(np.int32)
    assert score.accuracy(correct, group) == metrics.accuracy(correct, group=group)
    assert score.accuracy(correct, group).low == 0 < score.accuracy(correct).low


def test_a_second_person_does_not_narrow_the_pooled_interval():
    responses = make_responses([(0, 0, 0, 1)] * 30 + [(1, 0, 0, 1)] * 10)
    pooled = score.pooled_accuracy(responses)
    assert pooled == score.accuracy_of(responses, responses.people[1])
    assert pooled.n == 40


def test_the_gain_over_a_model_is_on_the_answered_products():
    rows = [(0, 0, UNANSWERED, 1)] * 20 + [(1, 0, UNANSWERED, 1)] * 10
    rows += [(2, UNANSWERED, UNANSWERED, 2)] * 50
    gain = score.gain_over_model(make_responses(rows), "net")
    assert gain.n == 30
    assert gain.value == pytest.approx((20 - 10) / 30)
