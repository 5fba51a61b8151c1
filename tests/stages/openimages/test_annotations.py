"""A whole run of tables of boxes, from the official layout to the submission and to `--new`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lib.data.openimages.boxes import read_boxes, read_image_labels
from lib.data.openimages.cluster_table import read_clusters
from lib.errors import UserError
from lib.pipeline.experiment import load_experiment
from lib.pipeline.graph import Graph
from lib.stages import extract
from lib.stages.read import catalog_of_side
from tests.data.openimages.annotated_folder import (
    COLORS,
    Box,
    box,
    write_boxes_table,
    write_labels_table,
    write_pictures,
    write_tree,
)
from tests.stages.test_sources import TINY, run_all, submission, write_image

NUMBER = 90


def write_catalog(folder: Path) -> Path:
    """Pictures of a car, a bus or a dog, some of them with wheels; returns the config."""
    write_tree(folder)
    boxes: list[Box] = []
    shades = {}
    for number in range(NUMBER):
        image, name = f"{number:016x}", list(COLORS)[number % 3]
        shades[image] = COLORS[name]
        boxes += [box(image, name)] + [box(image, "wheel", 0.3, 0.4, 0.3, 0.4)] * (name == "car")
    boxes += [box(f"{0:016x}", "cow"), box("gone", "dog")]
    write_boxes_table(folder / "train-annotations-bbox.csv", boxes)
    labels = [(f"{1:016x}", "dog", 0), (f"{2:016x}", "dog", 1)]
    write_labels_table(folder / "train-annotations-human-imagelabels-boxable.csv", labels)
    write_pictures(folder / "train", shades)
    (folder / "train" / f"{4:016x}.jpg").write_bytes(b"no picture")
    for number in range(6):
        write_image(folder / "new" / f"{number}.jpg", 60 * (number % 3), number)
    config = folder / "tiny.toml"
    settings = f'source = "openimages"\nroot = "{folder}"\ntrain = "train-annotations-bbox.csv"\n'
    settings += 'test = "new"\nmax_bad_fraction = 0.1\n[clusters]\nmin_images = 5\n'
    config.write_text(f'work = "{folder}/work"\n{TINY}[data]\n{settings}')
    return config


def test_tables_of_boxes_give_a_submission(tmp_path):
    config = write_catalog(tmp_path)
    result = run_all(config)
    assert result.returncode == 0, result.stderr
    assert "1 x unknown label, the first at line 122 (/m/cow in" in result.stderr
    assert "train-annotations-bbox.csv)" in result.stderr
    assert "1 x image file missing or empty, the first at line 123 (gone)" in result.stderr
    header, *predicted = submission(tmp_path)
    assert header == ["ImageID", "cluster"]
    assert [row[0] for row in predicted] == [f"{number}.jpg" for number in range(6)]
    assert {row[1] for row in predicted} <= {"Animal/Dog", "Vehicle/Bus", "Vehicle/Car"}

    experiment = load_experiment(config)
    catalog = catalog_of_side(experiment, "train")
    boxes = read_boxes(experiment.path("extract/boxes/train"))
    table = read_clusters(experiment.path("extract/clusters"))
    assert boxes.num_images == len(catalog.image_product) == NUMBER - 1  # one cannot be decoded
    assert table.keys == ["Animal/Dog", "Vehicle/Bus", "Vehicle/Car"]
    for image in range(boxes.num_images):
        label = catalog.label[catalog.image_product[image]]
        own = boxes.of_image(image)
        assert boxes.cluster[own.start] == label
        assert own.stop - own.start == (2 if table.names[label] == "Car" else 1)
    assert (np.diff(boxes.image) >= 0).all()
    assert sorted(set(boxes.cluster.tolist())) == [-1, 0, 1, 2]  # a wheel is in no cluster
    labels = read_image_labels(experiment.path("extract/boxes/train"))
    assert labels is not None
    assert labels.present.tolist() == [0, 1, 1]  # a dog is an animal

    again = run_all(config, "--new", str(tmp_path / "train"))
    assert again.returncode == 0, again.stderr
    (folder,) = (tmp_path / "work" / "tiny" / "new").iterdir()
    with (folder / "submit" / "predictions.csv").open(newline="") as file:
        assert len({row["product"] for row in csv.DictReader(file)}) == NUMBER


def test_stage_01_sees_what_changed_and_what_strict_forbids(tmp_path):
    config = write_catalog(tmp_path)
    experiment = load_experiment(config, ["data.test="])
    artifacts = {artifact.path: artifact for artifact in extract.declare(Graph(experiment))}
    config_of = {
        name: artifacts[experiment.path(f"extract/{name}")].config
        for name in ("clusters", "hierarchy")
    }
    assert config_of["clusters"]["min_images"] == 5
    assert "min_images" not in config_of["hierarchy"]
    folder = experiment.path("extract/annotations/train")
    folder.mkdir(parents=True)
    report = {"counts": {"unknown label": 1}, "records": [{"line": 3, "reason": "unknown label"}]}
    (folder / "scan_report.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match="--strict: 1 x unknown label; the first at line 3"):
        extract.check_strict(experiment)


def test_a_folder_without_tables_is_one_line(tmp_path):
    config = write_catalog(tmp_path)
    experiment = load_experiment(config, ["data.train=train"])
    with pytest.raises(UserError, match=r"train: no table \*annotations-bbox\.csv in it"):
        extract.declare(Graph(experiment))
