import numpy as np
import pyarrow as pa
import pytest

from lib.output.report.blocks import Gallery, Text, Tiles
from lib.output.report.names import ClassNames
from lib.output.report.sections import new_products
from lib.output.report.sections.new_products import (
    classes_section,
    gallery_section,
    headline_section,
    read_predictions,
    reasons_section,
)
from tests.output.report.parts import NoPictures, catalog_of, categories, neighborhood

NAMES = ClassNames(categories(3))
TABLE = pa.table(
    {
        "product": [7, 8, 9, 10],
        "class_1": [102, 101, 102, 100],
        "prob_1": [0.9, 0.4, 0.7, 0.95],
        "class_2": [100, None, 101, 101],
        "prob_2": [0.05, None, 0.2, 0.01],
        "accepted": [True, False, False, True],
        "reason": ["", "no readable image", "improbable", ""],
        "images_used": [1, 0, 2, 1],
        "nearest_cos": [0.9, None, 0.3, 0.8],
    }
)
NEW = read_predictions(TABLE, NAMES)
ESTIMATE = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 4}
FACTS = {
    "new": {
        "expected_accuracy": ESTIMATE,
        "differs": True,
        "too_few": False,
        "auc": {
            "images": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 4},
            "nearest_cos": {"value": 0.71, "low": 0.61, "high": 0.8, "n": 4},
        },
    }
}


def test_predictions_are_read_by_the_numbers_of_the_classes():
    assert NEW.key == ["7", "8", "9", "10"]
    assert NEW.class_id.tolist() == [[2, 0], [1, -1], [2, 1], [0, 1]]
    assert np.isnan(NEW.probability[1, 1])
    assert np.isnan(NEW.nearest_cos[1])
    with pytest.raises(KeyError):
        read_predictions(TABLE, ClassNames(categories(2)))


def test_the_headline_measures_no_accuracy_and_takes_the_surest_difference():
    tiles, lines = headline_section(NEW, FACTS, "a line").blocks
    assert isinstance(tiles, Tiles)
    products, accepted, expected, auc = tiles.tiles
    assert (products.value, products.detail) == ("4", "1 without a readable picture")
    assert (accepted.value, accepted.detail) == ("50.0 %", "2 of 4")
    assert (expected.value, expected.detail) == ("80.0 %", "70.0 .. 90.0, not measured")
    assert expected.origin == "estimate"
    assert auc.value == "AUC 0.71"
    assert "unlike the labelled" in auc.detail
    assert lines.text == "a line"


def test_every_reason_and_every_predicted_class_is_counted():
    (table,) = reasons_section(NEW).blocks
    assert table.rows[0] == ["accepted", "2", "50.0 %"]
    assert {row[0]: row[1] for row in table.rows[1:]} == {
        "improbable": "1",
        "no readable image": "1",
    }
    (table,) = classes_section(NEW, NAMES).blocks
    assert [row[1:] for row in table.rows] == [["2", "1"], ["1", "1"], ["1", "0"]]


def test_many_products_have_a_chart_of_their_probabilities():
    many = read_predictions(pa.concat_tables([TABLE] * 5), NAMES)
    chart, table = reasons_section(many).blocks
    assert "<svg" in chart.svg
    assert table.rows[0] == ["accepted", "10", "50.0 %"]


def gallery(accepted, found=True):
    near = neighborhood(catalog_of([0, 1, 2, 0]), NAMES, by_id=False)
    near.pictures.has_originals = found
    return gallery_section(NEW, accepted, NAMES, NoPictures(), near)


def test_cards_have_choices_reasons_and_neighbors():
    (block,) = gallery(False).blocks
    assert isinstance(block, Gallery)
    first, second = block.cards
    assert (first.title, second.title) == ("9", "8")  # the most probable first
    assert ("not accepted", "improbable") in first.facts
    assert [(c.name, c.value) for c in second.choices] == [("LEAF 1", "0.400")]
    assert [n.title for n in first.strips[0].neighbors] == ["1003"]
    assert dict(second.keys)["least like a labelled product"] == -2
    assert not first.strips[0].folded


def test_pictures_that_are_gone_are_named():
    *_, text = gallery(True, found=False).blocks
    assert text == Text("none.bson is gone, and with it the labelled pictures.")


def test_products_are_drawn_evenly_over_their_probabilities(monkeypatch):
    monkeypatch.setattr(new_products, "NUM_CARDS", 1)
    block, text = gallery(True).blocks
    assert [card.title for card in block.cards] == ["10"]
    assert text.text.startswith("1 of 2 are shown")
