"""A cascade from tables of boxes to files of boxes, with and without new images."""

import argparse
import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from lib.data.catalog import read_splits
from lib.detection.components import BoxTable
from lib.errors import UserError
from lib.inference.masks import read_masks
from lib.pipeline.artifact import Artifact, ensure, status_all
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages.cascade.boxes import read_routes
from lib.stages.cascade.files import write_box_files
from lib.stages.cascade.networks import read_channels
from lib.stages.cascade.scores import score_lines
from lib.stages.order import check_networks, declare_all
from lib.stages.read import catalog_of_part
from studies import cascade, openimages_detector, openimages_figure
from tests.data.openimages.annotated_folder import write_boxes_table, write_tree
from tests.scripts import run_all

CONFIG = """
name = "tiny"
work = "FOLDER"
[data]
source = "openimages"
root = "FOLDER/data"
train = "train-annotations-bbox.csv"
test = "new"
group_by = ""
[clusters]
min_images = 5
[split]
locked = 0.25
n_folds = 2
[train]
arch = "small"
weights = "none"
resize = [48, 48]
crop = [48, 48]
n_folds = 2
head_only_epochs = 0
epochs = 6
batch_size = 8
optimizer = "adamw"
lr = 0.003
[train.segmentation]
stride = 8
width = 16
min_boxes = 5
[models.a]
epochs = 2
[models.wheels]
kind = "segmentation"
segmentation.clusters = ["Vehicle"]
[models.animals]
kind = "segmentation"
n_folds = 1
segmentation.clusters = ["Animal"]
[models.whole]
kind = "segmentation"
n_folds = 1
[cascade]
top_k = 2
[predict]
top_k = 3
shard_size = 20
[features]
top_k = 3
[stack]
l2 = ["extra_trees"]
l3 = []
sources = ["mean"]
forest_n_estimators = 5
[run]
threads = 1
"""
COLORS = {"car": (200, 60, 60), "bus": (60, 200, 60), "dog": (60, 60, 200)}
NUM_TRAIN, NUM_NEW = 72, 6
SIZE = 48


