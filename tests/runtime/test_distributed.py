"""Two processes that train together, as torchrun starts them, against one that trains alone.

This module as a script trains all LESSONS and NORMS in both; the tests look at what that has left.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib.config.load import load
from lib.config.model import Augment, Fusion, Loss, LRSchedule, Model, Sampling, WeightAveraging
from lib.config.schema import Run
from lib.data.catalog import read_catalog
from lib.data.image_reader import ImageReader
from lib.errors import UserError
from lib.inference.topk import TopK
from lib.models import factory, fusion
from lib.pipeline.artifact import status
from lib.pipeline.experiment import Experiment
from lib.pipeline.manifest import read_manifest
from lib.runtime import distributed
from lib.runtime.distributed import ProcessGroup
from lib.stages import extract, predict
from lib.stages.order import build_stage, declare_all
from lib.training import trainer as training
from lib.training.dataset import TrainingSet
from lib.training.embedding_loader import EmbeddingLoader
from lib.training.loader import ImageLoader, of_ranks, pieces
from tests.conftest import ROOT

CLASSES, PRODUCTS = 3, 60
TRAIN, VALID = np.arange(0, 42), np.arange(42, PRODUCTS)
HEAVY = np.linspace(0.5, 1.5, PRODUCTS)  # weights of the rows

JOINED = Model(
    input="embedding",
    fusion=Fusion(inputs=("a",), hidden_sizes=(12, 8), dropout=0.0),
    head_only_epochs=1,
    epochs=2,
    batch_size=9,
    lr=0.05,
)
SEEN = Model(
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
SMALL = replace(SEEN, arch="small", head_only_epochs=1, lr=0.02)
HARD = Sampling(class_balance=0.5, hard_example_weight=3.0)

# Batches and pieces that two cannot share evenly; pieces of one row, which both work on.
LESSONS = {
    "sgd": replace(JOINED, grad_accum_steps=3),
    "adamw": replace(
        JOINED,
        optimizer="adamw",
        lr=0.005,
        sampling=HARD,
        weight_average=WeightAveraging("ema", 0.9),
    ),
    "single": replace(
        JOINED,
        head_only_epochs=0,
        batch_size=3,
        grad_accum_steps=3,
        sampling=HARD,
        lr_schedule=LRSchedule("plateau"),
    ),
    "pictures": SEEN,
    "stopped": replace(
        SEEN, unfreeze_schedule=(6, 3), grad_accum_steps=2, optimizer="adamw", lr=0.0005
    ),
}
NORMS = {
    "norms": replace(
        SMALL, weight_average=WeightAveraging("swa", swa_start=0.0), loss=Loss(mixup_alpha=0.4)
    ),
    "norms_wide": replace(SEEN, arch="timm/test_convnext", head="wide", epochs=1),
    "norms_stopped": replace(
        SMALL, weight_average=WeightAveraging("ema", 0.9), unfreeze_schedule=(4, 1), sampling=HARD
    ),
}


class Stop(Exception):
    """Stands for a kill in the middle of a step."""


def lesson_of(model, reader):
    """Three colours, or three clouds of embeddings, by model."""
    labels = (np.arange(PRODUCTS) % CLASSES).astype(np.int16)
    given = {"labels": labels, "product": np.arange(PRODUCTS), "train_rows": TRAIN}
    given |= {"valid_rows": VALID, "classes": CLASSES, "weights": HEAVY}
    if model.input == "image":
        feed = ImageLoader(reader, model)
        build = lambda weights: factory.create_from_config(model, CLASSES, weights)  # noqa: E731
        return TrainingSet(feed, build, **given)
    rng = np.random.default_rng(5)
    count = rng.integers(1, 7, PRODUCTS)
    owner = np.repeat(np.arange(PRODUCTS), count)
    cloud = rng.normal(size=(CLASSES, 6))[labels[owner]] + rng.normal(size=(len(owner), 6))
    feed = EmbeddingLoader([cloud.astype(np.float16)], np.cumsum(count) - count, count)
    build = lambda _: fusion.build(model.fusion, CLASSES, feed, TRAIN)  # noqa: E731
    return TrainingSet(feed, build, **given)


def learn(base, name, reader, model=None):
    model = model or (LESSONS | NORMS)[name]
    (base / name).mkdir(exist_ok=True)
    return training.train(base / name, model, lesson_of(model, reader), 1, Run(device="cpu"))


def often_saved():
    training.SEGMENT_STEPS, training.SAVE_SECONDS = 2, -1.0


def main(catalogue: Path, base: Path) -> None:
    """In each rank: train all, resume some, and be told of a loss that is no number."""
    often_saved()
    whole, leave = training._Training._step, training._Training._finish

    def finish(self):
        leave(self)
        torch.save(self.net.state_dict(), self.folder / f"of_rank{self.ranks.rank}.pt")

    training._Training._finish = finish
    with (
        ImageReader(read_catalog(catalogue, catalogue / "train.bson"), SEEN.resize, 1) as reader,
        distributed.joined(Run(device="cpu")) as own,
    ):
        for name in (*LESSONS, *NORMS):
            facts = learn(base, name, reader)
            assert bool(facts) == own.first
            if not name.endswith("stopped"):
                continue
            taken = iter(range(100))

            def stopping(self, *arguments, taken=taken):
                if next(taken) == 5:
                    raise Stop
                return whole(self, *arguments)

            training._Training._step = stopping
            with pytest.raises(Stop):
                learn(base, f"{name}_twice", reader, (LESSONS | NORMS)[name])
            training._Training._step = whole
            learn(base, f"{name}_twice", reader, (LESSONS | NORMS)[name])
        spoil = float("nan") if own.rank == 1 else 1.0
        training._Training._step = lambda self, *a: whole(self, *a) * spoil
        with pytest.raises(UserError) as told:
            learn(base, "spoilt", reader, JOINED)
        (base / f"told{own.rank}").write_text(str(told.value))


def start(command, **environment):
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def together(known, tmp_path_factory):
    """What two ranks have left; read only."""
    folder = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    command = ["-m", "tests.runtime.test_distributed", str(known.path.parent), str(folder)]
    both = [start(command, **meeting, RANK=rank, LOCAL_RANK=rank) for rank in "01"]
    try:
        for one in both:
            said = one.communicate()[1]
            assert one.returncode == 0, said
    finally:
        for one in both:
            one.kill()
    return folder


@pytest.fixture
def frequent(monkeypatch):
    for name in ("SEGMENT_STEPS", "SAVE_SECONDS"):
        monkeypatch.setattr(training, name, getattr(training, name))
    often_saved()


def state_of(folder, name="last.pt"):
    saved = torch.load(folder / name, weights_only=True)
    return saved.get("model", saved)


def history(folder):
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", LESSONS)
def test_two_processes_end_as_one(together, tmp_path, known, frequent, name):
    with ImageReader(known, SEEN.resize, 1) as reader:
        learn(tmp_path, name, reader)
    one, two = state_of(tmp_path / name), state_of(together / name)
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-4, atol=2e-6, err_msg=key)
    for alone, shared in zip(history(tmp_path / name), history(together / name), strict=True):
        assert alone.keys() == shared.keys()
        assert shared["valid_accuracy"] == pytest.approx(alone["valid_accuracy"], abs=1e-9)
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert shared["accuracy"] == pytest.approx(alone["accuracy"], abs=1e-6)
        assert shared["valid_loss"] == pytest.approx(alone["valid_loss"], rel=1e-4)


@pytest.mark.parametrize("name", ["sgd", "pictures"])
def test_what_is_compared_has_been_trained(together, name):
    losses = [line["loss"] for line in history(together / name)]
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("name", [*LESSONS, *NORMS])
def test_every_rank_holds_the_same_network(together, name):
    """Batch norms' own numbers too, which each measures on its part."""
    one, other = (state_of(together / name, f"of_rank{rank}.pt") for rank in (0, 1))
    for key in one:
        assert torch.equal(one[key], other[key]), key
    assert torch.isfinite(torch.cat([v.float().ravel() for v in one.values()])).all()


