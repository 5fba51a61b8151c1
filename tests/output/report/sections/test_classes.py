import numpy as np

from lib.output.report.blocks import Chart, Table, Text
from lib.output.report.names import ClassNames
from lib.output.report.sections import classes
from lib.output.report.sections.classes import size_bins, size_section, worst_section
from tests.output.report.parts import SCRIPT, categories, part_of, random_part

LABELLED = np.array([2, 9, 50, 700])


def test_bins_count_the_products_of_classes_of_their_size():
    part = random_part(300, 4)
    bins = size_bins(part, LABELLED)
    assert [(row.low, row.high, row.num_classes) for row in bins] == [
        (1, 3, 1),
        (3, 10, 1),
        (30, 100, 1),
        (300, 1000, 1),
    ]
    assert sum(row.accuracy.n for row in bins) == 300
    for class_id, row in enumerate(bins):
        own = part.label == class_id
        assert row.accuracy.value == part.correct[own].mean()


def test_the_section_shows_scatter_plots_and_histograms_of_both_parts():
    section = size_section(
        random_part(200, 4), LABELLED, random_part(80, 4, 1, origin="locked part")
    )
    charts = [block for block in section.blocks if isinstance(block, Chart)]
    assert [chart.origin for chart in charts] == [
        *["out-of-fold"] * 3,
        "locked part",
        "out-of-fold",
    ]


def test_points_are_sampled_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr(classes, "MAX_POINTS", 3)
    empty = part_of(np.empty((0, 4)), [])
    section = size_section(random_part(200, 4), LABELLED, empty)
    assert Text("The scatter plots show 3 of 4 classes.") in section.blocks


def test_the_worst_class_comes_first_with_what_it_is_taken_for():
    probs = [[0.9, 0.1, 0]] * 6 + [[0, 0.9, 0.1]] * 6 + [[0.9, 0, 0.1]] * 6
    part = part_of(probs, [0] * 6 + [1] * 6 + [2] * 6)
    section = worst_section(part, np.array([6, 6, 6]), ClassNames(categories(3)))
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["LEAF 2", SCRIPT, "LEAF 1"]
    assert table.rows[0][1:] == [
        f"{SCRIPT} (6)",
        "6",
        "6",
        "never predicted",
        "0.0 % (0.0 .. 0.0)",
        "0.000",
    ]


def test_a_part_without_products_is_said_to_be_empty():
    empty = part_of(np.empty((0, 4)), [])
    section = size_section(empty, LABELLED, empty)
    assert [block.missing for block in section.blocks if isinstance(block, Text)] == [True]
