"""Drawings as objects: closed outlines are filled, and lines stay visible."""

import gzip
import json

import numpy as np
import pytest

from lib.data.synthetic.scenes.class_tree import ClassTree
from lib.data.synthetic.scenes.pictures.drawings import Drawings
from lib.data.synthetic.scenes.pictures.generated import tree_appearances

SQUARE = [[[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]]]
LINE = [[[0, 255], [100, 100]]]
TREE = ClassTree(
    {"LabelName": "top", "Subcategory": [{"LabelName": "/m/1"}, {"LabelName": "/m/2"}]},
    {"/m/1": "Teddy bear", "/m/2": "Watch"},
)


def line(key: str, drawing: list) -> str:
    return json.dumps({"key_id": key, "drawing": drawing}) + "\n"


@pytest.fixture
def drawings(tmp_path) -> Drawings:
    (tmp_path / "teddy-bear.ndjson").write_text(line("1", SQUARE) + "damaged\n" + line("2", LINE))
    with gzip.open(tmp_path / "wristwatch.ndjson.gz", "wt") as file:
        file.write(line("3", SQUARE))
    (tmp_path / "zigzag.ndjson").write_text(line("4", LINE))
    label_of = {name.lower(): label for label, name in TREE.names.items()}
    return Drawings(tmp_path, label_of, tree_appearances(TREE, 1), 0.3, 1)


def test_categories_find_their_classes_and_damaged_lines_are_passed_over(drawings):
    assert drawings.counts == {"/m/1": 2, "/m/2": 1}
    assert drawings.cutout("/m/2", 0).source == "quickdraw/wristwatch/3"


def test_a_closed_outline_is_filled_and_a_line_is_not(drawings):
    square, thin = drawings.cutout("/m/1", 0), drawings.cutout("/m/1", 1)
    assert (square.alpha[4:-4, 4:-4] == 255).all()
    assert min(square.alpha.shape) > 140
    assert thin.alpha.shape[0] < 8 < 140 < thin.alpha.shape[1]


def test_lines_are_darker_than_what_they_enclose(drawings):
    image = drawings.cutout("/m/1", 0).image.astype(int)
    edge = np.concatenate([image[:2].reshape(-1, 3), image[:, :2].reshape(-1, 3)])
    assert edge.mean() < 0.6 * image[20:-20, 20:-20].mean()
