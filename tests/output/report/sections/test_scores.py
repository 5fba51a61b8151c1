import numpy as np
import pytest

from lib.output.report.blocks import Chart, Lines, Text, Tiles
from lib.output.report.sections import scores
from lib.output.report.sections.scores import (
    headline_section,
    ladder_section,
    reliability_bins,
    reliability_section,
)
from tests.output.report.parts import part_of, random_part


def row(layer, name, value):
    ends = {"low": value - 0.1, "high": value + 0.1}
    return {"layer": layer, "name": name, "part": "locked", "accuracy": value, **ends, "n": 100}


LADDER = [row("cnn", "a", 0.4), row("blend", "simple", 0.6), row("blend", "fitted", 0.7)]
ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 80}
PROMISE = {
    "out_of_fold": ESTIMATE,
    "locked_with_twin": 3,
    "locked_without_twin": ESTIMATE,
    "mean_f1": {"classes": 7, "estimate": ESTIMATE},
    "test": {"expected_accuracy": ESTIMATE, "differs": True},
}
CALIBRATION = {
    "threshold": 0.8,
    "precision_wanted": 0.95,
    "locked": {"precision": ESTIMATE, "coverage": 0.25, "expected_calibration_error": 0.03},
}


def test_the_headline_has_every_figure_with_interval_and_origin():
    section = headline_section(LADDER, "fitted", PROMISE, CALIBRATION, "table\n\nnote 1\nnote 2\n")
    tiles, lines = section.blocks
    assert isinstance(tiles, Tiles)
    assert isinstance(lines, Lines)
    assert [(tile.value, tile.origin) for tile in tiles.tiles] == [
        ("70.0 %", "locked part"),
        ("50.0 %", "out-of-fold"),
        ("50.0 %", "locked part"),
        ("50.0 %", "estimate"),
        ("25.0 %", "locked part"),
        ("50.0 %", "out-of-fold"),
    ]
    assert tiles.tiles[0].detail.startswith("60.0 .. 80.0; 100 products")
    assert lines.text == "note 1\nnote 2"


def test_what_was_not_measured_is_not_shown():
    promise = {**PROMISE, "locked_without_twin": None}
    del promise["test"]
    nothing = {"precision": None, "coverage": 0.0, "expected_calibration_error": 0.1}
    calibration = {**CALIBRATION, "threshold": None, "locked": nothing}
    section = headline_section(LADDER, "fitted", promise, calibration, "table\n\nnotes")
    tiles = section.blocks[0].tiles
    assert [tile.label for tile in tiles] == [
        "Locked accuracy",
        "Out-of-fold accuracy",
        "Accepted",
        "Mean F1",
    ]
    assert tiles[2].value == "none"


def test_a_long_ladder_is_cut_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr(scores, "MAX_LADDER_ROWS", 2)
    chart, text = ladder_section(LADDER, "fitted").blocks
    assert isinstance(chart, Chart)
    assert "cnn: a" in chart.svg
    assert "blend: fitted" not in chart.svg
    assert text == Text("The first 2 of 3 steps are shown; submit/scores.json has all.")


def test_bins_of_calibrated_probabilities_are_near_the_diagonal():
    bins = reliability_bins(random_part(4000, 3))
    assert sum(estimate.n for _, estimate in bins) == 4000
    for mean, estimate in bins:
        assert estimate.value == pytest.approx(mean, abs=0.12)


def test_reliability_names_the_threshold_or_says_there_is_none():
    part = random_part(50, 3)
    assert "(0.800)" in reliability_section(part, CALIBRATION).blocks[0].caption
    without = {**CALIBRATION, "threshold": None}
    assert "nothing is accepted" in reliability_section(part, without).blocks[0].caption
    empty = part_of(np.empty((0, 3)), [])
    assert [block.missing for block in reliability_section(empty, CALIBRATION).blocks] == [True]
