import numpy as np
import pytest

from lib.output.report.blocks import Gallery, Table, Text, Tiles
from lib.output.report.names import ClassNames
from lib.output.report.sections import comparison
from lib.output.report.sections.comparison import (
    BROKEN,
    FIXED,
    OTHER,
    changes_section,
    compare_parts,
    differences_section,
    headline_section,
)
from tests.output.report.parts import NoPictures, catalog_of, categories, part_of

LABEL = [0, 0, 1, 2, 2]
FIRST = [[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0.6, 0.4], [0, 0.7, 0.3], [0.1, 0, 0.9]]
SECOND = [[0.8, 0.2, 0], [0.9, 0.1, 0], [0, 0.3, 0.7], [0.6, 0.1, 0.3], [0.1, 0, 0.9]]


def compared(second=SECOND, label=LABEL, group=None):
    return compare_parts(("a", "b"), part_of(FIRST, LABEL, group), part_of(second, label, group))


def test_every_change_has_its_kind():
    found = compared()
    assert found.change.tolist() == ["", FIXED, BROKEN, OTHER, ""]
    assert found.mcnemar() == (1, 1, 1.0)
    assert [estimate.value for estimate in found.accuracies()] == [0.6, 0.6]
    assert found.gain().value == 0


def test_only_products_that_both_have_scored_are_compared():
    found = compared(SECOND[:3], LABEL[:3])
    assert found.product.tolist() == [0, 1, 2]
    assert found.best.tolist() == [[0, 1, 1], [0, 0, 2]]


def test_other_labels_are_not_compared():
    with pytest.raises(ValueError, match="other labels"):
        compared(label=[0, 0, 1, 2, 1])


def test_the_interval_of_groups_is_wider():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 5)
    better = np.repeat(rng.random(40) < 0.5, 5)
    first, second = [[0.9, 0.1]] * 200, [[0.1, 0.9] if b else [0.9, 0.1] for b in better]
    parts = [part_of(p, [1] * 200, g) for g in (None, group.tolist()) for p in (first, second)]
    alone, grouped = (compare_parts(("a", "b"), *pair) for pair in (parts[:2], parts[2:]))
    widths = [c.gain().high - c.gain().low for c in (alone, grouped)]
    assert widths[1] > 1.5 * widths[0]


def test_the_headline_says_where_there_is_no_difference():
    (tiles,) = headline_section([compared()]).blocks
    assert isinstance(tiles, Tiles)
    assert [tile.label for tile in tiles.tiles] == ["a", "b", "Difference", "Changed answers"]
    assert "no difference, the interval contains zero" in tiles.tiles[2].detail
    assert tiles.tiles[3].value == "1 : 1"
    assert "1 are wrong in both with other answers. McNemar, exact: p = 1" in tiles.tiles[3].detail


def section(found):
    names = ClassNames(categories(3))
    return changes_section(found, catalog_of(LABEL), names, NoPictures(), "changes")


def test_broken_products_come_first_with_both_answers():
    table, gallery = section(compared()).blocks
    assert isinstance(table, Table)
    assert isinstance(gallery, Gallery)
    assert [card.title for card in gallery.cards] == [f"Product {n}" for n in (1002, 1001, 1003)]
    first = gallery.cards[0]
    assert ("change", BROKEN) in first.facts
    assert [(c.name, c.value, c.mark) for c in first.choices] == [
        ("a: LEAF 1", "0.600", "truth"),
        ("b: LEAF 2", "0.700", ""),
    ]
    assert [row[1:] for row in table.rows] == [
        ["2", "1", "2", "+1"],
        ["1", "1", "0", "-1"],
        ["2", "1", "1", "+0"],
    ]


def test_what_is_left_out_is_counted(monkeypatch):
    monkeypatch.setattr(comparison, "NUM_CARDS", 3)
    second = [[0.2, 0.8, 0], *SECOND[1:]]
    *_, gallery, text = section(compared(second)).blocks
    assert len(gallery.cards) == 3
    assert text == Text("3 of 4 products are shown; --csv lists all.")


def test_equal_answers_and_equal_settings_say_so():
    assert section(compared(FIRST)).blocks[0].missing
    assert differences_section([], ("a", "b")).blocks[0].missing
    (table,) = differences_section([("seed", "0", "1")], ("a", "b")).blocks
    assert table.header == ["", "a", "b"]
