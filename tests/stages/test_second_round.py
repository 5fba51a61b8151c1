"""Fusion models and a second round: stages 01 to 03, on a generated catalog.

They cover `lib/stages/fusion.py` and `lib/stages/pseudo_label.py`.
"""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lib.config.data import Sample
from lib.data.catalog import read_splits, read_table, write_table
from lib.data.synthetic.catalog import generate
from lib.errors import UserError
from lib.inference.topk import TopK
from lib.pipeline.artifact import status_all
from lib.pipeline.experiment import Experiment, load_experiment
from lib.pipeline.predict_target import predict_target
from lib.stacking.pseudo_labels import BY_HASH, PseudoLabels
from lib.stages.order import declare_all
from lib.stages.pseudo_label import label_test_products
from lib.stages.read import catalog_of_part
from tests.scripts import run_all

NUM_CLASSES = 6
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
fusion.input_dropout = 0.2
fusion.squeeze_ratio = 2
fusion.flip = true
optimizer = "adamw"
lr = 0.002
[predict]
top_k = 6
[features]
top_k = 3
[run]
threads = 1
report = false
"""
SECOND = """
[pseudo_label]
teacher = "FOLDER/first.toml"
min_precision = 0.5
loss_weight = 0.25
"""


def run(folder: Path, name: str, *stages: str) -> subprocess.CompletedProcess:
    options = ("--config", str(folder / f"{name}.toml"), "--set", f"work={folder}")
    return run_all(*options, stages=stages)


def experiment_in(folder: Path, name: str, *overrides: str) -> Experiment:
    return load_experiment(folder / f"{name}.toml", [f"work={folder}", *overrides])


def manifest(folder: Path, name: str) -> dict:
    return json.loads((folder / name / "_manifest.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The networks of both rounds; read only."""
    folder = tmp_path_factory.mktemp("rounds")
    sample = Sample(300, 80, num_classes=NUM_CLASSES, image_size=32)
    generate(folder, sample, 1)
    first = FIRST.replace("FOLDER", str(folder))
    (folder / "first.toml").write_text(first)
    second = first.replace('"first"', '"second"') + SECOND.replace("FOLDER", str(folder))
    (folder / "second.toml").write_text(second)
    early = run(folder, "second", "extract")
    assert early.returncode == 2
    expected = f"train first with ./run_all.sh {folder / 'first.toml'}"
    assert expected in early.stderr.splitlines()[-1]
    (folder / "second").mkdir()
    (folder / "second" / "extract").symlink_to(folder / "first" / "extract")  # not built again
    for name, stages in (
        ("first", ("extract", "train", "predict")),
        ("second", ("extract", "train")),
    ):
        result = run(folder, name, *stages)
        assert result.returncode == 0, result.stderr
    return folder


def test_a_fusion_model_predicts_the_same_for_all_images_of_a_product(trained):
    experiment = experiment_in(trained, "first")
    catalog = catalog_of_part(experiment, "fit")
    fused = TopK.load(experiment.path("predictions/fused/fit"))
    single = TopK.load(experiment.path("predictions/a/fit"))
    np.testing.assert_array_equal(fused.image, single.image)
    same = np.flatnonzero(np.diff(catalog.image_product[fused.image]) == 0)
    assert len(same) > 10
    np.testing.assert_array_equal(fused.probs[same], fused.probs[same + 1])
    center = TopK.load(experiment.path("predictions/fused/fit"), "center")
    assert not np.array_equal(fused.probs, center.probs)  # the other view is mirrored
    assert not np.array_equal(fused.probs, single.probs)


def test_a_frozen_backbone_is_one_network_for_all_folds(trained):
    root = trained / "first"
    assert [path.name for path in (root / "embeddings" / "still").iterdir()] == ["frozen"]
    inputs = manifest(root, "cnn/fused/fold1")["inputs"]
    assert {"embeddings/still/frozen/train", "embeddings/a/fold1/train"} < inputs.keys()
    assert "embeddings/a/fold0/train" not in inputs


def test_trained_networks_are_fresh(trained):
    for name, stage in (("first", "predict"), ("second", "train")):
        before = {p: p.stat().st_mtime_ns for p in trained.rglob("_manifest.json")}
        result = run(trained, name, stage)
        assert result.returncode == 0
        assert "building" not in result.stderr
        assert {p: p.stat().st_mtime_ns for p in trained.rglob("_manifest.json")} == before


