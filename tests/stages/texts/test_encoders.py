"""Fusion models that read embeddings of texts, through stages 01 to 03."""

import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib.data.catalog import read_splits
from lib.errors import UserError
from lib.pipeline.artifact import status_all
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages import extract, predict
from lib.stages.order import build_stage, check_networks, declare_all
from lib.stages.read import catalog_of_part, read_topk
from tests.models.text.encoders import WIDTH, save_model2vec

pytest.importorskip("model2vec", reason="requirements-text.txt")

CONFIG = """
name = "encoders"
[data]
root = "FOLDER"
source = "csv"
train = "train.csv"
test = "new.csv"
group_by = ""
text_columns = ["title"]
[split]
locked = 0.2
n_folds = 2
[train]
n_folds = 2
epochs = 30
head_only_epochs = 0
optimizer = "adamw"
lr = 0.01
[backbones.still]
arch = "small"
weights = "none"
resize = [24, 24]
crop = [24, 24]
[text_encoders.words]
weights = "FOLDER/static"
[models.fused]
input = "embedding"
fusion.inputs = ["still", "words"]
fusion.hidden_sizes = [16]
fusion.dropout = 0.0
[models.texts]
input = "embedding"
fusion.inputs = ["words"]
fusion.flip = true
fusion.hidden_sizes = []
[run]
threads = 1
"""
CLASSES = ("kettle", "chair", "phone")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Experiment:
    """Images of noise; titles that name the class, but for every tenth product, which has none."""
    folder = tmp_path_factory.mktemp("encoders")
    save_model2vec(folder / "static")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(330):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (24, 24, 3), np.uint8))
        title = f"new {CLASSES[number % 3]}" if number % 10 else ""
        rows.append([number, CLASSES[number % 3], f"{number}.png", title])
    header = ["product", "category", "images", "title"]
    for name, some in (("train.csv", rows[:300]), ("new.csv", rows[300:])):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *some])
    (folder / "config.toml").write_text(CONFIG.replace("FOLDER", str(folder)))
    experiment = load_experiment(folder / "config.toml", [f"work={folder}"])
    for stage in (extract, predict):
        build_stage(stage, experiment, False)
    return experiment


def accuracy(experiment: Experiment, model: str, part: str) -> float:
    catalog = catalog_of_part(experiment, part)
    topk = read_topk(experiment, model, part)
    products = catalog.image_product
    if part != "test":
        inside = np.isin(products, read_splits(experiment.path("extract/splits")).products(part))
        products = products[inside]
    truth = catalog.label[products] if part != "test" else products_of_test(catalog)[products]
    return float((topk.classes[:, 0] == truth).mean())


def products_of_test(catalog) -> np.ndarray:
    """The classes of the products to classify, which are not in their table."""
    names = sorted(CLASSES)
    return np.array([names.index(CLASSES[int(key) % 3]) for key in catalog.product_id.tolist()])


def test_a_fusion_learns_what_the_titles_say(experiment):
    for model, least in (("fused", 0.5), ("texts", 0.85)):  # noise is a third right
        for part in ("fit", "test"):
            assert accuracy(experiment, model, part) > least, (model, part)


def test_embeddings_are_those_of_the_products(experiment):
    features = np.load(experiment.path("embeddings/words/frozen/train") / "features.npy")
    keys = catalog_of_part(experiment, "train").product_id
    assert features.shape == (300, WIDTH)
    assert np.array_equal(np.abs(features).sum(1) == 0, keys % 10 == 0)


def test_other_weights_make_the_embeddings_stale(experiment, tmp_path):
    save_model2vec(tmp_path)
    words = replace(experiment.config.text_encoders["words"], weights=str(tmp_path))
    config = replace(experiment.config, text_encoders={"words": words})
    artifacts = declare_all(replace(experiment, config=config))
    states = status_all([artifact for stage in artifacts.values() for artifact in stage])
    for name, state in (
        ("embeddings/words/frozen/train", "stale"),
        ("cnn/texts/fold0", "stale"),
        ("predictions/fused/test", "stale"),
        ("embeddings/still/frozen/train", "fresh"),
    ):
        assert states[experiment.path(name)].state == state, name


def test_an_encoder_that_cannot_be_read_stops_the_run_before_it_starts(experiment, tmp_path):
    missing = replace(experiment.config.text_encoders["words"], weights=str(tmp_path / "none"))
    config = replace(experiment.config, text_encoders={"words": missing})
    with pytest.raises(UserError, match=r"text_encoders\.words: weights = .*no such folder"):
        check_networks(replace(experiment, config=config))
