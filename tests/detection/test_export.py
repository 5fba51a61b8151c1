"""Files of boxes, read back by pycocotools."""

import csv
import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from lib.detection.components import BoxTable
from lib.detection.export import ImageNames, write_coco, write_submission_rows

LABELS, NAMES = ["/m/a", "/m/b", "/m/c"], ["Cat", "Bus", "Car"]


@pytest.fixture
def boxes():
    return BoxTable(
        np.array([3, 3, 9]),
        np.array([2, 1, 2], np.int16),
        np.array([0.75, 0.5, 0.25], np.float32),
        np.array([[0, 0.5, 0.25, 1], [0.5, 1, 0, 0.5], [0, 1, 0, 1]], np.float32),
    )


@pytest.fixture
def names():
    return ImageNames(
        np.array([3, 4, 9]), ["x", "y", "z"], ["x.jpg", "y.jpg", "z.jpg"], [(40, 20)] * 3
    )


def test_a_row_lists_the_boxes_of_an_image(tmp_path, boxes, names):
    write_submission_rows(tmp_path / "boxes.csv", boxes, names, LABELS)
    rows = list(csv.reader((tmp_path / "boxes.csv").open()))
    assert rows == [
        ["ImageID", "PredictionString"],
        [
            "x",
            "/m/c 0.750000 0.000000 0.250000 0.500000 1.000000"
            " /m/b 0.500000 0.500000 0.000000 1.000000 0.500000",
        ],
        ["y", ""],
        ["z", "/m/c 0.250000 0.000000 0.000000 1.000000 1.000000"],
    ]


def test_pycocotools_reads_the_dataset(tmp_path, boxes, names):
    path = tmp_path / "boxes.json"
    write_coco(path, boxes, names, LABELS, NAMES)
    coco = COCO(str(path))
    assert len(coco.imgs) == 3
    assert [category["name"] for category in coco.cats.values()] == ["Bus", "Car"]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [(a["bbox"], a["score"], a["category_id"]) for a in annotations] == [
        ([0, 5, 20, 15], 0.75, 3),
        ([20, 0, 20, 10], 0.5, 2),
    ]
    assert coco.getAnnIds(imgIds=[2]) == []
    results = json.loads(path.read_text())["annotations"]
    assert len(coco.loadRes(results).anns) == 3
