"""The dendrogram of the class tree, and the confusions of clusters of people."""

import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from lib.data.openimages.boxes import BOX_TYPES, Boxes
from lib.errors import UserError
from studies import openimages_hierarchy as study
from tests.data.openimages.test_hierarchy import make_hierarchy

TREE = make_hierarchy([-1, 0, 1, 0, -1, 4])


def boxes_of(pairs: list[tuple[int, int]], num_images: int) -> Boxes:
    """Boxes (image, class)."""
    columns = {name: np.zeros(len(pairs), kind) for name, kind in BOX_TYPES.items()}
    columns["image"], columns["class_row"] = np.array(sorted(pairs), np.int64).T
    return Boxes(**columns, num_images=num_images)


def test_an_image_counts_once_for_a_class_and_those_above():
    boxes = boxes_of([(0, 2), (0, 2), (0, 3), (1, 2), (2, 1), (3, 5)], num_images=5)
    images = study.images_of_classes(TREE, boxes)
    assert images.tolist() == [3, 3, 2, 1, 1, 1]
    assert study.drawing_order(TREE, images) == [0, 1, 2, 3, 4, 5]
    assert study.drawing_order(TREE, np.array([9, 0, 0, 9, 1, 1])) == [0, 3, 4, 5]


def test_a_dendrogram_names_every_class_that_images_show(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROWS_OF_COLUMN", 2)
    images, cluster = np.array([3, 3, 2, 0, 1, 1]), np.array([0, 1, 1, 0, -1, -1])
    paths = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in paths:
        assert study.draw_dendrogram(path, TREE, images, cluster) == 5
    assert paths[0].read_bytes() == paths[1].read_bytes()
    texts = [e.text for e in ET.parse(paths[0]).iter() if e.tag.endswith("}text")]
    assert texts == ["c0  3", "c1  3", "c2  2", "c4  1", "c5  1"]


def test_confusions_are_shares_of_each_row():
    names = ["Man", "Woman", "Dog", "Car"]
    label, predicted = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 2, 0, 3, 0])
    lines = study.confusions(names, label, predicted, ["Person", "Man", "Woman"]).splitlines()
    assert lines[0] == "| cluster | images | right, % | Man | Woman | Dog | Car | others |"
    assert lines[2].startswith("| Man | 4 | 50.0 (")
    assert lines[2].endswith("| 50 | 25 | 25 | 0 | 0 |")
    assert lines[3].endswith("| 50 | 0 | 0 | 50 | 0 |")
    assert study.confusions(names, label, predicted, ["Boy"]) == "No image is of a cluster Boy."


def test_the_study_reads_a_work_folder_and_writes_both(openimages_run, tmp_path, monkeypatch):
    folder = openimages_run.parent / "work" / "tiny"
    command = ["x", str(folder), "--classes", "Dog", "Bus", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    assert study.main() == 0
    page = (tmp_path / "openimages.md").read_text()
    assert "openimages_people" in page
    assert "| Dog | " in page
    assert ">Vehicle  60<" in (tmp_path / "openimages_dendrogram.svg").read_text()


def test_another_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no config\.toml"):
        study.study(tmp_path, ["Person"], tmp_path)
