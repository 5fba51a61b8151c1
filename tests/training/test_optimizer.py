import copy

import pytest
import torch
from torch import nn

from lib.config.model import Model
from lib.training.optimizer import OptimizerStep


@pytest.fixture
def net():
    """Weights, biases, and scales and shifts of two kinds of norms, none of which is 0."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5), nn.LayerNorm(5)
    )
    for param in net.parameters():
        nn.init.uniform_(param, 0.5, 1.5)
    return net


def take_step(net, gradient, head_only=False, **settings):
    """Parameters before and after a step with the same gradient in every value."""
    before = copy.deepcopy(dict(net.named_parameters()))
    optimizer = OptimizerStep(net, Model(**settings), head_only)
    optimizer.set_lr(0.1, 0.0)
    optimizer.backward(sum((gradient * p).sum() for p in net.parameters()))
    optimizer.step()
    return before, dict(net.named_parameters())


@pytest.mark.parametrize(
    ("optimizer", "head_only"), [("sgd", False), ("adamw", False), ("sgd", True)]
)
def test_weight_decay_shrinks_weights_but_not_biases_and_norms(net, optimizer, head_only):
    before, after = take_step(
        net, 0.0, head_only, optimizer=optimizer, weight_decay=0.2, clip_grad_norm=0.0
    )
    assert {"0.bias", "1.weight", "1.bias", "3.bias", "4.weight", "4.bias"} < before.keys()
    for name, value in before.items():
        factor = 1 - 0.1 * 0.2 if name in ("0.weight", "3.weight") else 1.0
        torch.testing.assert_close(after[name], factor * value)


@pytest.mark.parametrize("gradient", [10.0, 0.001])
def test_the_gradient_is_clipped_to_the_largest_norm_that_is_allowed(net, gradient):
    before, after = take_step(net, gradient, weight_decay=0.0, clip_grad_norm=0.5)
    moved = torch.cat([(before[n] - after[n]).detach().flatten() for n in before])
    norm = gradient * len(moved) ** 0.5
    assert float(moved.norm()) == pytest.approx(0.1 * min(norm, 0.5), rel=1e-3)


def test_without_a_largest_norm_the_gradient_is_not_clipped(net):
    before, after = take_step(net, 10.0, weight_decay=0.0, clip_grad_norm=0.0)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value - 0.1 * 10.0)


def test_accumulated_micro_batches_take_the_step_of_their_mean(net):
    accumulated = copy.deepcopy(net)
    _, expected = take_step(net, 2.0, clip_grad_norm=0.0)
    optimizer = OptimizerStep(accumulated, Model(clip_grad_norm=0.0), False)
    optimizer.set_lr(0.1, 0.0)
    for gradient in (0.0, 1.0, 3.0, 4.0):
        optimizer.backward(sum((gradient * p).sum() for p in accumulated.parameters()), 4)
    optimizer.step()
    for name, param in accumulated.named_parameters():
        torch.testing.assert_close(param, expected[name])
        assert param.grad is None


def test_only_parameters_that_require_a_gradient_are_optimized(net):
    net[0].requires_grad_(False)
    before, after = take_step(net, 1.0)
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {"0.weight", "0.bias"}


def test_the_head_alone_is_trained_by_adamw(net):
    cfg = Model(optimizer="sgd")
    assert isinstance(OptimizerStep(net, cfg, True).optimizer, torch.optim.AdamW)
    assert isinstance(OptimizerStep(net, cfg, False).optimizer, torch.optim.SGD)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_rate_and_momentum_are_set_in_every_group(net, name):
    optimizer = OptimizerStep(net, Model(optimizer=name), False)
    optimizer.set_lr(0.03, 0.7)
    groups = optimizer.optimizer.param_groups
    assert [group["lr"] for group in groups] == [0.03, 0.03]
    momenta = [group["momentum"] if name == "sgd" else group["betas"][0] for group in groups]
    assert momenta == [0.7, 0.7]
