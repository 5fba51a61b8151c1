"""Which products train a network and which have a say in it; what a network depends on."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from lib.config.data import Sample
from lib.config.inputs.fusion import Fusion
from lib.config.model import Model
from lib.data.catalog import FIT, read_categories, read_splits
from lib.data.synthetic.catalog import generate
from lib.errors import UserError
from lib.pipeline.artifact import Artifact, ensure, status
from lib.pipeline.experiment import Experiment, load_experiment
from lib.pipeline.predict_target import PredictTarget
from lib.stages import extract
from lib.stages.order import build_stage, declare_all
from lib.stages.read import catalog_of_part
from lib.stages.review.labels import NAME, ReviewedLabels
from lib.stages.review.warm_start import with_warm_start
from lib.stages.train import add_test_labels, train_network, train_valid_products

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


def reviewed_experiment(experiment: Experiment, folder: Path, answers: list[str]) -> Experiment:
    """The same experiment with a table of answers, after the artifact of their labels."""
    path, work = folder / "reviewed.csv", folder / "work"
    path.write_text("\n".join(["product,class,name", *answers]) + "\n")
    shutil.copytree(experiment.folder, work / experiment.config.name)
    overrides = [f"work={work}", f"pseudo_label.reviewed={path}"]
    changed = load_experiment(experiment.folder.parent / "watched.toml", overrides)
    (labels,) = (a for a in declare_all(changed)["train"] if a.path == changed.path(NAME))
    ensure(labels, rebuild=False)
    return changed


def answer_all(experiment: Experiment) -> list[str]:
    """A class for every test product."""
    categories = read_categories(experiment.path("extract/categories"))
    test = catalog_of_part(experiment, "test")
    count = len(test.product_id)
    return [f"{test.key(row)},{categories.key(row % 4)},some name" for row in range(count)]


def test_networks_train_on_reviewed_products(experiment, tmp_path):
    answers = [*answer_all(experiment), "gone,,not in the list"]
    changed = reviewed_experiment(experiment, tmp_path, answers)
    labels = ReviewedLabels.load(changed.path(NAME))
    may_train = labels.for_network(2, "fold0")
    assert 0 < may_train.sum() < len(may_train) == 20
    catalog = catalog_of_part(changed, "train")
    model = changed.config.models["last"]
    both, products, weight = add_test_labels(changed, model, "fold0", catalog)
    start = len(catalog.product_id)
    assert (products == start + labels.product[may_train]).all()
    assert (both.label[products] == labels.product[may_train] % 4).all()
    assert set(weight) == {1}

    facts = {}
    for name, variant in (("without", experiment), ("with", changed)):
        (tmp_path / name).mkdir()
        facts[name] = train_network(variant, "last", "fold0", tmp_path / name)
    images = both.image_count[products].sum()
    assert facts["with"]["images"] == facts["without"]["images"] + images > 0
    networks = [a for a in declare_all(changed)["train"] if a.path.parent.parent.name == "cnn"]
    assert all(NAME in artifact.inputs for artifact in networks)
    # With --new, networks are fresh though the table is gone.
    Path(changed.config.pseudo_label.reviewed).unlink()
    new = replace(changed, target=PredictTarget(tmp_path / "new.bson", "bson", "new"))
    frozen = [a for a in declare_all(new)["train"] if a.path.parent.parent.name != "cnn"]
    assert all(artifact.frozen and status(artifact).fresh for artifact in frozen)
    assert new.path(NAME) in [artifact.path for artifact in frozen]


def test_no_network_trains_on_twins_of_what_it_is_scored_on(experiment, tmp_path):
    """A reviewed product whose image a product of the network's own fold, or a scored one, has."""
    changed = reviewed_experiment(experiment, tmp_path, answer_all(experiment))
    labels = ReviewedLabels.load(changed.path(NAME))
    train, test = (catalog_of_part(changed, side) for side in ("train", "test"))
    splits = read_splits(changed.path("extract/splits"))
    holders: dict[bytes, set[int]] = {}
    for image, product in enumerate(train.image_product.tolist()):
        holders.setdefault(train.md5[image].tobytes(), set()).add(product)
    shared = {"fold0": 0, "scored": 0}
    for place, product in enumerate(labels.product.tolist()):
        images = test.images_of(np.array([product]))
        twins = set().union(*(holders.get(test.md5[i].tobytes(), set()) for i in images.tolist()))
        folds = {int(splits.fold[twin]) for twin in twins if splits.part[twin] == FIT}
        if 0 in folds:
            shared["fold0"] += 1
            assert not labels.for_network(2, "fold0")[place]
        if any(splits.part[twin] != FIT for twin in twins):
            shared["scored"] += 1
            assert not labels.for_network(2, "full")[place]
            assert not labels.for_network(2, "fold1")[place]
    assert min(shared.values()) > 0


