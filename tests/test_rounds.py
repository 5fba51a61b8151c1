"""Fusions and a second round: stages 01 to 03 by the scripts, on a drawn catalogue."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lib.artifacts import survey

from lib import new, pipeline, rounds
from lib.cli import SCRIPTS
from lib.config.load import load
from lib.config.schema import Config, Sample
from lib.data.catalog import read_catalog, read_splits
from lib.data.synthetic.catalog import generate
from lib.errors import UserError
from lib.inference.topk import TopK
from lib.stacking.pseudo_labels import BY_HASH, PseudoLabels
from tests.scripts import run_script

FIRST = """
name = "first"
[data]
root = "FOLDER"
[split]
locked = 0.2
n_folds = 4
[train]
arch = "small"
weights = "none"
resize = [32, 32]
crop = [28, 28]
head_only_epochs = 0
epochs = 2
n_folds = 2
[models.a]
[backbones.still]
arch = "small"
weights = "none"
resize = [32, 32]
crop = [32, 32]
[models.fused]
input = "embedding"
fusion.inputs = ["a", "still"]
fusion.hidden_sizes = [16]
optimizer = "adamw"
lr = 0.002
[predict]
top_k = 6
[features]
top_k = 3
[run]
threads = 1
"""
SECOND = """
[pseudo_label]
teacher = "FOLDER/first.toml"
min_precision = 0.5
loss_weight = 0.25
"""


def run(folder: Path, name: str, *stages: str, extra: tuple[str, ...] = ()):
    for stage in stages:
        place = ("--config", str(folder / f"{name}.toml"), "--set", f"work={folder}")
        result = run_script(SCRIPTS[stage], *place, *extra)
        if result.returncode:
            break
    return result


def settings(folder: Path, name: str) -> Config:
    return load(folder / f"{name}.toml", [f"work={folder}"])


def manifest(folder: Path, name: str) -> dict:
    return json.loads((folder / name / "_manifest.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The networks of both rounds; read only."""
    folder = tmp_path_factory.mktemp("rounds")
    generate(folder, Sample(train_products=300, test_products=80, num_classes=6, image_size=32), 1)
    first = FIRST.replace("FOLDER", str(folder))
    (folder / "first.toml").write_text(first)
    second = first.replace('"first"', '"second"') + SECOND.replace("FOLDER", str(folder))
    (folder / "second.toml").write_text(second)
    early = run(folder, "second", "extract")
    assert early.returncode == 2
    wanted = f"train first with ./run_all.sh {folder / 'first.toml'}"
    assert wanted in early.stderr.splitlines()[-1]
    for name, stages in (
        ("first", ("extract", "train", "predict")),
        ("second", ("extract", "train")),
    ):
        result = run(folder, name, *stages)
        assert result.returncode == 0, result.stderr
    return folder


def test_a_fusion_says_the_same_of_all_pictures_of_a_product(trained):
    config = settings(trained, "first")
    known = read_catalog(config.at("extract/train"), trained / "train.bson")
    dump = TopK.load(config.at("predictions/fused/fit"))
    alone = TopK.load(config.at("predictions/a/fit"))
    np.testing.assert_array_equal(dump.image, alone.image)
    owner = known.image_product[dump.image]
    same = np.flatnonzero(np.diff(owner) == 0)
    assert len(same) > 10
    np.testing.assert_array_equal(dump.probs[same], dump.probs[same + 1])
    assert not np.array_equal(dump.probs, alone.probs)


def test_a_frozen_backbone_is_one_network_for_all_folds(trained):
    root = trained / "first"
    assert [path.name for path in (root / "embeddings" / "still").iterdir()] == ["frozen"]
    inputs = manifest(root, "cnn/fused/fold1")["inputs"]
    assert {"embeddings/still/frozen/train", "embeddings/a/fold1/train"} < inputs.keys()
    assert "embeddings/a/fold0/train" not in inputs


