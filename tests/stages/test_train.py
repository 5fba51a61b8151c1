"""Which products train a network and which have a say in it; what a network depends on."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from lib.config.data import Sample
from lib.config.model import Fusion
from lib.data.catalog import read_splits
from lib.data.synthetic.catalog import generate
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages import extract
from lib.stages.order import build_stage, declare_all
from lib.stages.train import train_network, train_valid_products

CONFIG = """
name = "watched"
[data]
root = "FOLDER"
group_by = ""
[split]
holdout = 0.2
locked = 0.2
n_folds = 2
[train]
arch = "small"
weights = "none"
resize = [36, 36]
crop = [32, 32]
head_only_epochs = 0
epochs = 6
n_folds = 2
optimizer = "adamw"
lr = 0.003
lr_schedule.warmup_fraction = 0
[models.last]
[models.best]
checkpoint = "best"
[models.plateau]
lr_schedule.kind = "plateau"
[models.once]
n_folds = 1
checkpoint = "best"
[models.fused]
input = "embedding"
fusion.inputs = ["last"]
[run]
threads = 1
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Experiment:
    """Stage 01; read only."""
    folder = tmp_path_factory.mktemp("watched")
    generate(folder, Sample(160, 20, num_classes=4, image_size=32, duplicate_fraction=0.1), 1)
    (folder / "watched.toml").write_text(CONFIG.replace("FOLDER", str(folder)))
    experiment = load_experiment(folder / "watched.toml", [f"work={folder}"])
    build_stage(extract, experiment, False)
    return experiment


def with_false_labels(experiment: Experiment, folder, products: np.ndarray) -> Experiment:
    """The same experiment, in a folder of its own, where some products have another class."""
    copy = replace(experiment, config=replace(experiment.config, work=str(folder)))
    shutil.copytree(experiment.folder, copy.folder)
    path = copy.path("extract/train") / "products.arrow"
    table = pa.ipc.open_file(path).read_all()
    label = table["class_id"].to_numpy().copy()
    label[products] = (label[products] + 1) % 4
    column = table.schema.get_field_index("class_id")
    table = table.set_column(column, "class_id", pa.array(label))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return copy


def predicted_out_of_fold(experiment: Experiment, fold: str) -> np.ndarray:
    splits = read_splits(experiment.path("extract/splits"))
    if fold == "full":
        return splits.products("holdout")
    products = splits.products("fit")
    return products[splits.fold_of_product(2)[products] == 0]


@pytest.mark.parametrize(
    ("name", "fold"), [("best", "fold0"), ("plateau", "fold0"), ("once", "full")]
)
def test_the_products_predicted_out_of_fold_have_no_say_in_the_network(
    experiment, tmp_path, name, fold
):
    """Their labels may be wrong: the network that predicts them is the same to the last bit."""
    products = predicted_out_of_fold(experiment, fold)
    changed = with_false_labels(experiment, tmp_path / "changed", products)
    weights = []
    for number, variant in enumerate((experiment, changed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        train_network(variant, name, fold, folder)
        file = "last.pt" if name == "plateau" else "best.pt"
        weights.append(torch.load(folder / file, weights_only=True)["model"])
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


@pytest.mark.parametrize("name", ["last", "best", "plateau", "once"])
def test_training_products_are_never_predicted_out_of_fold(experiment, name):
    model = experiment.config.models[name]
    fold = "full" if model.n_folds == 1 else "fold0"
    train, valid = train_valid_products(experiment, model, fold)
    left_out = predicted_out_of_fold(experiment, fold)
    assert not np.intersect1d(train, np.append(left_out, valid)).size
    if name == "last":  # which nothing is decided by
        assert (valid == left_out).all()
    else:
        assert 0 < len(valid) < 0.1 * len(train)
        assert not np.intersect1d(valid, left_out).size


def settings_of(experiment: Experiment, name: str, **changes) -> dict:
    """What the network `name` depends on after some settings of every model changed."""
    models = {n: replace(m, **changes) for n, m in experiment.config.models.items()}
    changed = replace(experiment, config=replace(experiment.config, models=models))
    artifacts = declare_all(changed)
    (artifact,) = [
        artifact
        for stage in artifacts.values()
        for artifact in stage
        if artifact.path == changed.path(f"cnn/{name}/fold0")
    ]
    return artifact.config


@pytest.mark.parametrize(
    "change",
    [
        {"arch": "resnet18"},
        {"weights": "imagenet"},
        {"head": "wide"},
        {"dropout": 0.5},
        {"resize": (40, 40)},
        {"crop": (30, 30)},
        {"flip": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_fusion_does_not_depend_on_settings_of_images(experiment, change):
    assert settings_of(experiment, "fused", **change) == settings_of(experiment, "fused")
    assert settings_of(experiment, "last", **change) != settings_of(experiment, "last")


def test_a_network_of_images_does_not_depend_on_settings_of_fusions(experiment):
    models = {
        name: replace(model, fusion=replace(model.fusion, hidden_sizes=(7,)))
        for name, model in experiment.config.models.items()
    }
    assert models["last"].fusion != Fusion()
    changed = replace(experiment, config=replace(experiment.config, models=models))
    assert settings_of(changed, "last") == settings_of(experiment, "last")
    assert settings_of(changed, "fused") != settings_of(experiment, "fused")


def test_what_chooses_an_epoch_belongs_to_the_network_that_is_watched(experiment):
    assert settings_of(experiment, "last", checkpoint="best") != settings_of(experiment, "last")
    assert settings_of(experiment, "last", blend_weight=3.0) == settings_of(experiment, "last")
