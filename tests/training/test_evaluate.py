import numpy as np
import pytest
import torch

from lib.config.model import Loss
from lib.models import factory
from lib.training.evaluate import evaluate, evenly_spaced
from lib.training.loaders.image_loader import ImageLoader
from lib.training.losses import Losses
from tests.training.training_runs import VALID

LEVEL = np.array([0, 0, 1])


@pytest.fixture
def net():
    """An untrained network with large weights, so that its answers differ."""
    torch.manual_seed(1)
    net = factory.create_model("small", 3, "none")
    with torch.no_grad():
        net.head.weight.mul_(30)
    return net


def metrics_of(net, model, reader, labels, rows, batch_size):
    targets = torch.from_numpy(labels.astype(np.int64))
    losses = Losses(Loss(), [LEVEL])
    return evaluate(net, model, ImageLoader(reader, model), rows, targets, losses, batch_size)


def test_metrics_are_those_of_all_rows_at_once(model, reader, labels, net):
    (_, images), *_ = ImageLoader(reader, model).eval_batches(VALID, len(VALID))
    with torch.inference_mode():
        probs = net.eval()(net.normalise(torch.from_numpy(images))).softmax(1).numpy()
    true = labels[VALID]
    groups = np.stack([probs[:, :2].sum(1), probs[:, 2]], 1).argmax(1)
    metrics = metrics_of(net, model, reader, labels, VALID, 5)
    assert metrics.keys() == {"valid_loss", "valid_accuracy", "valid_accuracy_level1"}
    loss = -np.log(probs[np.arange(len(true)), true]).mean()
    assert metrics["valid_loss"] == pytest.approx(loss, rel=1e-4)
    assert metrics["valid_accuracy"] == pytest.approx((probs.argmax(1) == true).mean())
    assert metrics["valid_accuracy_level1"] == pytest.approx((groups == LEVEL[true]).mean())


def test_without_rows_there_are_no_metrics(model, reader, labels, net):
    metrics = metrics_of(net, model, reader, labels, VALID[:0], 5)
    assert metrics == {"valid_loss": None, "valid_accuracy": None}


def test_rows_are_evenly_spaced():
    rows = np.arange(1000)
    assert evenly_spaced(rows, 2000) is rows
    chosen = evenly_spaced(rows, 10)
    assert len(chosen) == len(set(chosen.tolist())) == 10
    assert chosen[0] == 0
    assert chosen[-1] == 999
    assert set(np.diff(chosen).tolist()) == {111}
