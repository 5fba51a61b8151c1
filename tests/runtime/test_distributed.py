"""Two processes that train together, with the environment of torchrun, against a single process.

`main` trains all CONFIGS and BATCH_NORM_CONFIGS in both processes. The tests look at the files that
it writes. One test runs the scripts under torchrun itself.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib.config.inputs.fusion import Fusion
from lib.config.model import Aspect, Augment, Loss, LRSchedule, Model, Sampling, WeightAveraging
from lib.config.schema import Run
from lib.data.aspect.clusters import BatchShape
from lib.data.catalog import read_catalog
from lib.data.image_reader import ImageReader
from lib.errors import UserError
from lib.inference.topk import TopK
from lib.models import factory
from lib.models.fusion import create_fusion_model
from lib.pipeline.artifact import status
from lib.pipeline.experiment import load_experiment
from lib.pipeline.manifest import read_manifest
from lib.runtime import distributed
from lib.runtime.distributed import ProcessGroup
from lib.stages import extract, predict
from lib.stages.order import build_stage, declare_all
from lib.training import schedule, state
from lib.training.dataset import TrainingSet
from lib.training.loaders.embedding_loader import EmbeddingLoader, embedding_mean_std
from lib.training.loaders.image_loader import ImageLoader
from lib.training.trainer import train_model
from tests import scripts
from tests.conftest import ROOT
from tests.image_catalog import clustered_reader
from tests.training.training_runs import Stop, stop_after

CLASSES, PRODUCTS = 3, 60
TRAIN, VALID = np.arange(0, 42), np.arange(42, PRODUCTS)
ROW_WEIGHTS = np.linspace(0.5, 1.5, PRODUCTS)  # weights of the rows

FUSION = Model(
    input="embedding",
    fusion=Fusion(inputs=("a",), hidden_sizes=(12, 8), dropout=0.0),
    head_only_epochs=1,
    epochs=2,
    batch_size=9,
    lr=0.05,
)
IMAGES = Model(
    arch="squeezenet1_1",  # without batch norms or dropout
    weights="none",
    resize=(40, 38),
    crop=(36, 32),
    augment=Augment(max_rotation=20.0, erase_prob=0.5, contrast=0.3),
    head_only_epochs=0,
    epochs=2,
    batch_size=11,
    lr=0.002,
)
SMALL = replace(IMAGES, arch="small", head_only_epochs=1, lr=0.02)
SHAPES = tuple(
    BatchShape(size, (size[0] - 4, size[1] - 4)) for size in ((64, 36), (40, 40), (36, 64))
)
HARD = Sampling(class_balance=0.5, hard_example_weight=3.0)

# Two ranks cannot share these batches and micro-batches evenly. Both work on a single row.
CONFIGS = {
    "sgd": replace(FUSION, grad_accum_steps=3),
    "adamw": replace(
        FUSION,
        optimizer="adamw",
        lr=0.005,
        sampling=HARD,
        weight_average=WeightAveraging("ema", 0.9),
    ),
    "single": replace(
        FUSION,
        head_only_epochs=0,
        batch_size=3,
        grad_accum_steps=3,
        sampling=HARD,
        lr_schedule=LRSchedule("plateau"),
    ),
    "pictures": IMAGES,
    "clusters": replace(IMAGES, aspect=Aspect(3), sampling=HARD),
    # SGD, as its step is linear in the gradient. AdamW divides a gradient near zero by its own
    # size, so that the rounding of two sums of shards visibly moves a weight of a deep network.
    "unfreeze": replace(IMAGES, unfreeze_schedule=(6, 3), grad_accum_steps=2),
}
BATCH_NORM_CONFIGS = {
    "norms": replace(
        SMALL, weight_average=WeightAveraging("swa", swa_start=0.0), loss=Loss(mixup_alpha=0.4)
    ),
    "norms_wide": replace(IMAGES, arch="timm/test_convnext", head="wide", epochs=1),
    "norms_unfreeze": replace(
        SMALL, weight_average=WeightAveraging("ema", 0.9), unfreeze_schedule=(4, 1), sampling=HARD
    ),
}
INTERRUPTED = ("adamw", "unfreeze", "norms_unfreeze")


def training_set_of(cfg, reader):
    """Images of three colors, or three clouds of embeddings."""
    labels = (np.arange(PRODUCTS) % CLASSES).astype(np.int16)
    rows = {"product": np.arange(PRODUCTS), "train_rows": TRAIN, "valid_rows": VALID}
    if cfg.aspect.num_clusters:
        reader = clustered_reader(reader, SHAPES)
        rows["cluster"] = reader.cluster
    if cfg.input == "image":
        loader = ImageLoader(reader, cfg)
        build = partial(factory.create_from_config, cfg, CLASSES)
    else:
        loader = embedding_loader(labels)
        mean_std = embedding_mean_std(loader, TRAIN)
        build = lambda _: create_fusion_model(cfg.fusion, CLASSES, *mean_std)  # noqa: E731
    return TrainingSet(loader, build, labels, num_classes=CLASSES, weights=ROW_WEIGHTS, **rows)


def embedding_loader(labels):
    rng = np.random.default_rng(5)
    count = rng.integers(1, 7, PRODUCTS)
    product = np.repeat(np.arange(PRODUCTS), count)
    center = rng.normal(size=(CLASSES, 6))
    cloud = center[labels[product]] + rng.normal(size=(len(product), 6))
    return EmbeddingLoader([cloud.astype(np.float16)], np.cumsum(count) - count, count)


def train(base, name, reader, cfg=None, on_step=None):
    cfg, folder = cfg or (CONFIGS | BATCH_NORM_CONFIGS)[name], base / name
    folder.mkdir(exist_ok=True)
    data = training_set_of(cfg, reader)
    return train_model(folder, cfg, data, 1, Run(device="cpu"), on_step)


def save_often():
    schedule.CHUNK_STEPS, state.SAVE_SECONDS = 2, -1.0


def main(catalog_folder: Path, base: Path, environment: dict[str, str]) -> int:
    """In each rank: train all, resume some, and fail at a loss that is not finite."""
    os.environ.update(environment)
    save_often()
    catalog = read_catalog(catalog_folder, catalog_folder / "train.bson")
    with (
        ImageReader(catalog, IMAGES.resize, 1) as reader,
        distributed.init_process_group(Run(device="cpu")) as group,
    ):
        for name in (*CONFIGS, *BATCH_NORM_CONFIGS):
            models = []
            facts = train(base, name, reader, on_step=lambda state, _, m=models: m.append(state))
            assert bool(facts) == group.is_primary
            weights = models[-1].model.state_dict()
            torch.save(weights, base / name / f"of_rank{group.rank}.pt")
            if name in INTERRUPTED:
                cfg = (CONFIGS | BATCH_NORM_CONFIGS)[name]
                with pytest.raises(Stop):
                    train(base, f"{name}_twice", reader, cfg, stop_after(6))
                train(base, f"{name}_twice", reader, cfg)

        def poison(state, step):
            if group.rank == 1:
                state.model.head.bias.detach().fill_(float("nan"))

        with pytest.raises(UserError) as caught:
            train(base, "not_finite", reader, FUSION, poison)
        (base / f"error{group.rank}").write_text(str(caught.value))
    return 0


@pytest.fixture(scope="module")
def two_ranks(catalog, tmp_path_factory):
    """The folder in which two ranks have trained; read only."""
    folder = tmp_path_factory.mktemp("two_ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    both = []
    for rank in "01":
        outputs = [folder / f"{name}{rank}" for name in ("stdout", "stderr")]
        environment = meeting | {"RANK": rank, "LOCAL_RANK": rank}
        both.append(scripts.fork(outputs, main, catalog.path.parent, folder, environment))
    try:
        for rank, one in enumerate(both):
            one.join()
            assert one.exitcode == 0, (folder / f"stderr{rank}").read_text()
    finally:
        for one in both:
            one.kill()
    return folder


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(schedule, "CHUNK_STEPS", 2)
    monkeypatch.setattr(state, "SAVE_SECONDS", -1.0)


def state_of(folder, name="last.pt"):
    saved = torch.load(folder / name, weights_only=True)
    return saved.get("model", saved)


def history(folder):
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", CONFIGS)
def test_two_ranks_train_the_model_of_a_single_process(
    two_ranks, tmp_path, catalog, short_chunks, name
):
    with ImageReader(catalog, IMAGES.resize, 1) as reader:
        train(tmp_path, name, reader)
    one, two = state_of(tmp_path / name), state_of(two_ranks / name)
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-4, atol=2e-6, err_msg=key)
    for alone, shared in zip(history(tmp_path / name), history(two_ranks / name), strict=True):
        assert alone.keys() == shared.keys()
        assert shared["valid_accuracy"] == pytest.approx(alone["valid_accuracy"], abs=1e-9)
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert shared["accuracy"] == pytest.approx(alone["accuracy"], abs=1e-6)
        assert shared["valid_loss"] == pytest.approx(alone["valid_loss"], rel=1e-4)


@pytest.mark.parametrize("name", ["sgd", "pictures"])
def test_the_compared_models_have_been_trained(two_ranks, name):
    losses = [line["loss"] for line in history(two_ranks / name)]
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("name", [*CONFIGS, *BATCH_NORM_CONFIGS])
def test_every_rank_has_the_same_weights(two_ranks, name):
    """Also the statistics of batch norms, which each rank measures on its shards."""
    one, other = (state_of(two_ranks / name, f"of_rank{rank}.pt") for rank in (0, 1))
    for key in one:
        assert torch.equal(one[key], other[key]), key
    assert torch.isfinite(torch.cat([v.float().ravel() for v in one.values()])).all()


@pytest.mark.parametrize("name", INTERRUPTED)
def test_a_stopped_run_of_two_ranks_resumes_to_the_last_bit(two_ranks, name):
    one, other = (state_of(two_ranks / folder) for folder in (name, f"{name}_twice"))
    for key in one:
        assert torch.equal(one[key], other[key]), key
    assert history(two_ranks / name) == history(two_ranks / f"{name}_twice")


def test_a_loss_that_is_not_finite_in_one_rank_stops_both(two_ranks):
    errors = [(two_ranks / f"error{rank}").read_text() for rank in (0, 1)]
    assert errors[0] == errors[1]
    assert "the loss is nan in epoch 1" in errors[0]


@given(st.integers(1, 9), st.integers(1, 40))
def test_shards_hold_every_row_once_and_their_weighted_means_are_the_mean(world, count):
    groups = [ProcessGroup(rank, world) for rank in range(world)]
    parts = [np.arange(count)[group.shard(count)] for group in groups]
    values = np.random.default_rng(count).normal(size=count)
    if count >= world:
        assert np.array_equal(np.concatenate(parts), np.arange(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    means = [
        values[part].mean() * group.shard_weight(count)
        for group, part in zip(groups, parts, strict=True)
    ]
    assert np.mean(means) == pytest.approx(values.mean())


def test_a_single_process_shares_nothing():
    group = distributed.current()
    assert group == ProcessGroup(0, 1)
    assert group.is_primary
    net = nn.BatchNorm1d(2)
    assert group.wrap_ddp(net) is net
    assert group.broadcast("value") == "value"
    np.testing.assert_array_equal(group.all_reduce_mean(np.arange(3.0)), np.arange(3.0))
    np.testing.assert_array_equal(group.all_reduce_max(np.arange(3.0)), np.arange(3.0))


@pytest.mark.parametrize("name", ["small", "timm/test_efficientnet"])
def test_batch_norms_are_synchronised_on_a_gpu_alone(monkeypatch, name):
    """They only train on a GPU. Here: all are converted, and the model predicts the same."""
    net = factory.create_model(name, 3, "none").eval()
    images = net.normalise(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    keys, logits = net.state_dict().keys(), net(images)
    ProcessGroup(0, 2).sync_bn(net)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in net.modules())
    monkeypatch.setattr(nn.Parameter, "is_cuda", True)
    ProcessGroup(0, 2).sync_bn(net)
    monkeypatch.undo()
    modules = [module for unit in net.units for part in unit for module in part.modules()]
    norms = [m for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert net.state_dict().keys() == keys
    torch.testing.assert_close(net(images), logits)


TINY = """
name = "tiny"
[data]
source = "sample"
[sample]
train_products = 120
test_products = 20
num_classes = 4
image_size = 32
[split]
locked = 0.2
n_folds = 2
[train]
arch = "small"
weights = "none"
resize = [32, 32]
crop = [28, 28]
head_only_epochs = 0
epochs = 1
n_folds = 2
batch_size = 16
[models.a]
"""


def test_torchrun_runs_the_scripts_on_two_ranks(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    experiment = load_experiment(tmp_path / "tiny.toml", [f"work={tmp_path}"])
    build_stage(extract, experiment, False)
    torchrun(tmp_path, "02_train_cnn.py", "train: 2 built, 0 fresh")
    for artifact in declare_all(experiment)["train"]:
        assert status(artifact).state == "fresh"
        manifest = read_manifest(artifact.path)
        assert manifest is not None
        assert manifest["facts"]["epochs"] == 1
    torchrun(tmp_path, "03_predict_tta.py", "predict: 3 built, 0 fresh")
    assert not list(tmp_path.rglob("*.partial"))
    of_two_ranks = tmp_path / "tiny" / "predictions"
    of_two_ranks.rename(tmp_path / "two_ranks")
    build_stage(predict, experiment, False)
    for part in ("fit", "locked", "test"):
        one, two = (TopK.load(path / "a" / part) for path in (of_two_ranks, tmp_path / "two_ranks"))
        assert len(one.image) > 20
        np.testing.assert_array_equal(two.image, one.image)
        np.testing.assert_array_equal(two.classes, one.classes)
        np.testing.assert_allclose(two.probs, one.probs, atol=1e-3)


def torchrun(folder, script, summary):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [script, "--config", str(folder / "tiny.toml"), "--set", f"work={folder}"]
    process = subprocess.run(
        [sys.executable, *launcher, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    log = process.stderr
    assert process.returncode == 0, log
    assert log.count(summary) == 1, log
    assert log.count("built in") == int(summary.split()[1]), log
