from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.config import Fusion, Model, Predict, Run
from lib.errors import UserError
from lib.topk import read
from lib.vision import predict_fused as predicting
from lib.vision.embedding_feed import EmbeddingFeed
from lib.vision.fusion import FusedNetwork
from lib.vision.predict_fused import load, predict_fused

COUNTS = np.array([1, 4, 2, 0, 6, 1, 3, 1])
FIRST = np.cumsum(COUNTS) - COUNTS
OWNER = np.repeat(np.arange(len(COUNTS)), COUNTS).astype(np.int32)
ROWS = np.array([0, 1, 2, 4, 5, 7, 9, 12, 13, 15, 17])  # not all pictures of each product
CLASSES = 5
MODEL = Model(kind="fusion", fusion=Fusion(of=("a",), hidden=(7,)))
CPU = torch.device("cpu")


@pytest.fixture
def checkpoints(tmp_path):
    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = FusedNetwork(MODEL.fusion, 6, CLASSES)
        with torch.no_grad():
            net.head.weight.mul_(9)
        paths.append(tmp_path / f"net{seed}.pt")
        torch.save({"network": "-", "classes": CLASSES, "model": net.state_dict()}, paths[-1])
    return paths


@pytest.fixture
def feeds():
    rng = np.random.default_rng(0)
    sources = [rng.normal(size=(len(OWNER), 6)).astype(np.float16) for _ in range(2)]
    return [EmbeddingFeed([source], FIRST, COUNTS) for source in sources]


def run(folder, checkpoints, feeds, nets=None, rows=ROWS, plain=True, batch=2, **settings):
    folder.mkdir(exist_ok=True)
    settings = Predict(**({"top_k": 3, "shard": 4} | settings))
    run = Run(predict_batch=batch)
    return predict_fused(folder, MODEL, settings, checkpoints, nets, feeds, OWNER, rows, run, plain)


def dense(checkpoint, feed):
    """Probabilities [n, CLASSES] of ROWS, one product at a time."""
    net = load(checkpoint, MODEL, 6, CPU)
    found = []
    for row in ROWS:
        _, seen = next(feed.plain(OWNER[row : row + 1], 1))
        with torch.inference_mode():
            found.append(net(net.normalise(torch.from_numpy(seen))).softmax(1)[0].numpy())
    return np.array(found)


def assert_top(topk, probs):
    order = np.argsort(-probs, axis=1)[:, :3]
    np.testing.assert_array_equal(topk.image, ROWS)
    np.testing.assert_array_equal(topk.classes, order)
    np.testing.assert_allclose(topk.probs, np.take_along_axis(probs, order, 1), atol=1e-3)
    np.testing.assert_allclose(topk.rest, 1 - topk.probs.sum(1), atol=2e-3)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_each_picture_has_its_products_mean_over_the_networks(tmp_path, checkpoints, feeds, mean):
    assert run(tmp_path / "out", checkpoints, feeds, mean=mean) == {"images": len(ROWS)}
    each = [dense(c, f) for c, f in zip(checkpoints, feeds, strict=True)]
    expected = sum(each) / 2
    if mean == "geometric":
        expected = np.sqrt(each[0] * each[1])
        expected /= expected.sum(1, keepdims=True)
    assert np.abs(expected - each[0]).max() > 0.05
    for prefix in ("top", "plain"):
        assert_top(read(tmp_path / "out", prefix), expected)


def test_out_of_fold_products_are_scored_by_their_own_network(tmp_path, checkpoints, feeds):
    own = np.array([1, 0, 1, 0, 0, 0, 1, 1], np.int8)[OWNER[ROWS]]
    run(tmp_path / "out", checkpoints, feeds, own)
    each = [dense(c, f) for c, f in zip(checkpoints, feeds, strict=True)]
    assert_top(read(tmp_path / "out"), np.where(own[:, None] == 0, *each))


def test_a_row_without_a_network_is_refused(tmp_path, checkpoints, feeds):
    with pytest.raises(ValueError, match="not there"):
        run(tmp_path / "out", checkpoints, feeds, np.full(len(ROWS), -1, np.int8))


@pytest.mark.parametrize("shard", [1, 3, 100])
def test_the_sizes_of_shards_and_batches_change_nothing(tmp_path, checkpoints, feeds, shard):
    run(tmp_path / "one", checkpoints, feeds)
    run(tmp_path / "other", checkpoints, feeds, shard=shard, batch=100)
    one, other = read(tmp_path / "one"), read(tmp_path / "other")
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_allclose(one.probs, other.probs, atol=1e-3)
    wanted = ["image.npy"] + [
        f"{p}_{a}.npy" for p in ("plain", "top") for a in ("class", "prob", "rest")
    ]
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == wanted


def test_a_stopped_run_goes_on_from_its_last_shard(tmp_path, checkpoints, feeds, monkeypatch):
    run(tmp_path / "whole", checkpoints, feeds)
    shard, asked = predicting._Scorer.shard, []

    def counted(self, owner, nets):
        asked.append(owner.tolist())
        if len(asked) == 2:
            raise KeyboardInterrupt
        return shard(self, owner, nets)

    monkeypatch.setattr(predicting._Scorer, "shard", counted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", checkpoints, feeds)
    run(tmp_path / "stopped", checkpoints, feeds)
    pieces = [OWNER[ROWS[i : i + 4]].tolist() for i in (0, 4, 8)]
    assert asked == [pieces[0], pieces[1], pieces[1], pieces[2]]
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "stopped" / path.name).read_bytes(), path.name


def test_without_plain_only_the_mean_is_written(tmp_path, checkpoints, feeds):
    run(tmp_path / "out", checkpoints, feeds, plain=False)
    assert not list((tmp_path / "out").glob("plain*"))


def test_fewer_classes_than_k(tmp_path, checkpoints, feeds):
    run(tmp_path / "out", checkpoints, feeds, top_k=20)
    top = read(tmp_path / "out")
    assert (np.sort(top.classes, 1) == np.arange(CLASSES)).all()
    np.testing.assert_allclose(top.rest, 0, atol=1e-3)


def test_no_rows_give_empty_arrays(tmp_path, checkpoints, feeds):
    assert run(tmp_path / "out", checkpoints, feeds, rows=ROWS[:0])["images"] == 0
    assert read(tmp_path / "out").classes.shape == (0, 3)


def test_bad_checkpoints_are_named(tmp_path, checkpoints):
    with pytest.raises(UserError, match="no such checkpoint"):
        load(tmp_path / "absent.pt", MODEL, 6, CPU)
    other = replace(MODEL, fusion=replace(MODEL.fusion, hidden=(8,)))
    for model, width in ((other, 6), (MODEL, 7)):
        with pytest.raises(UserError, match="another fusion than the config says"):
            load(checkpoints[0], model, width, CPU)
    checkpoints[0].write_bytes(checkpoints[0].read_bytes()[:1000])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load(checkpoints[0], MODEL, 6, CPU)
