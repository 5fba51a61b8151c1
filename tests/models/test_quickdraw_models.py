import numpy as np
import pytest
import torch

from lib.config.model import Model
from lib.errors import UserError
from lib.models.factory import create_from_config, create_model
from lib.models.quickdraw_models import NAMES, StrokeNetwork


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("draw_dense", 20_067),
        ("draw_cnn1", 320_890),
        ("draw_cnn2", 19_322),
        ("draw_modern", 84_442),
    ],
)
def test_parameters_for_ten_classes_are_those_of_the_quick_draw_report(name, parameters):
    net = create_model(name, 10, "none")
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_gets_a_gradient_and_only_gray_matters(name):
    torch.manual_seed(0)
    net = create_model(name, 10, "none").train()
    gray = torch.randint(0, 256, (6, 1, 28, 28), dtype=torch.uint8).expand(6, 3, 28, 28)
    inputs = net.normalise(gray)
    assert 0 <= inputs.min() < inputs.max() <= 1
    loss = torch.nn.functional.cross_entropy(net(inputs), torch.arange(6))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    net.eval()
    swapped = inputs[:, [2, 0, 1]]
    torch.testing.assert_close(net(inputs), net(swapped))


def test_other_image_sizes_are_refused():
    with pytest.raises(UserError, match="draw_cnn2 needs images of 28 by 28"):
        create_from_config(Model(arch="draw_cnn2", crop=(32, 32)), 10, "none")


def pen_points(num_rows):
    """Points int16 [1, num_rows, 3] of two lines; rows after them are padding."""
    points = np.full((1, num_rows, 3), -1, np.int16)
    points[0, :4] = [[0, 0, 0], [255, 255, 1], [0, 255, 0], [255, 0, 1]]
    return torch.from_numpy(points)


def test_padding_of_strokes_does_not_change_the_logits():
    torch.manual_seed(0)
    net = StrokeNetwork(3).eval()
    with torch.inference_mode():
        short, long = (net(net.normalise(pen_points(n))) for n in (8, 40))
    assert short.shape == (1, 3)
    torch.testing.assert_close(short, long)


def test_strokes_are_normalised_to_positions_steps_lines_and_a_mask():
    strokes = StrokeNetwork(3).normalise(pen_points(8))[0]
    assert strokes.shape == (6, 8)
    assert strokes[0, :4].tolist() == [-1, 127 / 128, -1, 127 / 128]
    assert strokes[2:4, 1].tolist() == [255 / 32, 255 / 32]
    assert strokes[4, :4].tolist() == [0, 1, 0, 1]
    assert strokes[5].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert strokes[:, 4:].abs().max() == 0


def test_every_layer_of_the_stroke_network_gets_a_gradient():
    net = StrokeNetwork(4, dropout=0.1).train()
    strokes = net.normalise(pen_points(16).repeat(6, 1, 1))
    torch.nn.functional.cross_entropy(net(strokes), torch.tensor([0, 1, 2, 3, 0, 1])).backward()
    assert all(p.grad is not None for p in net.parameters())
