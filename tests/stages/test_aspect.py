"""Aspect clusters from the files to the predictions: tall, square and wide pictures in folders."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.model import Model
from lib.data.aspect.reader import AspectReader
from lib.errors import UserError
from lib.inference.topk import TopK
from lib.pipeline.artifact import status_all
from lib.pipeline.experiment import Experiment, load_experiment, size_inputs
from lib.stages import extract, predict, train
from lib.stages.order import build_stage, check_networks, declare_all
from lib.stages.read import catalog_of_part
from lib.stages.scoring import open_images
from tests.scripts import run_all

SIZES = ((64, 32), (44, 44), (32, 64))  # height, width of a picture of each cluster
CONFIG = """
name = "first"
[data]
source = "folders"
root = "FOLDER"
train = "train"
test = "test"
group_by = ""
[split]
locked = 0.2
n_folds = 2
[train]
arch = "small"
weights = "none"
resize = [36, 36]
crop = [32, 32]
head_only_epochs = 0
epochs = 2
batch_size = 8
n_folds = 2
aspect.num_clusters = 3
[models.a]
[predict]
top_k = 2
shard_size = 20
tta_views = 10
embed_models = ["a"]
[features]
top_k = 2
[run]
threads = 1
report = false
"""
SECOND = """
extends = "first.toml"
name = "second"
predict.embed_models = []
[pseudo_label]
teacher = "FOLDER/first.toml"
min_precision = 0.5
"""


def write_pictures(folder: Path, count: int, seed: int) -> None:
    """Pictures of two colors, each in all three shapes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        color = (40, 40, 200) if folder.name.endswith("red") else (200, 60, 40)
        noise = rng.integers(-30, 30, (*SIZES[number % 3], 3))
        image = (np.array(color) + noise).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:02}.jpg"), image)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Stages 01 to 03 of a first and of a second round; read only."""
    folder = tmp_path_factory.mktemp("aspect")
    write_pictures(folder / "train" / "red", 30, 1)
    write_pictures(folder / "train" / "blue", 30, 2)
    write_pictures(folder / "test", 10, 3)
    write_pictures(folder / "new", 7, 4)
    for name, text in (("first", CONFIG), ("second", SECOND)):
        (folder / f"{name}.toml").write_text(text.replace("FOLDER", str(folder)))
        run(folder, name)
    return folder


def run(folder: Path, name: str) -> None:
    config = ("--config", str(folder / f"{name}.toml"), "--set", f"work={folder}")
    done = run_all(*config, stages=("extract", "train", "predict"))
    assert done.returncode == 0, done.stderr


def experiment(
    folder: Path, name: str = "first", new: str | None = None, *overrides: str
) -> Experiment:
    return load_experiment(folder / f"{name}.toml", [f"work={folder}", *overrides], new)


def test_every_image_has_the_shape_of_its_own_size(finished):
    first = experiment(finished)
    catalog = catalog_of_part(first, "train")
    with open_images(first, first.config.models["a"], catalog, "train") as reader:
        assert isinstance(reader, AspectReader)
        assert [shape.crop for shape in reader.shapes] == [(48, 24), (32, 32), (24, 48)]
        assert reader.cluster.tolist() == [0, 1, 2] * 20


def test_predictions_are_in_the_order_of_the_images(finished):
    """Whatever the order in which the shapes were predicted, and in which shard."""
    for name in ("first", "second"):
        done = experiment(finished, name)
        for part in ("fit", "locked", "test"):
            topk = TopK.load(done.path(f"predictions/a/{part}"))
            assert (np.diff(topk.image) > 0).all()
            if part != "test":
                catalog = catalog_of_part(done, part)
                truth = catalog.label[catalog.image_product[topk.image]]
                assert (topk.classes[:, 0] == truth).mean() > 0.9


def test_finished_stages_are_fresh_and_other_clusters_are_not(finished):
    first = experiment(finished)
    stages = declare_all(first)
    artifacts = [artifact for name in ("extract", "train", "predict") for artifact in stages[name]]
    assert {state.state for state in status_all(artifacts).values()} == {"fresh"}
    changed = experiment(finished, "first", None, "train.aspect.num_clusters=2")
    states = status_all(declare_all(changed)["train"])
    assert {state.state for state in states.values()} == {"stale"}


def test_new_pictures_are_sorted_into_the_clusters_of_the_labelled_ones(finished):
    """All of them are wide, and would be one cluster of their own."""
    new = experiment(finished, new=str(finished / "new"))
    for stage in (extract, train, predict):
        build_stage(stage, new, rebuild=False)
    assert len(TopK.load(new.path("predictions/a/test")).image) == 7
    model = new.config.models["a"]
    with open_images(new, model, catalog_of_part(new, "test"), "test") as reader:
        assert reader.cluster.tolist() == [0, 1, 2, 0, 1, 2, 0]
    sizes = np.load(new.path("extract/sizes/test") / "sizes.npy")
    assert sizes.tolist() == [list(SIZES[i % 3]) for i in range(7)]


def test_sizes_are_read_only_where_a_network_needs_them(finished):
    plain = experiment(finished, "first", None, "train.aspect.num_clusters=0")
    names = {artifact.path.parent.name for artifact in declare_all(plain)["extract"]}
    assert not plain.needs_sizes
    assert "sizes" not in names
    assert size_inputs(Model()) == []


def test_a_network_of_one_size_is_refused_before_the_first_stage(finished):
    fixed = experiment(finished, "first", None, "train.arch=draw_cnn2", "train.crop=[28,28]")
    with pytest.raises(UserError, match=r"models\.a: aspect\.num_clusters: draw_cnn2 takes images"):
        check_networks(fixed)
