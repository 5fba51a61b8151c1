from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lib.config.inputs.fusion import Fusion
from lib.config.load import load
from lib.config.model import Loss, Model, WeightAveraging
from lib.config.schema import Run
from lib.models.fusion import FusionModel, create_fusion_model
from lib.training import schedule, state
from lib.training.dataset import TrainingSet
from lib.training.loaders.embedding_loader import EmbeddingLoader, embedding_mean_std
from lib.training.losses import mixup_batch
from lib.training.trainer import train_model
from tests.training.training_runs import Stop, assert_same_run, history, stop_after

SMALL = Fusion(inputs=("a", "b"), hidden_sizes=(12, 8), dropout=0.2)
PRODUCTS, CLASSES = 120, 4
TRAIN, VALID = np.arange(0, 80), np.arange(80, 120)


def network(settings=SMALL, width=6, seed=0):
    torch.manual_seed(seed)
    net = FusionModel(settings, width, CLASSES).eval()
    net.mean.copy_(torch.linspace(-1, 1, width))
    net.std.copy_(torch.linspace(0.5, 2, width))
    return net


def make_embeddings(counts, width=6, views=4, seed=1):
    rng = np.random.default_rng(seed)
    embeddings = np.full((len(counts), views, width), np.nan, np.float16)
    for product, count in zip(embeddings, counts, strict=True):
        product[:count] = rng.normal(size=(count, width))
    return torch.from_numpy(embeddings)


def predict(net, embeddings):
    with torch.inference_mode():
        return net(net.normalise(embeddings)).numpy()


def predict_by_definition(net, embeddings, pooling):
    """Logits, computed image by image without the missing ones."""
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    logits = []
    for product in embeddings.numpy().astype(np.float32):
        values = []
        for image in product[~np.isnan(product[:, 0])]:
            value = (image - state["mean"]) / state["std"]
            if net.body.gate is not None:
                inner = state["body.gate.0.weight"] @ value + state["body.gate.0.bias"]
                outer = state["body.gate.2.weight"] @ np.maximum(inner, 0)
                value = value / (1 + np.exp(-outer - state["body.gate.2.bias"]))
            values.append(value)
        value = np.zeros(len(state["mean"]), np.float32)
        if values:
            value = np.sum(values, 0) if pooling == "sum" else np.max(values, 0)
        for layer in (0, 3):
            weight, bias = (state[f"body.layers.{layer}.{name}"] for name in ("weight", "bias"))
            value = weight @ value + bias
            value = np.where(value > 0, value, state[f"body.layers.{layer + 1}.weight"] * value)
        logits.append(state["head.weight"] @ value + state["head.bias"])
    return np.array(logits)


@pytest.mark.parametrize("pooling", ["sum", "max"])
@pytest.mark.parametrize("gate", [True, False])
def test_logits_follow_the_definition(pooling, gate):
    net, embeddings = (
        network(replace(SMALL, pooling=pooling, squeeze_excitation=gate)),
        make_embeddings([0, 1, 2, 3, 4]),
    )
    np.testing.assert_allclose(
        predict(net, embeddings), predict_by_definition(net, embeddings, pooling), atol=1e-5
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 5), st.integers(0, 1000))
@pytest.mark.parametrize("pooling", ["sum", "max"])
def test_padding_and_the_order_of_images_do_not_matter(pooling, counts, padding, seed):
    net, embeddings = network(replace(SMALL, pooling=pooling)), make_embeddings(counts)
    missing = torch.full((len(counts), padding, 6), torch.nan, dtype=torch.float16)
    longer = torch.cat([embeddings, missing], 1)
    shuffled = longer[:, np.random.default_rng(seed).permutation(4 + padding)]
    np.testing.assert_allclose(
        predict(net, shuffled), predict(net, embeddings), rtol=1e-4, atol=1e-5
    )


def test_embeddings_are_standardised_and_missing_images_are_0():
    net, embeddings = network(), make_embeddings([2, 0])
    values = net.normalise(embeddings)
    assert (values.dtype, values.shape) == (torch.float32, (2, 4, 7))
    assert values[:, :, 6].tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert (values[values[:, :, 6] == 0] == 0).all()
    expected = (embeddings[0, :2].float() - net.mean) / net.std
    np.testing.assert_allclose(values[0, :2, :6], expected, rtol=1e-6)


def test_mixup_of_products_mixes_their_sums():
    """Also at views where one product has an image and the other has none."""
    net = network(replace(SMALL, hidden_sizes=(), squeeze_excitation=False))
    values = net.normalise(make_embeddings([0, 1, 2, 3, 4]))
    torch.manual_seed(3)
    both, other, share = mixup_batch(values, 0.5)
    sums = net.body(values)
    expected = sums * share + sums[other] * (1 - share)
    np.testing.assert_allclose(net.body(both), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.9])
