"""Networks for drawings: the report's by their exact numbers of parameters (Q3, Q4)."""

import pytest
import torch

from lib.config.schema import Model
from lib.errors import UserError
from lib.models import factory


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("draw_dense", 20_067),
        ("draw_cnn1", 320_890),
        ("draw_cnn2", 19_322),
        ("draw_modern", 84_442),
    ],
)
def test_parameters_for_ten_classes(name, parameters):
    net = factory.build(name, 10, "none")
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("name", factory.quickdraw_models.NAMES)
def test_a_step_moves_every_layer_and_grey_is_all_they_see(name):
    torch.manual_seed(0)
    net = factory.build(name, 10, "none").train()
    grey = torch.randint(0, 256, (6, 1, 28, 28), dtype=torch.uint8).expand(6, 3, 28, 28)
    seen = net.normalise(grey)
    assert 0 <= seen.min() < seen.max() <= 1
    loss = torch.nn.functional.cross_entropy(net(seen), torch.arange(6))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    net.eval()
    swapped = seen[:, [2, 0, 1]]
    torch.testing.assert_close(net(seen), net(swapped))


def test_other_sizes_are_refused():
    with pytest.raises(UserError, match="draw_cnn2 needs pictures of 28 by 28"):
        factory.network(Model(arch="draw_cnn2", crop=(32, 32)), 10, "none")
