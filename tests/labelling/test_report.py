"""The report of people and models as data and as Markdown."""

import json

import numpy as np
import pytest

from lib.labelling import report
from lib.labelling.score import Responses
from lib.labelling.store import SKIPPED, UNANSWERED
from tests.labelling.test_score import NAMES, make_responses

# 10 products: person 1 has 9 correct and skips one, person 2 takes b for a three times.
ROWS = [(0, 0, 0, 0)] * 6 + [(1, 1, 0, 1)] * 3 + [(1, SKIPPED, 1, 0)]
NOTE = "other is left out: its predictions of locked are missing."


def test_the_data_has_every_figure():
    data = report.to_dict(make_responses(ROWS), [NOTE])
    assert data["people"]["1"]["skipped"] == 1
    assert data["people"]["1"]["answered"] == 10
    assert data["people"]["1"]["accuracy"]["value"] == pytest.approx(0.9)
    assert data["people"]["2"]["by_class"]["b"]["value"] == pytest.approx(0.25)
    assert data["models"]["net"]["accuracy"]["value"] == pytest.approx(0.9)
    assert data["confusion"][0] == {"truth": "a", "answer": "a", "count": 12}
    assert data["notes"] == [NOTE]


def test_the_markdown_has_the_same_figures():
    text = report.to_markdown(report.to_dict(make_responses(ROWS), [NOTE]))
    assert "| person 1 | 90.0 (59.6..98.2) | 10 of 10 | 1 |" in text
    assert "agree on 60.0 % of the 10 products" in text
    assert NOTE in text
    assert "| b | 3 | 4 | 1 |" in text  # confusion matrix: a, b, cannot tell


def test_many_classes_give_a_list_of_mistakes_in_place_of_a_matrix():
    names = [f"c{i}" for i in range(40)]
    truth = np.arange(40, dtype=np.int16)
    chosen = np.roll(truth, 1)
    chosen[0] = 0
    text = report.to_markdown(report.to_dict(Responses(truth, names, {1: chosen}, {})))
    assert "Most frequent mistakes" in text
    assert "| c1 | c0 | 1 |" in text
    assert "| c0 | c0 |" not in text


def test_undefined_figures_are_null_in_json():
    """Two people who give one and the same answer have no kappa."""
    data = report.to_dict(make_responses([(0, 0, 0, 0)] * 3 + [(1, UNANSWERED, 0, 1)]))
    text = json.dumps(data, allow_nan=False)
    assert json.loads(text)["agreement"][0]["kappa"] is None
    assert data["people"]["1"]["by_class"]["b"] is None
    assert "kappa not defined" in report.to_markdown(data)


def test_a_report_without_labels_says_so():
    chosen = np.full(3, UNANSWERED, np.int16)
    responses = Responses(np.zeros(3, np.int16), NAMES, {1: chosen}, {})
    data = report.to_dict(responses)
    assert report.to_markdown(data) == "No labels of 3 products yet."
