"""Figures against brute force, and what the report says."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from lib.evaluation.metrics import accuracy
from lib.labelling import report, score
from lib.labelling.score import Answers
from lib.labelling.store import NONE, SKIPPED

NAMES = ["a", "b", "c"]
ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 2)),
    min_size=1,
    max_size=30,
)


def answers(rows, group=None):
    truth, one, other, model = np.array(rows, np.int16).T
    return Answers(truth, NAMES, {1: one, 2: other}, {"net": model}, group)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_shares_and_confusion_by_counting(rows):
    found = answers(rows)
    for column, person in ((1, 1), (2, 2)):
        done = [row for row in rows if row[column] != NONE]
        estimate = score.of_one(found, found.people[person])
        assert (estimate is None) == (not done)
        if estimate:
            assert estimate.n == len(done)
            assert estimate.value == pytest.approx(np.mean([r[0] == r[column] for r in done]))
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        for cls, one in score.of_classes(found, found.people[person]).items():
            of_class = [row[0] == row[column] for row in done if row[0] == cls]
            assert (one is None) == (not of_class)
            assert one is None or (one.n, one.value) == (len(of_class), np.mean(of_class))
    counts = np.zeros((3, 4), int)
    for truth, *said, _ in rows:
        for cls in said:
            if cls != NONE:
                counts[truth, 3 if cls == SKIPPED else cls] += 1
    assert np.array_equal(score.confusion(found), counts)
    both = [(row[1], row[2]) for row in rows if NONE not in row[1:3]]
    agreed = score.agreements(found)
    assert len(agreed) == bool(both)
    if both:
        assert agreed[0].n == len(both)
        assert agreed[0].share == pytest.approx(np.mean([a == b for a, b in both]))
        if len({cls for pair in both for cls in pair}) > 1:
            assert agreed[0].kappa == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))
        else:
            assert np.isnan(agreed[0].kappa)
    json.dumps(report.data(found), allow_nan=False)
    assert report.markdown(report.data(found))


def test_wilson_holds_its_promise():
    """Exact coverage for a share of 0.87 over 100 answers, and never certain."""
    from math import comb

    held = 0.0
    for right in range(101):
        one = score.wilson(right / 100, 100)
        if one.low <= 0.87 <= one.high:
            held += comb(100, right) * 0.87**right * 0.13 ** (100 - right)
    assert 0.93 < held < 0.97
    certain = score.wilson(1.0, 10)
    assert certain.high == 1
    assert certain.low == pytest.approx(0.7225, abs=1e-4)  # a published table's value


def test_groups_are_drawn_together():
    right = np.repeat([True, False], 10)
    group = np.repeat([0, 1], 10).astype(np.int32)
    assert score.share(right, group) == accuracy(right, group=group)
    assert score.share(right, group).low == 0 < score.share(right).low


def test_all_people_are_not_twice_as_many_products():
    rows = [(0, 0, 0, 1)] * 30 + [(1, 0, 0, 1)] * 10
    found = answers(rows)
    pooled = score.of_all(found)
    assert pooled == score.of_one(found, found.people[1])
    assert pooled.n == 40


def test_people_against_a_model_on_what_they_answered():
    rows = [(0, 0, NONE, 1)] * 20 + [(1, 0, NONE, 1)] * 10 + [(2, NONE, NONE, 2)] * 50
    gain = score.against(answers(rows), "net")
    assert gain.n == 30
    assert gain.value == pytest.approx((20 - 10) / 30)


def test_the_report_says_what_it_has():
    rows = [(0, 0, 0, 0)] * 6 + [(1, 1, 0, 1)] * 3 + [(1, SKIPPED, 1, 0)]
    said = report.data(answers(rows), ["other is left out: its predictions of locked are missing."])
    text = report.markdown(said)
    assert said["people"]["1"]["passed"] == 1
    assert said["people"]["1"]["accuracy"]["value"] == pytest.approx(0.9)
    assert said["people"]["2"]["by_class"]["b"]["value"] == pytest.approx(0.25)
    assert said["models"]["net"]["accuracy"]["value"] == pytest.approx(0.9)
    assert said["confusion"][0] == {"truth": "a", "answer": "a", "count": 12}
    assert "| person 1 | 90.0 (59.6..98.2) | 10 of 10 | 1 |" in text
    assert "same of 60.0 % of the 10 products" in text
    assert "other is left out" in text
    assert "| b | 3 | 4 | 1 |" in text  # the matrix, with a column of those passed


def test_many_classes_give_a_list_of_mistakes():
    names = [f"c{i}" for i in range(40)]
    truth = np.arange(40, dtype=np.int16)
    said = np.roll(truth, 1)
    said[0] = 0
    found = Answers(truth, names, {1: said}, {})
    text = report.markdown(report.data(found))
    assert "commonest mistakes" in text
    assert "| c1 | c0 | 1 |" in text
    assert "| c0 | c0 |" not in text


def test_nobody_has_begun():
    found = Answers(np.zeros(3, np.int16), NAMES, {1: np.full(3, NONE, np.int16)}, {})
    assert report.markdown(report.data(found)) == "No label yet of 3 products."


def test_the_report_as_a_picture(tmp_path):
    import cv2

    from lib.labelling import plot

    rows = [(0, 0, 0, 0)] * 6 + [(1, 1, 0, 1)] * 3 + [(1, SKIPPED, 1, 0)]
    for names in (NAMES, [f"c{i}" for i in range(60)]):
        found = answers(rows)
        found = Answers(found.truth, names, found.people, found.models)
        plot.draw(report.data(found), tmp_path / "a" / "r.png")
        assert cv2.imread(str(tmp_path / "a" / "r.png")).shape[1] > 300
