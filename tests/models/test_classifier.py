import numpy as np
import pytest
import torch
from torch.nn import functional

from lib.data.products.reader import ProductImages
from lib.errors import UserError
from lib.models.classifier import SingleStageClassifier
from lib.models.factory import create_model
from tests.models.model_families import FAMILIES


@pytest.mark.parametrize(
    ("name", "unit", "frozen", "learning"),
    [
        ("resnet18", 2, "layer1.0.bn1", "layer2.0.bn1"),
        ("efficientnet_lite0", 3, "_blocks.2._bn1", "_blocks.3._bn1"),
        ("small", 1, "0.1", "1.1"),
    ],
)
def test_a_frozen_prefix_keeps_its_weights_and_statistics(name, unit, frozen, learning):
    torch.manual_seed(1)
    net = create_model(name, 3, "none")
    net.freeze_until(unit)
    net.train()
    assert not net.body.get_submodule(frozen).training
    assert net.body.get_submodule(learning).training
    before = {key: value.clone() for key, value in net.body.state_dict().items()}
    trained = [p for p in net.parameters() if p.requires_grad]
    graphs = []
    net.units[unit][0].register_forward_pre_hook(
        lambda module, inputs: graphs.append(inputs[0].requires_grad)
    )
    images = net.normalise(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    functional.cross_entropy(net(images), torch.tensor([0, 1, 2, 0])).backward()
    torch.optim.SGD(trained, lr=0.1).step()
    after = net.body.state_dict()
    assert graphs == [False]  # no backward pass through the prefix
    for key in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(before[f"{frozen}.{key}"], after[f"{frozen}.{key}"])
        assert not torch.equal(before[f"{learning}.{key}"], after[f"{learning}.{key}"])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_frozen_body_computes_the_same_features(name):
    """Its BatchNorms are fused into the convolutions before them."""
    torch.manual_seed(1)
    net = create_model(name, 3, "none")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    images = net.normalise(torch.randint(0, 256, (2, 3, 75, 64), dtype=torch.uint8))
    net.eval()
    with torch.inference_mode():
        expected = net.embed(images)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.freeze_body(True)
    got = net.embed(images)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_frozen_body_uses_newly_loaded_weights_and_types():
    """Its fused copy is dropped when a state dict is loaded or the type changes."""
    torch.manual_seed(1)
    net, other = (create_model("small", 3, "none") for _ in range(2))
    images = net.normalise(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    for classifier in (net, other):
        classifier.freeze_body(True)
        classifier.embed(images)
    net.load_state_dict(other.state_dict())
    torch.testing.assert_close(net.embed(images), other.embed(images))
    exact = net.double().embed(images.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), other.embed(images))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "densenet121", "small"])