def test_a_network_starts_from_the_one_that_left_out_the_same_products(experiment, tmp_path):
    """Of one fold, of the same catalog, parts and folds; any other would tell what it has seen."""
    first = load_experiment(experiment.folder.parent / "watched.toml", [f"work={tmp_path}"])
    shutil.copytree(experiment.folder, first.folder)
    for network in ("cnn/last/fold1", "cnn/best/fold1"):
        ensure(artifacts_of(first)[network], rebuild=False)

    def start(name: str, network: str, *changes: str) -> Model:
        overrides = [f"work={tmp_path}", f"models.{name}.warm_start={first.folder}", *changes]
        second = load_experiment(experiment.folder.parent / "watched.toml", overrides)
        return with_warm_start(second, second.config.models[name], name, network)

    assert start("last", "fold1").weights == str(first.path("cnn/last/fold1") / "last.pt")
    assert start("best", "fold1").weights == str(first.path("cnn/best/fold1") / "best.pt")
    with pytest.raises(UserError, match="cnn/last/fold0 is missing there; finish that run first"):
        start("last", "fold0")
    with pytest.raises(UserError, match="its n_folds is 2, here 1"):
        start("last", "fold1", "models.last.n_folds=1", "models.fused.n_folds=1")
    with pytest.raises(UserError, match=r"models\.last\.warm_start = .*: its checkpoint is None"):
        start("last", "fold1", "models.last.checkpoint=best")
    with pytest.raises(UserError, match="its seed is 0, here 5"):
        start("best", "fold1", "models.best.seed=5")

    other = replace(first, config=replace(first.config, name="other", seed=9))
    for name in ("extract/train", "extract/categories"):
        shutil.copytree(first.path(name), other.path(name))
    model = replace(first.config.models["last"], warm_start=str(first.folder))
    ensure(replace(artifacts_of(other)["extract/splits"], inputs={}), rebuild=False)
    with pytest.raises(UserError, match="its parts or folds differ, so that scores"):
        with_warm_start(other, model, "last", "fold1")


def artifacts_of(experiment: Experiment) -> dict[str, Artifact]:
    return {
        str(a.path.relative_to(experiment.folder)): a
        for stage in declare_all(experiment).values()
        for a in stage
    }


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (["1,no such class,x"], "line 2: no such class is no class of the catalog"),
        (["none,{class},x"], "none of its 1 products is one of data.test"),
        (["1,{class},x", "1,{other},x"], "line 3: 1 has two classes"),
    ],
)
def test_a_wrong_table_of_answers_is_one_line(experiment, tmp_path, answers, message):
    categories = read_categories(experiment.path("extract/categories"))
    names = {"class": categories.key(0), "other": categories.key(1)}
    with pytest.raises(UserError, match=message):
        reviewed_experiment(experiment, tmp_path, [line.format(**names) for line in answers])


def test_a_table_of_answers_needs_products_to_classify(experiment):
    config = experiment.folder.parent / "watched.toml"
    with pytest.raises(UserError, match=r"data\.test is empty"):
        load_experiment(config, ["pseudo_label.reviewed=answers.csv", "data.test=''"])
