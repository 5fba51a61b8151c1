import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.schema import Fusion, Loss, Model, Run, WeightAveraging
from lib.errors import UserError
from lib.models import fusion
from lib.models.fusion import FusionModel
from lib.training import trainer as training
from lib.training.dataset import TrainingSet
from lib.training.embedding_loader import EmbeddingLoader
from lib.training.losses import mixed

SMALL = Fusion(inputs=("a", "b"), hidden_sizes=(12, 8), dropout=0.2)
PRODUCTS, CLASSES = 120, 4
TRAIN, VALID = np.arange(0, 80), np.arange(80, 120)


class Stop(Exception):
    """Stands for a kill in the middle of a step."""


def network(settings=SMALL, width=6, seed=0):
    torch.manual_seed(seed)
    net = FusionModel(settings, width, CLASSES).eval()
    net.mean.copy_(torch.linspace(-1, 1, width))
    net.std.copy_(torch.linspace(0.5, 2, width))
    return net


def seen_of(counts, width=6, views=4, seed=1):
    rng = np.random.default_rng(seed)
    seen = np.full((len(counts), views, width), np.nan, np.float16)
    for shown, count in zip(seen, counts, strict=True):
        shown[:count] = rng.normal(size=(count, width))
    return torch.from_numpy(seen)


def answers(net, seen):
    with torch.inference_mode():
        return net(net.normalise(seen)).numpy()


def by_definition(net, seen, join):
    """Logits picture by picture, those that are there alone."""
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    found = []
    for shown in seen.numpy().astype(np.float32):
        joined = []
        for picture in shown[~np.isnan(shown[:, 0])]:
            value = (picture - state["mean"]) / state["std"]
            if net.body.gate is not None:
                inner = state["body.gate.0.weight"] @ value + state["body.gate.0.bias"]
                outer = state["body.gate.2.weight"] @ np.maximum(inner, 0)
                value = value / (1 + np.exp(-outer - state["body.gate.2.bias"]))
            joined.append(value)
        value = np.zeros(len(state["mean"]), np.float32)
        if joined:
            value = np.sum(joined, 0) if join == "sum" else np.max(joined, 0)
        for layer in (0, 3):
            weight, bias = (state[f"body.layers.{layer}.{name}"] for name in ("weight", "bias"))
            value = weight @ value + bias
            value = np.where(value > 0, value, state[f"body.layers.{layer + 1}.weight"] * value)
        found.append(state["head.weight"] @ value + state["head.bias"])
    return np.array(found)


@pytest.mark.parametrize("join", ["sum", "max"])
@pytest.mark.parametrize("gate", [True, False])
def test_the_answer_is_that_of_the_definition(join, gate):
    net, seen = (
        network(replace(SMALL, pooling=join, squeeze_excitation=gate)),
        seen_of([0, 1, 2, 3, 4]),
    )
    np.testing.assert_allclose(answers(net, seen), by_definition(net, seen, join), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 5), st.integers(0, 1000))
@pytest.mark.parametrize("join", ["sum", "max"])
def test_neither_empty_places_nor_the_order_change_anything(join, counts, more, seed):
    net, seen = network(replace(SMALL, pooling=join)), seen_of(counts)
    empty = torch.full((len(counts), more, 6), torch.nan, dtype=torch.float16)
    longer = torch.cat([seen, empty], 1)
    turned = longer[:, np.random.default_rng(seed).permutation(4 + more)]
    np.testing.assert_allclose(answers(net, turned), answers(net, seen), rtol=1e-4, atol=1e-5)


def test_normal_values_and_the_mask():
    net, seen = network(), seen_of([2, 0])
    values = net.normalise(seen)
    assert (values.dtype, values.shape) == (torch.float32, (2, 4, 7))
    assert values[:, :, 6].tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert (values[values[:, :, 6] == 0] == 0).all()
    expected = (seen[0, :2].float() - net.mean) / net.std
    np.testing.assert_allclose(values[0, :2, :6], expected, rtol=1e-6)


def test_mixing_products_mixes_their_sums():
    """Also where one has a picture and the other none."""
    net = network(replace(SMALL, hidden_sizes=(), squeeze_excitation=False))
    values = net.normalise(seen_of([0, 1, 2, 3, 4]))
    torch.manual_seed(3)
    both, other, share = mixed(values, 0.5)
    sums = net.body(values)
    expected = sums * share + sums[other] * (1 - share)
    np.testing.assert_allclose(net.body(both), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.9])
def test_dropout_is_between_the_hidden_layers(dropout):
    net = network(replace(SMALL, dropout=dropout)).train()
    values = net.normalise(seen_of([2] * 8))
    assert torch.equal(net(values), net(values)) == (dropout == 0)


