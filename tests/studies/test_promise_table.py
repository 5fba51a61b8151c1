"""The maths of headline and promise, on made-up rows."""

import pytest

from studies import promise_table

ROW = {
    "scenario": "a",
    "draw": 0,
    "headline": 0.9,
    "low": 0.85,
    "high": 0.95,
    "stated": 0.9,
    "stated_low": 0.85,
    "stated_high": 0.95,
    "warned": False,
    "new": 100,
    "truth": 0.88,
    "promise": 0.95,
    "accepted": 40,
    "accepted_right": 38,
}


def test_a_summary_has_means_and_counts():
    rows = [
        ROW,
        ROW | {"headline": 1.0, "stated": 0.9, "truth": 0.6, "accepted": 60, "accepted_right": 48},
    ]
    summary = promise_table.summarize(rows)["a"]
    assert (summary.draws, summary.covered, summary.kept, summary.warned) == (2, 1, 1, 0)
    assert summary.headline == pytest.approx(0.95)
    assert summary.truth == pytest.approx(0.74)
    assert summary.headline_off == pytest.approx((0.02 + 0.4) / 2)
    assert summary.stated_off == pytest.approx((0.02 + 0.3) / 2)
    assert summary.accepted == pytest.approx(0.5)
    assert summary.precision == pytest.approx(0.86)


def test_the_stated_interval_is_to_cover_the_truth():
    row = ROW | {"truth": 0.7}
    assert promise_table.summarize([row])["a"].covered == 0
    assert promise_table.summarize([row | {"low": 0.6}])["a"].covered == 0
    stated = row | {"stated": 0.72, "stated_low": 0.6, "stated_high": 0.8}
    assert promise_table.summarize([stated])["a"].covered == 1


def test_accepting_nothing_keeps_the_promise():
    summary = promise_table.summarize([ROW | {"accepted": 0, "accepted_right": 0, "warned": True}])[
        "a"
    ]
    assert (summary.kept, summary.precision, summary.accepted, summary.warned) == (1, None, 0.0, 1)


@pytest.mark.parametrize(("right", "kept"), [(37, 0), (38, 1)])
def test_a_promise_is_kept_from_the_promised_precision_on(right, kept):
    assert promise_table.summarize([ROW | {"accepted_right": right}])["a"].kept == kept


def test_scenarios_stay_in_their_order():
    rows = [ROW | {"scenario": name} for name in "bab"]
    assert [(name, s.draws) for name, s in promise_table.summarize(rows).items()] == [
        ("b", 2),
        ("a", 1),
    ]


def test_the_table_has_earlier_figures_beside_the_new_ones():
    after = [ROW, ROW | {"scenario": "b"}]
    lines = promise_table.to_markdown(after, [ROW | {"truth": 0.5}]).splitlines()
    assert lines[2].startswith("| a | before | 1 | 0.900 | 0.900 | 0.500 | 40.0 | 40.0 | 0 of 1")
    assert lines[3].startswith("|  | after | 1 | 0.900 | 0.900 | 0.880 | 2.0 | 2.0 | 1 of 1")
    assert lines[4].startswith("| b | after | 1 |")
    assert lines[5].startswith("| all | before | 1 |")
    assert lines[6].startswith("|  | after | 2 |")
    assert len(promise_table.to_markdown(after).splitlines()) == 5


def test_the_page_says_how_it_was_made():
    text = promise_table.page([ROW], [], "python -m studies.promises --draws 1")
    assert "`python -m studies.promises --draws 1`" in text
    assert "precision of 0.95, or that accept none" in text
    assert text.count("| a | 1 |") == text.count("| all | 1 |") == 1
