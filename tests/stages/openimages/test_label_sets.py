"""A whole run in which an image has several clusters, and what a network of them depends on."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.errors import UserError
from lib.pipeline.artifact import ensure
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages.openimages.label_sets import NO_BOOSTERS, read_probs
from lib.stages.order import declare_all
from lib.stages.read import read_label_sets
from lib.stages.report import publish
from lib.stages.submit import summary
from tests.data.openimages.annotated_folder import (
    box,
    write_boxes_table,
    write_labels_table,
    write_tree,
)
from tests.stages.test_sources import TINY

COLORS = {"car": (220, 40, 40), "bus": (40, 220, 40), "dog": (40, 40, 220)}
NUM_TRAIN, NUM_NEW = 84, 5


def write_picture(path: Path, names: list[str], number: int) -> None:
    """A square of its color for each class, side by side."""
    image = np.random.default_rng(number).integers(100, 140, (24, 24, 3)).astype(np.uint8)
    for position, name in enumerate(names):
        image[4:20, 12 * position + 1 : 12 * position + 11] = COLORS[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def names_of(number: int) -> list[str]:
    """One class, or two of different sizes."""
    names = list(COLORS)
    return [names[number % 3]] if number % 2 else [names[number % 3], names[(number + 1) % 3]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished run; read only."""
    folder = tmp_path_factory.mktemp("label_sets")
    write_tree(folder)
    boxes, labels = [], []
    for number in range(NUM_TRAIN):
        image, names = f"{number:016x}", names_of(number)
        boxes += [box(image, n, 0, 0.6 - 0.2 * i, 0, 1) for i, n in enumerate(names)]
        labels += [(image, name, 0) for name in COLORS if name not in names and number % 4 == 0]
        write_picture(folder / "train" / f"{image}.jpg", names, number)
    for number in range(NUM_NEW):
        write_picture(folder / "new" / f"{number}.jpg", names_of(number), 1000 + number)
    write_boxes_table(folder / "train-annotations-bbox.csv", boxes)
    write_labels_table(folder / "train-annotations-human-imagelabels.csv", labels)
    training = 'epochs = 12\noptimizer = "adamw"\nlr = 0.01\nbatch_size = 12\n'
    text = TINY.replace("epochs = 1\n", training).replace("report = false", "report = true")
    settings = f'source = "openimages"\nroot = "{folder}"\ntrain = "train-annotations-bbox.csv"\n'
    settings += 'test = "new"\ngroup_by = ""\n[clusters]\nmin_images = 5\nmulti_label = true\n'
    settings += "unannotated_weight = 1.0\n"
    config = folder / "tiny.toml"
    config.write_text(f'work = "{folder}/work"\n{text}[data]\n{settings}')
    build_here(load_experiment(config))
    return folder


def build_here(experiment: Experiment) -> None:
    """Build all artifacts in this process: new ones for the stages take longer than the work."""
    for artifacts in declare_all(experiment).values():
        for artifact in artifacts:
            if not artifact.frozen:
                ensure(artifact, rebuild=False)


@pytest.fixture(scope="module")
def experiment(folder) -> Experiment:
    return load_experiment(folder / "tiny.toml")


def test_an_image_has_the_clusters_of_all_its_boxes(experiment):
    sets = read_label_sets(experiment)
    assert sets.shape == (NUM_TRAIN, 3)
    assert ((sets == 1).sum(1) == [len(names_of(number)) for number in range(NUM_TRAIN)]).all()
    assert ((sets == 0).any(1) == [number % 4 == 0 for number in range(NUM_TRAIN)]).all()


def test_the_run_says_that_it_has_no_boosters(experiment):
    stages = declare_all(experiment)
    assert stages["features"] == stages["stack"] == []
    assert NO_BOOSTERS in summary(experiment)[0]


def test_networks_find_several_clusters(experiment):
    rows = json.loads((experiment.path("submit") / "label_sets.json").read_text())
    assert list(rows) == [
        f"{name}, {rule}"
        for name in ("a", "mean")
        for rule in ("no box is an absent class", "where a class is annotated")
    ]
    for row in rows.values():
        assert row["mean_average_precision"]["value"] > 0.7  # chance is about a half
        assert row["macro_f1"]["low"] <= row["macro_f1"]["value"] <= row["macro_f1"]["high"]
    image, probs = read_probs(experiment, "mean", "locked")
    np.testing.assert_array_equal(read_probs(experiment, "a", "locked")[1], probs)
    assert (probs.sum(1) > 1.2).any()  # a softmax could not
    assert len(image) == pytest.approx(0.2 * NUM_TRAIN, abs=2)


def test_the_report_has_the_sections_of_sets(experiment):
    publish(experiment)
    page = (experiment.path("submit") / "report.html").read_text()
    keys = "headline networks training classes mistakes locked-mistakes costs settings"
    assert re.findall(r'<section id="([^"]*)"', page) == keys.split()
    rows = json.loads((experiment.path("submit") / "label_sets.json").read_text())
    value = rows["mean, no box is an absent class"]["macro_f1"]["value"]
    assert f'<p class="value">{value:.3f}</p>' in page
    right = page.count("Every set of this part is right.")  # the pictures are easy
    assert right + page.count('<div class="gallery wide"') == 2
    assert not (experiment.path("submit") / "card.md").exists()


def test_predictions_list_several_clusters(experiment):
    with (experiment.path("submit") / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["product"] for row in rows] == [f"{number}.jpg" for number in range(NUM_NEW)]
    listed = {name for row in rows for name in row["classes"].split("; ") if name}
    assert listed <= {"Animal/Dog", "Vehicle/Bus", "Vehicle/Car"}
    assert any("; " in row["classes"] for row in rows)


def test_the_switch_belongs_to_networks_and_not_to_clusters(folder):
    def settings(*overrides: str) -> dict:
        stages = declare_all(load_experiment(folder / "tiny.toml", overrides))
        return {a.path.name: a.config for stage in stages.values() for a in stage}

    sets, single = settings(), settings("clusters.multi_label=false")
    assert sets["clusters"] == single["clusters"]
    assert sets["fold0"] == single["fold0"] | {"label_sets": {"unannotated_weight": 1.0}}
    assert "blend" in single
    assert "blend" not in sets


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["models.a.sampling.hard_example_weight=1"], "are for one class an image"),
        (["models.a.loss.hierarchy_weight=1"], "are for one class an image"),
        (["models.a.input=mosaic", "models.a.crop=[48,48]", "models.a.resize=[48,48]"], "reads"),
    ],
)
def test_what_needs_one_class_is_refused(folder, overrides, message):
    with pytest.raises(UserError, match=message):
        load_experiment(folder / "tiny.toml", overrides)


def test_new_images_get_their_sets_too(folder):
    experiment = load_experiment(folder / "tiny.toml", new=str(folder / "new"))
    build_here(experiment)
    rows = (experiment.path("submit") / "predictions.csv").read_text()
    assert rows == (folder / "work" / "tiny" / "submit" / "predictions.csv").read_text()