def draw(path: Path, name: str, number: int) -> tuple[float, ...]:
    """A rectangle in the color of its class, on noise; returns its edges."""
    rng = np.random.default_rng(number)
    image = rng.integers(100, 156, (SIZE, SIZE, 3)).astype(np.uint8)
    left, top = rng.integers(0, 20, 2)
    right, bottom = rng.integers(30, SIZE + 1, 2)
    image[top:bottom, left:right] = COLORS[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return left / SIZE, right / SIZE, top / SIZE, bottom / SIZE


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The stages up to the scores of the cascade, and the same for new pictures; read only.

    The boosters between them read nothing of the cascade.
    """
    folder = tmp_path_factory.mktemp("cascade")
    data = folder / "data"
    names, boxes = list(COLORS), []
    for number in range(NUM_TRAIN):
        name = names[number % 3]
        edges = draw(data / "train" / f"{number:016x}.jpg", name, number)
        boxes.append((f"{number:016x}", name, *edges))
    for number in range(NUM_NEW):
        draw(data / "new" / f"{number}.jpg", names[number % 3], 1000 + number)
        draw(folder / "more" / f"{number}.jpg", names[number % 3], 2000 + number)
    write_tree(data)
    write_boxes_table(data / "train-annotations-bbox.csv", boxes)
    (folder / "tiny.toml").write_text(CONFIG.replace("FOLDER", str(folder)))
    config = str(folder / "tiny.toml")
    result = run_all("--config", config, stages=("extract", "train", "predict"))
    assert result.returncode == 0, result.stderr
    stages = declare_all(load_experiment(config, new=str(folder / "more")))
    for artifact in [*stages["extract"], *stages["predict"]]:
        if not artifact.frozen:
            ensure(artifact, rebuild=False)
    scores = artifacts_of(load_experiment(folder / "tiny.toml"))["cascade/scores"]
    assert ensure(scores, rebuild=False)
    return folder


def artifacts_of(experiment: Experiment) -> dict[str, Artifact]:
    """All artifacts by their names."""
    stages = declare_all(experiment).values()
    return {
        str(artifact.path.relative_to(experiment.folder)): artifact
        for artifacts in stages
        for artifact in artifacts
    }


@pytest.fixture(scope="module")
def experiment(folder) -> Experiment:
    return load_experiment(folder / "tiny.toml")


def names_of(experiment: Experiment, model: str) -> list[str]:
    from lib.data.openimages.hierarchy import read_hierarchy

    names = read_hierarchy(experiment.path("extract/hierarchy")).names
    return [names[row] for row in read_channels(experiment, model)]


def test_the_study_of_settings_sees_images_that_trained_nothing(folder, experiment):
    """Neither images of the locked part, nor those that the networks or classifiers trained on."""
    options = argparse.Namespace(config=str(folder / "tiny.toml"), set=[])
    variant = cascade.make_variant(options.config, options.set)
    cascade.train(variant)
    held_out = cascade.HeldOut(experiment, variant)
    splits = read_splits(experiment.path("extract/splits"))
    product = catalog_of_part(experiment, "train").image_product[held_out.images]
    assert (splits.fold[product] == cascade.FOLD).all()
    assert len(product) == (splits.fold == cascade.FOLD).sum() > 0
    networks = {path.parent.name: path.name for path in variant.path("cnn").glob("*/fold*")}
    assert networks == {"wheels": "fold0", "animals": "fold0", "whole": "fold0"}
    tables = cascade.report(options).split("\n\n")
    rows = [line.split(" | ")[0].strip("| ") for line in tables[-1].splitlines()]
    assert rows[2:4] == ["top_k 2, min_prob 0.05", "top_k 1, min_prob 0.0"]
    assert rows[-1] == "whole alone"


def test_the_study_of_settings_needs_out_of_fold_routes(folder):
    held_out = ["models.a.n_folds=1", "split.holdout=0.2"]
    with pytest.raises(UserError, match="set n_folds"):
        cascade.make_variant(str(folder / "tiny.toml"), held_out)
    with pytest.raises(UserError, match=r"run 03_predict_tta\.py first"):
        cascade.make_variant(str(folder / "tiny.toml"), ['name="absent"'])


def test_the_figure_draws_what_was_found_over_images_that_trained_nothing(folder, experiment):
    config, path = str(folder / "tiny.toml"), folder / "figure.jpg"
    drawings = openimages_figure.Drawings(
        experiment, cascade.HeldOut(experiment, cascade.make_variant(config, []))
    )
    images = drawings.photographs(4)
    assert len(images) == 4
    assert set(images) <= set(drawings.held_out.images)
    openimages_figure.write_figure(config, [], 4, path)
    assert cv2.imread(str(path)).std() > 20


def test_a_detector_learns_the_same_images_and_is_set_beside(folder, experiment, monkeypatch):
    monkeypatch.setattr(openimages_detector, "MIN_SCORE", 0.0)  # so that boxes are chosen
    options = argparse.Namespace(config=str(folder / "tiny.toml"), set=[], epochs=2)
    title, _, _, _, *rows = openimages_detector.report(options).splitlines()
    assert title.endswith("images, 5 classes, 2 epochs of the detector")
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[0] for row in cells] == ["detector", "masks of all classes (whole)", "cascade"]
    assert all(float(row[1]) > 0 for row in cells)  # two digits, however fast the machine is
    assert all(".." in cell for row in cells[1:] for cell in row[2:])


def test_each_model_draws_the_classes_of_its_clusters(experiment):
    assert names_of(experiment, "wheels") == ["Vehicle", "Car", "Bus"]
    assert names_of(experiment, "animals") == ["Animal", "Dog"]
    assert names_of(experiment, "whole") == ["Vehicle", "Car", "Bus", "Animal", "Dog"]


def test_new_images_are_drawn_by_the_models_of_their_clusters(experiment):
    for name in ("wheels", "animals"):
        routes = read_routes(experiment, name, "test")
        masks = read_masks(experiment.path(f"masks/{name}/test"))
        np.testing.assert_array_equal(masks.image, routes.image[routes.seen.any(1)])
        assert masks.masks.shape[2:] == (6, 6)
    assert not experiment.path("masks/whole/test").exists()
    assert len(read_masks(experiment.path("masks/whole/locked")).image) == NUM_TRAIN // 4


def test_the_report_compares_the_cascade_with_one_model_of_all(experiment):
    report = json.loads((experiment.path("cascade/scores") / "cascade.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == [
        "wheels",
        "animals",
        "whole",
        "cascade",
        "cascade by the true cluster",
        "whole on the classes of the cascade",
    ]
    assert all(row["cost_ms"] > 0 for row in rows.values())
    assert rows["whole"]["iou"]["n"] == NUM_TRAIN // 4
    assert rows["whole"]["iou"]["value"] > 0.4  # colored rectangles are easy
    assert rows["cascade by the true cluster"]["iou"]["value"] > 0.25
    gain = report["gains"]["cascade against whole"]["iou"]["value"]
    both = rows["cascade"], rows["whole on the classes of the cascade"]
    assert gain == pytest.approx(both[0]["iou"]["value"] - both[1]["iou"]["value"])
    (text,) = score_lines(experiment)
    assert "coarse masks and boxes on the locked part, 18 images" in text


@pytest.mark.parametrize("new", [None, "more"])
def test_boxes_are_in_files_that_others_read(folder, tmp_path, new):
    experiment = load_experiment(folder / "tiny.toml", new=new and str(folder / new))
    submit = tmp_path
    facts = write_box_files(experiment, submit)
    with (submit / "boxes.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["ImageID", "PredictionString"]
    assert [row[0] for row in rows] == [str(number) for number in range(NUM_NEW)]
    fields = " ".join(row[1] for row in rows).split()
    assert len(fields) % 6 == 0
    assert set(fields[::6]) <= {f"/m/{name}" for name in ("vehicle", "car", "bus", "animal", "dog")}
    coco = COCO(str(submit / "boxes_coco.json"))
    assert len(coco.imgs) == NUM_NEW
    assert {(image["width"], image["height"]) for image in coco.imgs.values()} == {(SIZE, SIZE)}
    boxes = BoxTable.load(experiment.path("cascade/test"))
    assert facts == {"boxes": len(boxes)}
    assert len(coco.anns) == len(boxes) == len(fields) // 6 > 0
    assert [a["score"] for a in coco.anns.values()] == pytest.approx(boxes.score.tolist(), abs=1e-6)


def test_a_threshold_draws_nothing_again(folder):
    def stale(*overrides):
        artifacts = artifacts_of(load_experiment(folder / "tiny.toml", overrides))
        statuses = status_all(list(artifacts.values()))
        return {name for name, a in artifacts.items() if statuses[a.path].state == "stale"}

    assert stale() == set()
    assert stale("cascade.threshold=0.6") == {"cascade/locked", "cascade/test", "cascade/scores"}
    retrained = stale("train.segmentation.dice_weight=2")
    assert {name for name in retrained if name.startswith("cnn")} == {
        "cnn/wheels/fold0",
        "cnn/wheels/fold1",
        "cnn/animals/full",
        "cnn/whole/full",
    }


def test_networks_are_tried_before_they_train(experiment):
    check_networks(experiment)