def test_what_is_trained_is_fresh(trained):
    for name, stage in (("first", "predict"), ("second", "train")):
        before = {p: p.stat().st_mtime_ns for p in trained.rglob("_manifest.json")}
        result = run(trained, name, stage)
        assert result.returncode == 0
        assert "building" not in result.stderr
        assert {p: p.stat().st_mtime_ns for p in trained.rglob("_manifest.json")} == before


def test_the_second_round_learns_from_the_test_file_too(trained):
    facts = manifest(trained / "second", "pseudo/fold0-of-2")["facts"]
    assert facts["by_hash"] > 0
    assert facts["by_hash"] + facts["by_confidence"] > 5
    made = manifest(trained / "second", "cnn/a/fold0")
    assert "pseudo/fold0-of-2" in made["inputs"]
    before = manifest(trained / "first", "cnn/a/fold0")
    assert made["facts"]["images"] > before["facts"]["images"]
    assert made["config"]["weight"] == 0.25
    assert "pseudo" not in " ".join(before["inputs"])


def test_labels_of_a_fold_never_label_for_the_network_that_leaves_it_out(trained, tmp_path):
    config = settings(trained, "second")
    known = read_catalog(config.at("extract/train"), trained / "train.bson")
    test = read_catalog(config.at("extract/test"), trained / "test.bson")
    splits = read_splits(config.at("extract/splits"))
    found = {}
    for name, hidden in (
        ("own", splits.fold_of_product(2) == 0),
        ("other", splits.fold_of_product(2) == 1),
    ):
        label = np.where(hidden, (known.label + 1) % 6, known.label).astype(np.int16)
        folder = tmp_path / name
        folder.mkdir()
        only = replace(
            config, pseudo_label=replace(config.pseudo_label, min_precision=0.999)
        )  # hashes alone
        rounds.build_pseudo(only, 2, "fold0", replace(known, label=label), test, folder)
        found[name] = PseudoLabels.load(folder)
    real = PseudoLabels.load(config.at("pseudo/fold0-of-2"))
    by_hash = real.product[real.reason == BY_HASH]
    own = found["own"]
    assert set(by_hash.tolist()) <= set(own.product.tolist())
    at = np.searchsorted(own.product, by_hash)
    np.testing.assert_array_equal(own.class_id[at], real.class_id[real.reason == BY_HASH])
    other = dict(
        zip(found["other"].product.tolist(), found["other"].class_id.tolist(), strict=True)
    )
    assert any(
        other.get(p) != c for p, c in zip(own.product.tolist(), own.class_id.tolist(), strict=True)
    )


def test_locked_labels_label_nothing(trained, tmp_path):
    config = settings(trained, "second")
    known = read_catalog(config.at("extract/train"), trained / "train.bson")
    test = read_catalog(config.at("extract/test"), trained / "test.bson")
    locked = read_splits(config.at("extract/splits")).products("locked")
    label = known.label.copy()
    label[locked] = (label[locked] + 1) % 6
    rounds.build_pseudo(config, 2, "fold0", replace(known, label=label), test, tmp_path)
    real, found = PseudoLabels.load(config.at("pseudo/fold0-of-2")), PseudoLabels.load(tmp_path)
    np.testing.assert_array_equal(found.product, real.product)
    np.testing.assert_array_equal(found.class_id, real.class_id)


def test_new_products_leave_the_labels_as_they_are(trained):
    config = new.choose(settings(trained, "second"), str(trained / "test.bson"))
    stages = pipeline.stages(config)
    made = [a for name in ("extract", "train") for a in stages[name]]
    states = survey(made)
    settled = {a.path: states[a.path].state for a in made if a.settled}
    assert trained / "second" / "pseudo" / "fold0-of-2" in settled
    assert set(settled.values()) == {"fresh"}


def test_other_parts_are_refused(trained):
    with pytest.raises(UserError, match="its seed, split or folds are others"):
        pipeline.stages(load(trained / "second.toml", [f"work={trained}", "split.locked=0.3"]))
    with pytest.raises(UserError, match="no network there has folds = 4"):
        pipeline.stages(load(trained / "second.toml", [f"work={trained}", "train.n_folds=4"]))
