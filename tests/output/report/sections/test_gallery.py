import numpy as np

from lib.output.report.blocks import Gallery, Text
from lib.output.report.names import ClassNames
from lib.output.report.sections import gallery
from lib.output.report.sections.gallery import mistakes_section
from tests.output.report.parts import (
    SCRIPT,
    NoPictures,
    catalog_of,
    categories,
    neighborhood,
    part_of,
)

PROBS = [[0.1, 0.9, 0], [0.8, 0.2, 0], [0.3, 0.6, 0.1], [0, 0.7, 0.3]]


def section(label):
    part = part_of(PROBS, label)
    names = ClassNames(categories(3))
    catalog, layers = catalog_of(label), {"networks": np.array([-1, 0, 2, 1])}
    near = neighborhood(catalog, names)
    return mistakes_section(part, catalog, names, NoPictures(), "mistakes", layers, near)


def test_the_most_confident_mistake_comes_first_with_all_that_is_known():
    (block,) = section([0, 0, 2, 0]).blocks
    assert isinstance(block, Gallery)
    assert [card.title for card in block.cards] == ["Product 1000", "Product 1003", "Product 1002"]
    first, second, third = block.cards
    assert [choice.mark for choice in first.choices] == ["", "truth"]
    assert [choice.value for choice in third.choices] == ["0.600", "0.300", "0.100"]
    assert ("the label is", "not a candidate") in second.facts
    assert first.pictures == ["picture of 0"]
    answers = [dict(card.facts)["networks"] for card in block.cards]
    assert answers == ["nothing: no picture", "LEAF 1", "LEAF 2 (right)"]
    nearest, by_id = first.strips
    assert [(n.picture, n.title, n.detail, n.mark) for n in nearest.neighbors] == [
        ("image 1", "1001", f"{SCRIPT}, 0.90", "truth"),
        ("image 2", "1002", "LEAF 2, 0.80", ""),
    ]
    assert [n.title for n in by_id.neighbors] == ["1001", "1002"]
    assert nearest.folded
    assert block.sort_keys == ["most confident", "least probable label", "order of the catalog"]


def test_more_mistakes_than_fit_are_counted(monkeypatch):
    monkeypatch.setattr(gallery, "NUM_MISTAKES", 2)
    block, text = section([0, 0, 2, 0]).blocks
    assert len(block.cards) == 2
    assert text == Text("The first 2 of 3 mistakes are shown.")


def test_only_the_first_mistakes_have_neighbors(monkeypatch):
    monkeypatch.setattr(gallery, "NUM_WITH_NEIGHBORS", 1)
    (block,) = section([0, 0, 2, 0]).blocks
    assert [len(card.strips) for card in block.cards] == [2, 0, 0]


def test_a_part_without_a_mistake_says_so():
    (block,) = section(np.argmax(PROBS, axis=1).tolist()).blocks
    assert block.missing
