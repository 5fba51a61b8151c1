"""Networks that draw coarse masks."""

import pytest
import torch

from lib.config.inputs.segmentation import Segmentation
from lib.config.model import Model
from lib.errors import UserError
from lib.models import factory


def create(arch="small", stride=8, channels=3, **options):
    model = Model(
        kind="segmentation",
        arch=arch,
        weights="none",
        resize=(64, 96),
        crop=(64, 64),
        segmentation=Segmentation(stride=stride, width=16),
        **options,
    )
    torch.manual_seed(0)
    return factory.create_from_config(model, channels, "none")


def images(height=64, width=96):
    return torch.from_numpy(torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8).numpy())


@pytest.mark.parametrize(
    ("arch", "stride"),
    [
        ("small", 4),
        ("small", 16),
        ("efficientnet_lite0", 8),
        ("resnet18", 16),
        ("timm/resnet10t", 32),
    ],
)
def test_masks_have_a_cell_for_each_stride_of_pixels(arch, stride):
    net = create(arch, stride).eval()
    with torch.no_grad():
        logits = net(net.normalise(images()))
    assert logits.shape == (2, 3, 64 // stride, 96 // stride)
    assert logits.dtype == torch.float32
    assert net.num_classes == 3
    assert {key.split(".")[0] for key in net.state_dict()} == {"body", "head"}


def test_a_cell_sees_its_own_place():
    """A change of the image changes the masks most where it is."""
    net = create(stride=8).eval()
    left = images()
    right = left.clone()
    right[:, :, :, 64:] = 0
    with torch.no_grad():
        change = (net(net.normalise(left)) - net(net.normalise(right))).abs().sum((0, 1, 2))
    assert change[9:].min() > change[:6].max()


def test_a_stride_without_a_map_is_an_error():
    with pytest.raises(
        UserError, match=r"stride = 32: the maps of small have cells of 2, 4, 8, 16"
    ):
        create(stride=32)


def test_a_vector_has_no_maps():
    with pytest.raises(UserError, match=r"has no maps|maps of alexnet"):
        create("alexnet", stride=16)


@pytest.mark.parametrize("arch", ["efficientnet_lite0", "timm/resnet10t"])
def test_a_frozen_body_draws_the_same_masks_with_its_norms_fused(arch):
    net = create(arch).eval()
    inputs = net.normalise(images())
    with torch.no_grad():
        before = net(inputs)
        net.freeze_body(True)
        after = net(inputs)
        if arch == "efficientnet_lite0":
            net.freeze_body(False)
            net.freeze_until(7)
            assert net(inputs) == pytest.approx(before, abs=1e-3)
    assert after == pytest.approx(before, abs=1e-3)


def test_the_decoder_alone_trains_while_the_body_is_frozen():
    net = create()
    net.freeze_body(True)
    net.train()
    net(net.normalise(images())).sum().backward()
    assert all(p.grad is None for p in net.body.parameters())
    assert all(p.grad is not None for p in net.head.parameters())
    net.freeze_body(False)
    net.freeze_until(2)
    net(net.normalise(images())).sum().backward()
    assert [
        any(p.grad is not None for m in unit for p in m.parameters()) for unit in net.units
    ] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_weights_of_a_classifier_are_those_of_the_body(tmp_path):
    classifier = factory.create_model("small", 5, "none")
    torch.save({"model": classifier.state_dict()}, tmp_path / "last.pt")
    model = Model(
        kind="segmentation",
        arch="small",
        resize=(64, 64),
        crop=(64, 64),
        segmentation=Segmentation(stride=16),
    )
    net = factory.create_from_config(model, 3, str(tmp_path / "last.pt"))
    for key, value in classifier.body.state_dict().items():
        assert torch.equal(net.body.state_dict()[key], value)
