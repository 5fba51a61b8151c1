import numpy as np

from lib.output.report.blocks import Gallery, Text
from lib.output.report.names import ClassNames
from lib.output.report.sections import label_sets
from lib.output.report.sections.label_sets import (
    LabelSetPart,
    classes_section,
    headline_section,
    mistakes_section,
    networks_section,
)
from tests.output.report.parts import NoPictures, catalog_of, categories, neighborhood

LABEL = [0, 1, 2, 1]
SETS = [[1, -1, -1], [-1, 1, 0], [1, -1, 1], [-1, 1, -1]]
PROBS = [[0.9, 0.2, 0.1], [0.1, 0.8, 0.7], [0.2, 0.1, 0.9], [0.1, 0.6, 0.95]]
NAMES = ClassNames(categories(3))


def section(probs=PROBS):
    part = LabelSetPart(
        "out-of-fold", np.arange(4), np.array(SETS, np.int8), np.array(probs, np.float32)
    )
    near = neighborhood(catalog_of(LABEL), NAMES, by_id=False)
    thresholds = np.full(3, 0.5)
    return mistakes_section(
        part, thresholds, catalog_of(LABEL), NAMES, NoPictures(), near, "mistakes"
    )


def test_mistakes_are_found_missed_or_contradict_a_verified_label():
    (block,) = section().blocks
    assert isinstance(block, Gallery)
    assert [card.title for card in block.cards] == ["1003", "1002", "1001"]
    kinds = [list(card.facts[-1]) for card in block.cards]
    assert kinds[0] == ["found, and not annotated", NAMES.paths[2]]
    assert kinds[1] == ["missed", NAMES.paths[0]]
    assert kinds[2] == ["found, and verified as absent", NAMES.paths[2]]
    first = block.cards[0]
    assert first.facts[:2] == [("annotated", "LEAF 1"), ("found", "LEAF 1, LEAF 2")]
    assert [(c.name, c.value, c.mark) for c in first.choices[:2]] == [
        ("LEAF 2", "0.950", ""),
        ("LEAF 1", "0.600", "truth"),
    ]
    assert first.strips[0].folded


def test_what_is_not_shown_is_counted_and_no_mistake_says_so(monkeypatch):
    (block,) = section([[float(value == 1) for value in row] for row in SETS]).blocks
    assert block.missing
    monkeypatch.setattr(label_sets, "NUM_MISTAKES", 1)
    _, text = section().blocks
    assert text == Text("1 of 3 images with a mistake are shown.")


def test_annotated_classes_are_shown_however_improbable(monkeypatch):
    monkeypatch.setattr(label_sets, "TOP_K", 1)
    block, *_ = section().blocks
    assert [c.name for c in block.cards[1].choices] == ["LEAF 2", NAMES.short[0]]


def test_the_scores_and_classes_are_shown_with_the_worst_first():
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    rows = {name: dict.fromkeys(label_sets.SCORES, estimate) for name in ("a", "mean")}
    tiles, _ = headline_section(rows, "mean", "line").blocks
    assert {tile.value for tile in tiles.tiles} == {"0.500"}
    (table,) = networks_section(rows).blocks
    assert [row[0] for row in table.rows] == ["a", "mean"]
    columns = {"products": "3", "predicted": "2", "correct": "1", "f1": "", "threshold": "0.5"}
    classes = [
        {"category": name, "average_precision": value} | columns
        for name, value in (("x", ""), ("y", "0.9000"), ("z", "0.1000"))
    ]
    (table,) = classes_section(classes).blocks
    assert [row[0] for row in table.rows] == ["z", "y", "x"]
    assert table.rows[0][1:] == ["3", "2", "1", "0.1000", "-", "0.5"]
