import numpy as np

from lib.output.report.blocks import Chart, Table, Text
from lib.output.report.sections.products import accuracy_by, images_section, tree_section
from tests.output.report.parts import SCRIPT, categories, part_of, random_part


def test_accuracy_is_that_of_the_products_of_each_key():
    part = random_part(100, 3)
    key = np.arange(100) % 4 - 1
    rows = accuracy_by(part, key)
    assert [value for value, _ in rows] == [0, 1, 2]
    for value, estimate in rows:
        assert estimate.value == part.correct[key == value].mean()


def test_images_are_compared_by_number_and_by_aspect_ratio():
    part, other = random_part(60, 3), random_part(60, 3, 1, origin="locked part")
    sizes = np.array([[100, 50], [100, 100], [50, 100]] * 20, np.int32)
    section = images_section([part, other], np.array([1, 2, 30] * 20), sizes)
    charts = [block for block in section.blocks if isinstance(block, Chart)]
    assert len(charts) == 4
    assert "12 or more (20)" in charts[0].svg
    assert all(text in charts[2].svg for text in ("1 : 2.00", "1.00 : 1", "2.00 : 1"))


def test_unknown_sizes_are_left_out_and_said():
    part = random_part(60, 3)
    section = images_section([part], np.ones(60, np.int16), None)
    assert [block.missing for block in section.blocks if isinstance(block, Text)] == [True]


def test_the_tree_counts_a_near_class_as_right_on_its_level():
    part = part_of([[0.1, 0, 0.9, 0], [0, 0.2, 0, 0.8], [0.9, 0.1, 0, 0]], [0, 1, 1])
    section = tree_section([part], categories(4))
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert [row[1:] for row in table.rows] == [
        ["level 1", "3", "66.7 % (0.0 .. 100.0)"],
        ["level 2", "3", "66.7 % (0.0 .. 100.0)"],
        ["class", "3", "0.0 % (0.0 .. 0.0)"],
    ]
    assert SCRIPT not in section.blocks[1].svg


def test_categories_without_levels_are_said_to_have_none():
    section = tree_section([random_part(60, 4)], categories(4, levels=False))
    assert [block.missing for block in section.blocks] == [True]


def test_a_category_of_the_first_level_without_products_is_left_out():
    part = part_of([[0, 0.1, 0, 0.9], [0, 0.2, 0, 0.8]], [3, 1])  # none of the first category
    _, chart = tree_section([part], categories(4)).blocks
    assert isinstance(chart, Chart)
    assert categories(4).names[3][0] in chart.svg
    assert categories(4).names[0][0] not in chart.svg