@pytest.mark.parametrize("is_frozen", [True, False])
def test_a_prefix_and_the_rest_are_the_whole_network(name, is_frozen):
    torch.manual_seed(1)
    net = create_model(name, 3, "none").eval()
    images = net.normalise(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    with torch.inference_mode():
        expected = net(images)
        net.freeze_until(3)
        net.freeze_body(is_frozen)
        net.eval()
        maps = net.prefix(images)
        assert maps.shape[1] != 3
        torch.testing.assert_close(net.classify(maps), expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(net(images), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_network_of_products_has_a_prefix_too(pooling):
    torch.manual_seed(1)
    net = create_model("small", 3, "none", pooling=pooling).eval()
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    products = net.normalise(ProductImages(pixels, torch.tensor([1, 2])))
    with torch.inference_mode():
        expected = net(products)
        net.freeze_until(2)
        maps = net.prefix(products)
        assert maps.count.tolist() == [1, 2]
        assert maps.images.shape[1] != 3
        torch.testing.assert_close(net.classify(maps), expected, rtol=1e-3, atol=1e-4)


def test_networks_have_the_same_prefix_if_its_weights_and_its_end_are_equal():
    torch.manual_seed(1)
    net, other = (create_model("small", 3, "none") for _ in range(2))
    other.load_state_dict(net.state_dict())
    assert not other.has_prefix_of(net)  # nothing is frozen
    net.freeze_until(2)
    assert not other.has_prefix_of(net)
    other.freeze_until(2)
    assert other.has_prefix_of(net)
    with torch.no_grad():
        other.units[2][0][0].weight += 1  # after the prefix
    assert other.has_prefix_of(net)
    other.units[1][0][1].running_mean += 1  # a statistic of it
    assert not other.has_prefix_of(net)


def test_freezing_the_body_leaves_only_the_head_to_train():
    net = create_model("small", 3, "none")
    net.freeze_until(2)
    net.freeze_body(True)
    net.train()
    assert [k for k, p in net.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert not any(module.training for module in net.body.modules())
    net.freeze_body(False)
    assert [p.requires_grad for p in net.body.get_submodule("1").parameters()] == [False] * 3
    assert all(p.requires_grad for p in net.body.get_submodule("2").parameters())
    assert net.body.get_submodule("2").training


def test_units_are_unfrozen_gradually():
    """As in training: one optimizer of all parameters, `freeze_until` at every epoch."""
    torch.manual_seed(1)
    net = create_model("small", 3, "none")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    images = net.normalise(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    net.train()
    for frozen in (5, 3, 1, 0):
        net.freeze_until(frozen)
        assert [net.units[i][0][1].training for i in range(5)] == [i >= frozen for i in range(5)]
        before = {key: value.clone() for key, value in net.body.state_dict().items()}
        for _ in range(2):
            optimizer.zero_grad()
            functional.cross_entropy(net(images), torch.tensor([0, 1, 2, 0])).backward()
            optimizer.step()
        moved = {
            key.split(".")[0]
            for key, v in net.body.state_dict().items()
            if (v != before[key]).any()
        }
        assert moved == {str(i) for i in range(frozen, 5)}
        net.eval()  # as in validation
        with torch.no_grad():
            got = net.embed(images)
            torch.testing.assert_close(got, net.body(images).mean((2, 3)), rtol=1e-4, atol=1e-5)
        net.train()


def test_weights_frozen_again_do_not_drift():
    """An optimizer with momentum and decay would move weights that still have a gradient."""
    torch.manual_seed(1)
    net = create_model("small", 3, "none").train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    images = net.normalise(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    net(images).sum().backward()
    optimizer.step()
    net.freeze_until(2)
    before = net.units[0][0][0].weight.clone()
    optimizer.step()
    assert torch.equal(net.units[0][0][0].weight, before)


def test_a_unit_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="freeze_until = 9: small has units 0 to 4"):
        create_model("small", 3, "none").freeze_until(9)


def test_pixels_are_normalised_as_in_the_pretraining():
    image = torch.tensor([200, 100, 50], dtype=torch.uint8).reshape(1, 3, 1, 1)
    rgb = create_model("resnet18", 3, "none").normalise(image).flatten()
    expected = (np.array([200, 100, 50]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(rgb.numpy(), expected, rtol=1e-5)
    bgr = create_model("bninception", 3, "none").normalise(image).flatten()
    np.testing.assert_allclose(bgr.numpy(), [50 - 104, 100 - 117, 200 - 128])
    lite = create_model("efficientnet_lite0", 3, "none").normalise(image).flatten()
    np.testing.assert_allclose(lite.numpy(), (np.array([200, 100, 50]) - 127) / 128)


class TwoLayers(SingleStageClassifier):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        self.head = torch.nn.Linear(3, 4)

    def forward(self, values):
        return self.head(self.body(values))


def test_a_single_stage_classifier_freezes_its_body_as_a_whole():
    net = TwoLayers().train()
    net(torch.randn(5, 2)).sum().backward()
    net.freeze_body(True)
    assert [k for k, p in net.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert all(p.grad is None for p in net.body.parameters())
    assert not net.train().body[1].training
    net.freeze_body(False)
    assert all(p.requires_grad for p in net.parameters())
    assert net.body[1].training


def test_a_single_stage_classifier_has_no_units_to_freeze():
    net = TwoLayers()
    net.freeze_until(0)
    assert all(p.requires_grad for p in net.parameters())
    with pytest.raises(UserError, match="freeze_until = 2: this network trains as a whole"):
        net.freeze_until(2)


def test_num_classes_is_the_number_of_logits():
    assert TwoLayers().num_classes == 4
    assert create_model("small", 6, "none").num_classes == 6
