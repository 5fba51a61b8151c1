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


def test_both_files_hold_the_same_boxes(tmp_path, boxes, names):
    """By the fields that FiftyOne's COCO importer reads, and by the rows of a submission."""
    write_coco(tmp_path / "boxes.json", boxes, names, LABELS, NAMES)
    write_submission_rows(tmp_path / "boxes.csv", boxes, names, LABELS)
    dataset = json.loads((tmp_path / "boxes.json").read_text())
    label_of = {category["id"]: category["supercategory"] for category in dataset["categories"]}
    assert len({category["name"] for category in dataset["categories"]}) == len(label_of)
    images = {image["id"]: image for image in dataset["images"]}
    of_coco = []
    for annotation in dataset["annotations"]:
        image = images[annotation["image_id"]]
        width, height = image["width"], image["height"]
        x, y, w, h = annotation["bbox"]
        corners = (x / width, y / height, (x + w) / width, (y + h) / height)
        label = label_of[annotation["category_id"]]
        of_coco.append((image["file_name"], label, annotation["score"], *corners))
    of_rows = []
    for (_, text), file in zip(
        list(csv.reader((tmp_path / "boxes.csv").open()))[1:], names.files, strict=True
    ):
        fields = text.split()
        for start in range(0, len(fields), 6):
            of_rows.append((file, fields[start], *map(float, fields[start + 1 : start + 6])))
    assert len(of_coco) == len(boxes)
    assert of_coco == of_rows


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
