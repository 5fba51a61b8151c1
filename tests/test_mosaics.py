"""A model on mosaics beside a network: stages 01 to 03 by the scripts, on a drawn catalogue."""

import json
from pathlib import Path

import numpy as np
import pytest
from lib.artifacts import survey
from lib.stages.vision_stage import build_net

from lib import pipeline
from lib.config.load import load
from lib.config.schema import Sample
from lib.data.catalog import read_catalog, read_splits
from lib.data.synthetic.catalog import generate
from lib.errors import UserError
from lib.inference.topk import TopK
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
"""
SECOND = """
[pseudo_label]
teacher = "FOLDER/first.toml"
min_precision = 0.5
"""


def settings(folder: Path, name: str):
    return load(folder / f"{name}.toml", [f"work={folder}"])


def manifest(folder: Path, name: str) -> dict:
    return json.loads((folder / name / "_manifest.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """All stages of the first round, and the networks of a second; read only."""
    folder = tmp_path_factory.mktemp("mosaics")
    counts = (2.0, 1.0, 1.0, 1.0)
    drawn = Sample(
        200, 40, num_classes=5, image_size=32, image_count_weights=counts, duplicate_fraction=0.1
    )
    generate(folder, drawn, 1)
    first = FIRST.replace("FOLDER", str(folder))
    (folder / "first.toml").write_text(first)
    second = first.replace('"first"', '"second"') + SECOND.replace("FOLDER", str(folder))
    (folder / "second.toml").write_text(second)
    for name in ("first", "second"):
        result = run_all("--config", str(folder / f"{name}.toml"), "--set", f"work={folder}")
        assert result.returncode == 0, result.stderr
    return folder


def test_mosaics_are_in_the_ladder_as_networks_are(finished):
    rows = json.loads((finished / "first" / "submit" / "scores.json").read_text())
    assert {"a", "joined", "several"} <= {row["name"] for row in rows if row["layer"] == "cnn"}


def test_a_product_is_a_row_and_the_range_chooses_who_trains(finished):
    config = settings(finished, "first")
    known = read_catalog(config.at("extract/train"), finished / "train.bson")
    splits = read_splits(config.at("extract/splits"))
    fit = splits.products("fit")
    taught = fit[splits.fold_of_product(2)[fit] != 0]
    counts = known.image_count[taught]
    assert (counts > 1).any()
    assert (counts == 1).any()
    for name, images in (
        ("a", counts.sum()),
        ("joined", len(taught)),
        ("several", (counts > 1).sum()),
    ):
        facts = manifest(finished / "first", f"cnn/{name}/fold0")["facts"]
        assert facts["images"] == images


@pytest.mark.parametrize("part", ["fit", "locked", "test"])
def test_every_picture_of_a_product_has_the_products_score(finished, part):
    config = settings(finished, "first")
    side = "test" if part == "test" else "train"
    known = read_catalog(config.at(f"extract/{side}"), finished / f"{side}.bson")
    alone = TopK.load(config.at(f"predictions/a/{part}"))
    for name in ("joined", "several"):
        found = TopK.load(config.at(f"predictions/{name}/{part}"))
        np.testing.assert_array_equal(found.image, alone.image)
        same = np.flatnonzero(np.diff(known.image_product[found.image]) == 0)
        assert len(same) > 10
        np.testing.assert_array_equal(found.probs[same], found.probs[same + 1])
        np.testing.assert_array_equal(found.classes[same], found.classes[same + 1])
        assert not np.array_equal(alone.probs[same], alone.probs[same + 1])


def test_settings_of_mosaics_are_in_no_other_manifest(finished):
    """So networks that were trained before there were mosaics stay fresh."""
    for name, there in (("a", False), ("joined", True)):
        made = manifest(finished / "first", f"cnn/{name}/fold0")["config"]["train"]
        assert ("mosaic" in made) == there


def test_a_change_of_the_range_makes_its_model_stale_alone(finished):
    changed = [f"work={finished}", "models.several.mosaic.max_images=3"]
    stages = pipeline.stages(load(finished / "first.toml", changed))
    states = survey([one for name in ("extract", "train") for one in stages[name]])
    stale = {path.parent.name for path, state in states.items() if state.state == "stale"}
    assert stale == {"several"}


def test_too_few_products_of_so_many_pictures_are_one_clear_line(finished, tmp_path):
    config = load(
        finished / "first.toml", [f"work={finished}", "models.several.mosaic.min_images=5"]
    )
    known = read_catalog(config.at("extract/train"), finished / "train.bson")
    with pytest.raises(UserError, match=r"models\.several\.mosaic: 0 products of 5 to any number"):
        build_net(config, "several", "fold0", known, tmp_path)


def test_a_second_round_teaches_mosaics_too(finished):
    for name in ("joined", "several"):
        made, before = (manifest(finished / r, f"cnn/{name}/fold0") for r in ("second", "first"))
        assert "pseudo/fold0-of-2" in made["inputs"]
        assert made["facts"]["images"] > before["facts"]["images"]
