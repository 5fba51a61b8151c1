"""The clusters of generated counts of images, on a small tree."""

import csv
import json
import sys

import pytest

from lib.config.clusters import Clusters
from lib.config.data import Data
from studies import openimages_clusters
from studies.openimages_clusters import IMAGES, clusters
from tests.data.openimages.test_hierarchy import make_hierarchy

TREE = make_hierarchy([-1, 0, 0, 1, -1, 4, 4, 4, -1])


@pytest.mark.parametrize("depth_worth", [0.0, 0.5])
def test_parts_of_the_images_add_up(depth_worth):
    row = clusters(TREE, 1.0, Clusters(max_clusters=4, depth_worth=depth_worth), seed=0)
    assert row["covered"] == pytest.approx(row["level 0"] + row["level 1"] + row["deeper"])
    assert row["clusters"] == (3 if depth_worth == 0 else 4)
    assert row["covered"] == pytest.approx(1 if depth_worth == 0 else row["covered"])
    assert 0.5 < row["covered"] < 1 + 1 / IMAGES


def test_the_study_writes_its_section(tmp_path, monkeypatch, capsys):
    top = {"LabelName": "root", "Subcategory": [{"LabelName": name} for name in "abcd"]}
    (tmp_path / Data().hierarchy).write_text(json.dumps(top))
    with (tmp_path / Data().class_descriptions).open("w", newline="") as file:
        csv.writer(file).writerows((name, name.upper()) for name in "abcd")
    page = tmp_path / "page.md"
    page.write_text("# Open Images\n")
    command = ["x", str(tmp_path), "--orders", "1", "--page", str(page)]
    monkeypatch.setattr(sys, "argv", command)
    openimages_clusters.main()
    assert "| the article | 76 | 91 | 40 | 40 | 11 |" in page.read_text()
    assert "r ** -0.8, at most 76, depth_worth 0.5 | 4 | 100.0" in capsys.readouterr().out