def test_the_second_round_trains_on_test_products_too(trained):
    facts = manifest(trained / "second", "pseudo/fold0-of-2")["facts"]
    assert facts["by_hash"] > 0
    assert facts["by_hash"] + facts["by_confidence"] > 5
    second = manifest(trained / "second", "cnn/a/fold0")
    assert "pseudo/fold0-of-2" in second["inputs"]
    first = manifest(trained / "first", "cnn/a/fold0")
    assert second["facts"]["images"] > first["facts"]["images"]
    assert second["config"]["loss_weight"] == 0.25
    assert "pseudo" not in " ".join(first["inputs"])


@pytest.fixture
def relabel(trained, tmp_path):
    """A function that computes the pseudo-labels of fold 0 after changing labels on disk."""

    def label(name: str, products: np.ndarray, *overrides: str) -> PseudoLabels:
        root = tmp_path / name
        root.mkdir()
        (root / "first").symlink_to(trained / "first")
        shutil.copytree(trained / "second" / "extract", root / "second" / "extract")
        change_labels(root / "second" / "extract" / "train" / "products.arrow", products)
        (root / "labels").mkdir()
        experiment = experiment_in(trained, "second", f"work={root}", *overrides)
        label_test_products(experiment, 2, "fold0", root / "labels")
        return PseudoLabels.load(root / "labels")

    return label


def change_labels(path: Path, products: np.ndarray) -> None:
    """Give these products of a products table the next class."""
    table = read_table(path)
    label = table["class_id"].to_numpy().copy()
    label[products] = (label[products] + 1) % NUM_CLASSES
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    write_table(path, columns | {"class_id": pa.array(label)})


def test_labels_of_a_fold_never_label_for_the_network_that_leaves_it_out(trained, relabel):
    experiment = experiment_in(trained, "second")
    fold = read_splits(experiment.path("extract/splits")).fold_of_product(2)
    hashes_alone = "pseudo_label.min_precision=0.999"
    own = relabel("own", np.flatnonzero(fold == 0), hashes_alone)
    other = relabel("other", np.flatnonzero(fold == 1), hashes_alone)
    real = PseudoLabels.load(experiment.path("pseudo/fold0-of-2"))
    by_hash = real.product[real.reason == BY_HASH]
    assert set(by_hash.tolist()) <= set(own.product.tolist())
    at = np.searchsorted(own.product, by_hash)
    np.testing.assert_array_equal(own.class_id[at], real.class_id[real.reason == BY_HASH])
    class_of = dict(zip(other.product.tolist(), other.class_id.tolist(), strict=True))
    assert any(
        class_of.get(p) != c
        for p, c in zip(own.product.tolist(), own.class_id.tolist(), strict=True)
    )


def test_labels_of_the_locked_part_label_nothing(trained, relabel):
    experiment = experiment_in(trained, "second")
    locked = read_splits(experiment.path("extract/splits")).products("locked")
    changed = relabel("locked", locked)
    real = PseudoLabels.load(experiment.path("pseudo/fold0-of-2"))
    np.testing.assert_array_equal(changed.product, real.product)
    np.testing.assert_array_equal(changed.class_id, real.class_id)


def test_new_products_leave_the_pseudo_labels_as_they_are(trained):
    target = predict_target(str(trained / "test.bson"))
    stages = declare_all(replace(experiment_in(trained, "second"), target=target))
    artifacts = [artifact for name in ("extract", "train") for artifact in stages[name]]
    states = status_all(artifacts)
    frozen = {a.path: states[a.path].state for a in artifacts if a.frozen}
    assert trained / "second" / "pseudo" / "fold0-of-2" in frozen
    assert set(frozen.values()) == {"fresh"}


def test_a_teacher_with_other_parts_or_folds_is_refused(trained):
    with pytest.raises(UserError, match="its seed, split or folds differ"):
        declare_all(experiment_in(trained, "second", "split.locked=0.3"))
    with pytest.raises(UserError, match="no image model there has n_folds = 4"):
        declare_all(experiment_in(trained, "second", "train.n_folds=4"))