def test_dropout_follows_the_hidden_layers(dropout):
    net = network(replace(SMALL, dropout=dropout)).train()
    values = net.normalise(make_embeddings([2] * 8))
    assert torch.equal(net(values), net(values)) == (dropout == 0)


def test_dropout_of_the_embeddings_trains_and_does_not_predict():
    plain, dropped = (network(replace(SMALL, input_dropout=p, dropout=0.0)) for p in (0.0, 0.5))
    embeddings = make_embeddings([1, 2, 3, 4])
    np.testing.assert_array_equal(predict(plain, embeddings), predict(dropped, embeddings))
    for net in (plain, dropped):
        net.train()
    assert not np.allclose(predict(plain, embeddings), predict(dropped, embeddings))


def test_the_published_shape():
    """Gates of half the width, and hidden layers, of the 2nd place's FcNet3 on 8,192 values."""
    settings = load("configs/cdiscount_2nd.toml").models["gated"].fusion
    with torch.device("meta"):
        net = FusionModel(settings, 8192, 5270)
    sizes = {name: tuple(p.shape) for name, p in net.named_parameters() if p.ndim == 2}
    assert sizes == {
        "body.gate.0.weight": (4096, 8192),
        "body.gate.2.weight": (8192, 4096),
        "body.layers.0.weight": (7168, 8192),
        "body.layers.3.weight": (4096, 7168),
        "head.weight": (5270, 4096),
    }
    dropouts = [module.p for module in net.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [0.5, 0.1, 0.1]


def make_loader(counts_seed=0):
    """Labels, and a loader of two sources that each encode one bit of the class number."""
    rng = np.random.default_rng(counts_seed)
    labels = rng.integers(0, CLASSES, PRODUCTS).astype(np.int16)
    counts = rng.integers(1, 6, PRODUCTS)
    owner = np.repeat(np.arange(PRODUCTS), counts)
    sources = []
    for bit in (labels % 2, labels // 2):
        signal = np.where(bit[owner] > 0, 1.0, -1.0)[:, None] * 8 + 30
        sources.append((signal + rng.normal(0, 4, (len(owner), 5))).astype(np.float16))
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


def create(settings, loader):
    return create_fusion_model(settings, CLASSES, *embedding_mean_std(loader, TRAIN))


def run(folder, model=MODEL, seed=1, on_step=None):
    folder.mkdir(exist_ok=True)
    labels, loader = make_loader()

    def build(_):
        return create(model.fusion, loader)

    data = TrainingSet(loader, build, labels, np.arange(PRODUCTS), TRAIN, VALID, CLASSES)
    return train_model(folder, model, data, seed, Run(), on_step)


def state_of(folder, name="last.pt"):
    return torch.load(folder / name, weights_only=True)["model"]


def test_a_class_that_needs_both_sources_is_learnt(tmp_path):
    facts = run(tmp_path / "net", replace(MODEL, head_only_epochs=0, epochs=7))
    assert facts["last_accuracy"] > 0.9
    assert facts["images"] == len(TRAIN)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
@pytest.mark.parametrize("num_steps", [4, 6, 9, 18])
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch, num_steps, mixup):
    """5 steps an epoch in chunks of 2; stops in the head, between epochs and within them."""
    monkeypatch.setattr(schedule, "CHUNK_STEPS", 2)
    monkeypatch.setattr(state, "SAVE_SECONDS", -1.0)
    model = replace(
        MODEL,
        loss=Loss(mixup_alpha=mixup),
        weight_average=WeightAveraging(kind="ema", ema_decay=0.9),
    )
    run(tmp_path / "full", model)
    with pytest.raises(Stop):
        run(tmp_path / "stopped", model, on_step=stop_after(num_steps))
    torch.manual_seed(999)
    run(tmp_path / "stopped", model)
    assert_same_run(tmp_path / "full", tmp_path / "stopped")
    assert len(history(tmp_path / "full")) == 5


def test_the_seed_determines_the_weights(tmp_path):
    for folder, seed in (("one", 1), ("same", 1), ("other", 2)):
        run(tmp_path / folder, replace(MODEL, epochs=1), seed)
    weights = [state_of(tmp_path / f)["head.weight"] for f in ("one", "same", "other")]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_head_only_epochs_leave_the_body_unchanged(tmp_path):
    run(tmp_path / "net", replace(MODEL, epochs=0))
    torch.manual_seed(1)
    fresh = create(SMALL, make_loader()[1]).state_dict()
    trained = state_of(tmp_path / "net")
    changed = {key for key in fresh if not torch.equal(fresh[key], trained[key])}
    assert changed == {"head.weight", "head.bias"}


def test_the_model_standardises_with_the_given_mean_and_deviation():
    mean, std = np.linspace(-1, 1, 10), np.linspace(0.5, 2, 10)
    net = create_fusion_model(SMALL, CLASSES, mean, std)
    np.testing.assert_allclose(net.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(net.std, std, rtol=1e-6)
    assert net.num_classes == CLASSES
