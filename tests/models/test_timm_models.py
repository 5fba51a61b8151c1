import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError
from lib.models import factory, timm_models
from tests.conftest import ROOT

# Each way to end: a map, one with channels last, tokens, a pool with weights of its own.
KINDS = {
    "convnext_atto": True,
    "tf_efficientnetv2_b0": True,
    "mobilenetv3_large_100": True,
    "timm/resnet18": True,
    "swin_tiny_patch4_window7_224": True,
    "vit_tiny_patch16_224": False,
    "vit_small_patch14_dinov2.lvd142m": False,
    "vit_base_patch16_siglip_224": False,
}
SMALL = ("test_convnext", "test_vit", "test_efficientnet", "test_byobnet", "test_resnet")


def on_meta(name):
    with torch.device("meta"):
        return factory.build(name, 5, "none").to("meta")


@pytest.mark.parametrize("name", KINDS)
def test_any_size_from_64_up_works(name):
    net = on_meta(name).eval()
    for size in ((64, 64), (75, 96), (224, 224)):
        net.check_size(size)
        pictures = net.normalise(torch.zeros(2, 3, *size, dtype=torch.uint8, device="meta"))
        assert net.embed(pictures).shape == (2, net.width)
        assert net(pictures).shape == (2, 5)


@pytest.mark.parametrize("name", KINDS)
def test_maps_are_known(name):
    with torch.device("meta"):
        made = timm_models.backbone(name)
    assert (made.channels > 0) == KINDS[name]
    if KINDS[name]:
        maps = made.run(made.module.eval(), torch.zeros(1, 3, 96, 64, device="meta"))
        assert maps.shape[1] == made.channels
        assert maps.shape[2] > maps.shape[3]


@pytest.mark.parametrize("name", [*KINDS, "poolformer_s12", "test_vit"])
def test_the_units_hold_the_whole_body_once(name):
    """Class tokens, embeddings of places, norms and pools with weights too."""
    net = on_meta(name)
    body = [id(parameter) for parameter in net.body.parameters()]
    units = [id(p) for unit in net.units for module in unit for p in module.parameters()]
    assert sorted(units) == sorted(body)
    assert len(net.units) >= 5 or name.startswith("test")


def test_units_come_in_the_order_of_the_data():
    net = on_meta("vit_tiny_patch16_224")
    assert len(net.units) == 13  # the embedding and twelve blocks, the last with the norm
    stem = {id(parameter) for module in net.units[0] for parameter in module.parameters()}
    assert {id(net.body.cls_token), id(net.body.pos_embed)} < stem
    assert net.units[5] == [net.body.blocks[4]]
    assert net.units[12] == [net.body.blocks[11], net.body.norm]


@pytest.mark.parametrize("name", SMALL)
def test_it_gives_what_timm_gives(name):
    import timm

    torch.manual_seed(1)
    theirs = timm.create_model(name, num_classes=0).eval()
    net = factory.build(name, 3, "none").eval()
    net.body.load_state_dict(theirs.state_dict())
    side = theirs.pretrained_cfg["input_size"][1]
    pictures = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        torch.testing.assert_close(net.embed(pictures), theirs(pictures))


@pytest.mark.parametrize("name", SMALL)
def test_it_trains_from_any_unit_on_and_frozen_computes_the_same(name):
    torch.manual_seed(1)
    net = factory.build(name, 3, "none")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    pictures = net.normalise(torch.randint(0, 256, (3, 3, 70, 64), dtype=torch.uint8))
    net.eval()
    with torch.inference_mode():
        wanted = net.embed(pictures)
    net.freeze_body(True)
    got = net.embed(pictures)
    assert not got.requires_grad
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    net.freeze_body(False)
    for frozen in (2, 1, 0):
        net.train()
        net.freeze_until(frozen)
        net.zero_grad()
        functional.cross_entropy(net(pictures), torch.tensor([0, 1, 2])).backward()
        for number, unit in enumerate(net.units):
            found = [p.grad is not None for module in unit for p in module.parameters()]
            assert set(found) == {number >= frozen}


def test_a_convolution_and_an_activating_norm_are_folded():
    net = factory.build("test_efficientnet", 3, "none").eval()
    net.freeze_body(True)
    net.embed(torch.randn(1, 3, 64, 64))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net._folded[0].modules())


def test_one_size_alone_is_named():
    net = on_meta("mixer_s32_224")
    net.check_size((224, 224))
    said = r"crop = \[160, 160\]: mixer_s32_224 needs pictures of 224 by 224 pixels; set crop"
    with pytest.raises(UserError, match=said):
        net.check_size((160, 160))


def test_patches_are_filled_up():
    sides = on_meta("vit_small_patch14_dinov2.lvd142m").sides
    assert [sides.next(side) for side in (64, 70, 224)] == [70, 70, 224]
    assert on_meta("test_efficientnet").sides.next(65) == 65


def test_pixels_are_normalised_as_the_network_was_trained():
    """SigLIP's from -1 to 1, all others' as ImageNet's."""
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    name = "vit_base_patch16_siglip_224"
    with torch.device("meta"):
        siglip = timm_models.backbone(name).given
    assert (siglip.mean, siglip.std) == ((127.5,) * 3, (127.5,) * 3)
    got = factory.build("convnext_atto", 3, "none").normalise(white).flatten()
    wanted = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(got, wanted)


def test_names_that_two_makers_have_are_the_earlier_ones():
    ours, theirs = factory.build("resnet18", 3, "none"), factory.build("timm/resnet18", 3, "none")
    assert "torchvision" in type(ours.body).__module__
    assert type(theirs.body).__module__.startswith("timm.")


def test_an_unknown_tag_lists_the_known():
    with pytest.raises(UserError, match=r"Invalid pretrained tag \(best\).*dinov2\.lvd142m"):
        factory.build("vit_small_patch14_dinov2.best", 3, "none")


def test_the_same_seed_builds_the_same_network():
    def weights():
        torch.manual_seed(4)
        return factory.build("test_vit", 3, "none").state_dict()

    timm_models._seen.pop("test_vit", None)
    first, second = weights(), weights()  # the first has its sizes looked up
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_other_names_do_not_load_timm():
    code = (
        "import sys; from lib.models import factory; factory.build('small', 3, 'none');"
        " factory.build('squeezenet1_1', 3, 'none'); sys.exit('timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0