@pytest.mark.parametrize("name", ["stopped", "norms_stopped"])
def test_a_stopped_run_of_two_ends_as_if_it_had_not_been(together, name):
    one, other = (state_of(together / folder) for folder in (name, f"{name}_twice"))
    for key in one:
        assert torch.equal(one[key], other[key]), key
    assert history(together / name) == history(together / f"{name}_twice")


def test_a_loss_that_is_no_number_in_one_stops_both(together):
    told = [(together / f"told{rank}").read_text() for rank in (0, 1)]
    assert told[0] == told[1]
    assert "the loss is nan in epoch 1" in told[0]


@given(st.integers(1, 9), st.integers(1, 40))
def test_parts_hold_every_row_and_weigh_what_they_hold(world, count):
    all_of_them = [ProcessGroup(rank, world) for rank in range(world)]
    parts = [np.arange(count)[own.part(count)] for own in all_of_them]
    values = np.random.default_rng(count).normal(size=count)
    if count >= world:
        assert np.array_equal(np.concatenate(parts), np.arange(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    means = [
        values[part].mean() * own.weight(count)
        for own, part in zip(all_of_them, parts, strict=True)
    ]
    assert np.mean(means) == pytest.approx(values.mean())


@pytest.mark.parametrize("size", [2, 5, 13, 50])
def test_parts_of_altered_pictures_are_those_of_one_process(known, size):
    """42 pictures, so that the last piece is a short one, in three ranks."""
    rows = np.random.default_rng(0).permutation(TRAIN)
    with ImageReader(known, SEEN.resize, 2) as reader:
        feed = ImageLoader(reader, SEEN)
        whole = list(feed.altered(rows, size, np.random.SeedSequence(3), 0, 2))
        for own in (ProcessGroup(rank, 3) for rank in range(3)):
            seeds = np.random.SeedSequence(3)
            found = list(pieces(of_ranks(feed, own), own, rows, size, seeds, 0, 2))
            for (some, pictures), piece in zip(whole, found, strict=True):
                part = own.part(len(some))
                assert np.array_equal(piece.rows, some[part])
                assert np.array_equal(piece.inputs, pictures[part])
                assert np.array_equal(rows[piece.place], piece.rows)


def test_a_process_alone_is_alone():
    own = distributed.here()
    assert own == ProcessGroup(0, 1)
    assert own.first
    net = nn.BatchNorm1d(2)
    assert own.wrap(net) is net
    assert own.said("this") == "this"


@pytest.mark.parametrize("name", ["small", "timm/test_efficientnet"])
def test_batch_norms_become_those_of_all_ranks_where_they_are(monkeypatch, name):
    """Synchronised ones only train on a GPU: here, that they score alike and are all found."""
    net = factory.create_model(name, 3, "none").eval()
    pictures = net.normalise(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    before, wanted = net.state_dict().keys(), net(pictures)
    ProcessGroup(0, 2).norms_of_all(net)  # on a CPU: nothing
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in net.modules())
    monkeypatch.setattr(nn.Parameter, "is_cuda", True)
    ProcessGroup(0, 2).norms_of_all(net)
    monkeypatch.undo()
    listed = [module for unit in net.units for one in unit for module in one.modules()]
    norms = [m for m in listed if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert net.state_dict().keys() == before
    torch.testing.assert_close(net(pictures), wanted)


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


def test_torchrun_starts_the_scripts(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    experiment = Experiment(load(tmp_path / "tiny.toml", [f"work={tmp_path}"]))
    build_stage(extract, experiment, rebuild=False)
    torchrun(tmp_path, "02_train_cnn.py", "train: 2 built, 0 fresh")
    for artifact in declare_all(experiment)["train"]:
        assert status(artifact).state == "fresh"
        manifest = read_manifest(artifact.path)
        assert manifest is not None
        assert manifest["facts"]["epochs"] == 1
    torchrun(tmp_path, "03_predict_tta.py", "predict: 3 built, 0 fresh")
    assert not list(tmp_path.rglob("*.partial"))
    shared = tmp_path / "tiny" / "predictions"
    shared.rename(tmp_path / "shared")
    build_stage(predict, experiment, rebuild=False)
    for part in ("fit", "locked", "test"):
        one, two = (TopK.load(path / "a" / part) for path in (shared, tmp_path / "shared"))
        assert len(one.image) > 20
        np.testing.assert_array_equal(two.image, one.image)
        np.testing.assert_array_equal(two.classes, one.classes)
        np.testing.assert_allclose(two.probs, one.probs, atol=1e-3)


def torchrun(folder, script, told):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    given = [script, "--config", str(folder / "tiny.toml"), "--set", f"work={folder}"]
    process = start([*launcher, *given])
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert said.count(told) == 1, said
    assert said.count("built in") == int(told.split()[1]), said


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
