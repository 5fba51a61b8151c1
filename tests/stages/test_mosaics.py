"""Models on mosaics and on products beside a model on images: whole runs on a catalog."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.config.data import Sample
from lib.data.catalog import read_splits
from lib.data.synthetic.catalog import generate
from lib.errors import UserError
from lib.inference.topk import TopK
from lib.pipeline.artifact import status_all
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages.order import declare_all
from lib.stages.read import catalog_of_part
from lib.stages.train import train_network
from tests.scripts import run_all

FIRST = """
name = "first"
[data]
root = "FOLDER"
[split]
locked = 0.2
n_folds = 2
[train]
arch = "small"
weights = "none"
resize = [36, 36]
crop = [32, 32]
head_only_epochs = 0
epochs = 1
n_folds = 2
[models.a]
[models.joined]
input = "mosaic"
[models.several]
input = "mosaic"
mosaic.min_images = 2
[models.split]
input = "mosaic"
mosaic.split_at = [2]
[models.inputs]
input = "product"
[predict]
top_k = 4
shard_size = 30
[features]
top_k = 3
[stack]
l2 = ["extra_trees"]
l3 = []
sources = ["mean"]
forest_n_estimators = 5
[run]
threads = 1
report = false
"""
SECOND = """
[pseudo_label]
teacher = "FOLDER/first.toml"
min_precision = 0.5
"""


def first_round(folder: Path, *overrides: str) -> Experiment:
    return load_experiment(folder / "first.toml", [f"work={folder}", *overrides])


def manifest(folder: Path, name: str) -> dict:
    return json.loads((folder / name / "_manifest.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """All stages of a first and of a second round; read only."""
    folder = tmp_path_factory.mktemp("mosaics")
    counts = (2.0, 1.0, 1.0, 1.0)
    sample = Sample(
        200, 40, num_classes=5, image_size=32, image_count_weights=counts, duplicate_fraction=0.1
    )
    generate(folder, sample, 1)
    first = FIRST.replace("FOLDER", str(folder))
    (folder / "first.toml").write_text(first)
    second = first.replace('"first"', '"second"') + SECOND.replace("FOLDER", str(folder))
    (folder / "second.toml").write_text(second)
    (folder / "second").mkdir()
    (folder / "second" / "extract").symlink_to(folder / "first" / "extract")  # not built again
    for name in ("first", "second"):
        result = run_all("--config", str(folder / f"{name}.toml"), "--set", f"work={folder}")
        assert result.returncode == 0, result.stderr
    return folder


def test_models_on_mosaics_are_in_the_ladder(finished):
    rows = json.loads((finished / "first" / "submit" / "scores.json").read_text())
    assert {"a", "joined", "several", "split", "inputs"} <= {
        row["name"] for row in rows if row["layer"] == "cnn"
    }


def test_a_mosaic_model_trains_on_the_products_of_its_range_one_row_each(finished):
    experiment = first_round(finished)
    splits = read_splits(experiment.path("extract/splits"))
    fit = splits.products("fit")
    train = fit[splits.fold_of_product(2)[fit] != 0]
    counts = catalog_of_part(experiment, "fit").image_count[train]
    assert (counts > 1).any()
    assert (counts == 1).any()
    for name, images in (
        ("a", counts.sum()),
        ("joined", len(train)),
        ("several", (counts > 1).sum()),
        ("inputs", len(train)),
    ):
        facts = manifest(finished / "first", f"cnn/{name}/fold0")["facts"]
        assert facts["images"] == images


@pytest.mark.parametrize("part", ["fit", "locked", "test"])
def test_all_images_of_a_product_have_the_same_prediction(finished, part):
    experiment = first_round(finished)
    catalog = catalog_of_part(experiment, part)
    single = TopK.load(experiment.path(f"predictions/a/{part}"))
    for name in ("joined", "several", "split", "inputs"):
        mosaic = TopK.load(experiment.path(f"predictions/{name}/{part}"))
        np.testing.assert_array_equal(mosaic.image, single.image)
        same = np.flatnonzero(np.diff(catalog.image_product[mosaic.image]) == 0)
        assert len(same) > 10
        np.testing.assert_array_equal(mosaic.probs[same], mosaic.probs[same + 1])
        np.testing.assert_array_equal(mosaic.classes[same], mosaic.classes[same + 1])
        assert not np.array_equal(single.probs[same], single.probs[same + 1])


def test_the_networks_of_a_split_model_divide_the_products_by_their_number_of_images(finished):
    experiment = first_round(finished)
    splits = read_splits(experiment.path("extract/splits"))
    fit = splits.products("fit")
    train = fit[splits.fold_of_product(2)[fit] != 0]
    counts = catalog_of_part(experiment, "fit").image_count[train]
    for network, images in (("images1", (counts == 1).sum()), ("images2", (counts > 1).sum())):
        facts = manifest(finished / "first", f"cnn/split/fold0-{network}")["facts"]
        assert facts["images"] == images


@pytest.mark.parametrize("part", ["fit", "locked", "test"])
def test_a_split_model_predicts_by_the_network_for_the_number_of_images(finished, part):
    """Those of several images as the model that trained on the same products with the same seed."""
    experiment = first_round(finished)
    catalog = catalog_of_part(experiment, part)
    split, joined, several = (
        TopK.load(experiment.path(f"predictions/{name}/{part}"))
        for name in ("split", "joined", "several")
    )
    has_several = catalog.image_count[catalog.image_product[split.image]] > 1
    assert has_several.any()
    np.testing.assert_allclose(split.probs[has_several], several.probs[has_several], atol=2e-3)
    for other in (joined, several):
        assert not np.array_equal(split.probs[~has_several], other.probs[~has_several])


def test_settings_of_mosaics_are_in_no_other_manifest(finished):
    """So networks that were trained before there were mosaics stay fresh."""
    for name, expected in (("a", False), ("joined", True)):
        settings = manifest(finished / "first", f"cnn/{name}/fold0")["config"]["train"]
        assert ("mosaic" in settings) == expected


def test_a_change_of_the_range_makes_only_its_model_stale(finished):
    stages = declare_all(first_round(finished, "models.several.mosaic.max_images=3"))
    states = status_all([*stages["extract"], *stages["train"]])
    stale = {path.parent.name for path, state in states.items() if state.state == "stale"}
    assert stale == {"several"}


def test_too_few_products_in_the_range_are_a_user_error(finished, tmp_path):
    experiment = first_round(finished, "models.several.mosaic.min_images=5")
    with pytest.raises(UserError, match=r"models\.several\.mosaic: 0 products of 5 to any number"):
        train_network(experiment, "several", "fold0", tmp_path)


def test_a_second_round_trains_mosaic_models_too(finished):
    for network in ("joined/fold0", "several/fold0", "split/fold0-images2", "inputs/fold0"):
        first, second = (
            manifest(finished / folder, f"cnn/{network}") for folder in ("first", "second")
        )
        assert "pseudo/fold0-of-2" in second["inputs"]
        assert second["facts"]["images"] > first["facts"]["images"]