def made(counts_seed=0):
    """Two sources, each of which tells half of a class's number: labels, feed."""
    rng = np.random.default_rng(counts_seed)
    labels = rng.integers(0, CLASSES, PRODUCTS).astype(np.int16)
    counts = rng.integers(1, 6, PRODUCTS)
    owner = np.repeat(np.arange(PRODUCTS), counts)
    sources = []
    for half in (labels % 2, labels // 2):
        told = np.where(half[owner] > 0, 1.0, -1.0)[:, None] * 8 + 30
        sources.append((told + rng.normal(0, 4, (len(owner), 5))).astype(np.float16))
    return labels, EmbeddingLoader(sources, np.cumsum(counts) - counts, counts)


MODEL = Model(
    input="embedding",
    weights="none",
    optimizer="adamw",
    lr=0.01,
    head_only_epochs=1,
    epochs=4,
    batch_size=16,
    fusion=SMALL,
)


def run(folder, model=MODEL, seed=1):
    folder.mkdir(exist_ok=True)
    labels, feed = made()

    def build(_):
        return fusion.build(model.fusion, CLASSES, feed, TRAIN)

    lesson = TrainingSet(feed, build, labels, np.arange(PRODUCTS), TRAIN, VALID, CLASSES)
    return training.train(folder, model, lesson, seed, Run())


def state_of(folder, name="last.pt"):
    return torch.load(folder / name, weights_only=True)["model"]


def test_what_neither_source_tells_alone_is_learnt(tmp_path):
    facts = run(tmp_path / "net", replace(MODEL, head_only_epochs=0, epochs=7))
    assert facts["last_accuracy"] > 0.9
    assert facts["images"] == len(TRAIN)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
@pytest.mark.parametrize("steps", [3, 5, 8, 17])
def test_a_stopped_run_ends_as_if_it_had_not_been(tmp_path, monkeypatch, steps, mixup):
    """5 steps an epoch in segments of 2; stops in the head, between epochs and within them."""
    monkeypatch.setattr(training, "SEGMENT_STEPS", 2)
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    model = replace(
        MODEL,
        loss=Loss(mixup_alpha=mixup),
        weight_average=WeightAveraging(kind="ema", ema_decay=0.9),
    )
    run(tmp_path / "whole", model)
    step, taken = training._Training._step, 0

    def counted(self, *arguments):
        nonlocal taken
        taken += 1
        if taken == steps + 1:
            raise Stop
        return step(self, *arguments)

    monkeypatch.setattr(training._Training, "_step", counted)
    with pytest.raises(Stop):
        run(tmp_path / "stopped", model)
    torch.manual_seed(999)
    run(tmp_path / "stopped", model)
    for name in ("last.pt", "best.pt"):
        one, other = (state_of(tmp_path / folder, name) for folder in ("whole", "stopped"))
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], other[key]), key
    histories = [(tmp_path / f / "history.jsonl").read_text() for f in ("whole", "stopped")]
    assert histories[0] == histories[1]
    assert len([json.loads(line) for line in histories[0].splitlines()]) == 5


def test_the_seed_decides(tmp_path):
    for folder, seed in (("one", 1), ("same", 1), ("other", 2)):
        run(tmp_path / folder, replace(MODEL, epochs=1), seed)
    weights = [state_of(tmp_path / f)["head.weight"] for f in ("one", "same", "other")]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_head_alone_leaves_the_body(tmp_path):
    run(tmp_path / "net", replace(MODEL, epochs=0))
    torch.manual_seed(1)
    fresh = fusion.build(SMALL, CLASSES, made()[1], TRAIN).state_dict()
    trained = state_of(tmp_path / "net")
    changed = {key for key in fresh if not torch.equal(fresh[key], trained[key])}
    assert changed == {"head.weight", "head.bias"}


def test_means_and_deviations_are_of_the_pictures_that_train():
    _, feed = made()
    feed.sources[0] = feed.sources[0].copy()
    feed.sources[0][:, 2] = 7  # a constant
    net = fusion.build(SMALL, CLASSES, feed, TRAIN)
    shown = np.concatenate([feed.sources[i] for i in (0, 1)], 1).astype(np.float64)
    first = feed.first_image[TRAIN]
    rows = [range(f, f + min(c, 4)) for f, c in zip(first, feed.image_count[TRAIN], strict=True)]
    own = shown[np.concatenate(rows)]
    deviation = own.std(0)
    deviation[2] = 1
    np.testing.assert_allclose(net.mean, own.mean(0), rtol=1e-5)
    np.testing.assert_allclose(net.std, deviation, rtol=1e-5)


def test_there_are_no_units_to_freeze():
    net = network()
    net.freeze_until(0)
    with pytest.raises(UserError, match="freeze_until = 2"):
        net.freeze_until(2)
