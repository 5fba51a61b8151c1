"""Sections of pages, and figures as text and as columns."""

from lib.evaluation.metrics import Estimate
from studies import pages


def test_a_section_replaces_only_itself(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Drawings\n\nWords.\n")
    for key, text in (("a", "one"), ("b", r"two \1"), ("a", "three")):
        pages.write_section(page, key, text)
    content = page.read_text()
    assert content.startswith("# Drawings\n\nWords.\n")
    assert "one" not in content
    assert content.index("three") < content.index(r"two \1")


def test_a_share_is_written_in_percent_with_its_interval():
    assert pages.percent(Estimate(0.5, 0.25, 0.75, 4)) == "50.0 (25.0..75.0)"


def test_a_gain_is_none_if_its_interval_contains_zero():
    assert pages.points(Estimate(0.01, -0.02, 0.03, 4)) == "+1.0 (-2.0..+3.0): none"
    assert pages.points(Estimate(-0.02, -0.03, -0.01, 4)) == "-2.0 (-3.0..-1.0)"


def test_an_estimate_survives_its_csv_columns():
    row = pages.csv_columns("x", Estimate(0.12344, 0.1, 0.2, 9))
    assert row == {"x": 0.1234, "x_low": 0.1, "x_high": 0.2}
    assert pages.from_columns(row, "x") == Estimate(0.1234, 0.1, 0.2, 0)


def test_ticks_whose_labels_would_overlap_are_left_out(tmp_path):
    figure, axes = pages.subplots()
    pages.log_scale(axes, [1, 100, 101, 10_000])
    assert axes.get_xticks().tolist() == [1, 101, 10_000]
    pages.save(figure, tmp_path / "a" / "figure.png")
    assert (tmp_path / "a" / "figure.png").read_bytes().startswith(b"\x89PNG")
