import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from lib.errors import UserError
from lib.models import timm_models
from lib.models.factory import create_model
from lib.models.fuse_bn import fuse_conv_bn
from tests.conftest import ROOT
from tests.models.model_families import create_on_meta

# Every kind of features (a map, a map with channels last, tokens, a pool with weights of its own),
# and whether they are a map.
HAS_MAP = {
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


@pytest.mark.parametrize("name", HAS_MAP)
def test_any_image_size_from_64_pixels_works(name):
    net = create_on_meta(name).eval()
    for size in ((64, 64), (75, 96), (224, 224)):
        net.check_size(size)
        images = net.normalise(torch.zeros(2, 3, *size, dtype=torch.uint8, device="meta"))
        assert net.embed(images).shape == (2, net.num_features)
        assert net(images).shape == (2, 7)


@pytest.mark.parametrize("name", HAS_MAP)
def test_map_channels_describe_the_feature_map(name):
    with torch.device("meta"):
        backbone = timm_models.create_backbone(name)
    assert (backbone.map_channels > 0) == HAS_MAP[name]
    if HAS_MAP[name]:
        maps = backbone.forward_features(
            backbone.module.eval(), torch.zeros(1, 3, 96, 64, device="meta")
        )
        assert maps.shape[1] == backbone.map_channels
        assert maps.shape[2] > maps.shape[3]


@pytest.mark.parametrize("name", [*HAS_MAP, "poolformer_s12", "test_vit"])
def test_the_units_hold_every_parameter_of_the_body_once(name):
    """Also class tokens, position embeddings, norms and pools with weights."""
    net = create_on_meta(name)
    body = [id(parameter) for parameter in net.body.parameters()]
    units = [id(p) for unit in net.units for module in unit for p in module.parameters()]
    assert sorted(units) == sorted(body)
    assert len(net.units) >= 5 or name.startswith("test")


def test_units_are_in_the_order_of_execution():
    net = create_on_meta("vit_tiny_patch16_224")
    assert len(net.units) == 13  # the embedding and twelve blocks, the last with the norm
    stem = {id(parameter) for module in net.units[0] for parameter in module.parameters()}
    assert {id(net.body.cls_token), id(net.body.pos_embed)} < stem
    assert net.units[5] == [net.body.blocks[4]]
    assert net.units[12] == [net.body.blocks[11], net.body.norm]


@pytest.mark.parametrize("name", SMALL)
def test_embeddings_equal_timm_s(name):
    import timm

    torch.manual_seed(1)
    theirs = timm.create_model(name, num_classes=0).eval()
    net = create_model(name, 3, "none").eval()
    net.body.load_state_dict(theirs.state_dict())
    side = theirs.pretrained_cfg["input_size"][1]
    images = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        torch.testing.assert_close(net.embed(images), theirs(images))


@pytest.mark.parametrize("name", SMALL)
def test_models_train_from_any_unit_and_compute_the_same_when_frozen(name):
    torch.manual_seed(1)
    net = create_model(name, 3, "none")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    images = net.normalise(torch.randint(0, 256, (3, 3, 70, 64), dtype=torch.uint8))
    net.eval()
    with torch.inference_mode():
        expected = net.embed(images)
    net.freeze_body(True)
    got = net.embed(images)
    assert not got.requires_grad
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    net.freeze_body(False)
    for frozen in (2, 1, 0):
        net.train()
        net.freeze_until(frozen)
        net.zero_grad()
        functional.cross_entropy(net(images), torch.tensor([0, 1, 2])).backward()
        for number, unit in enumerate(net.units):
            trains = {p.grad is not None for module in unit for p in module.parameters()}
            assert trains == {number >= frozen}


def test_norms_with_an_activation_are_fused_into_the_convolutions():
    net = create_model("test_efficientnet", 3, "none").eval()
    fused = fuse_conv_bn(net.body, torch.randn(1, 3, 64, 64))
    assert any(isinstance(module, nn.BatchNorm2d) for module in net.body.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


def test_a_model_of_one_fixed_size_refuses_others():
    net = create_on_meta("mixer_s32_224")
    net.check_size((224, 224))
    message = r"crop = \[160, 160\]: mixer_s32_224 needs images of 224 by 224 pixels; set crop"
    with pytest.raises(UserError, match=message):
        net.check_size((160, 160))


def test_sides_are_rounded_up_to_whole_patches():
    size = create_on_meta("vit_small_patch14_dinov2.lvd142m").input_size
    assert [size.round_up(side) for side in (64, 70, 224)] == [70, 70, 224]
    assert create_on_meta("test_efficientnet").input_size.round_up(65) == 65


def test_pixels_are_normalised_as_in_the_pretraining():
    """SigLIP scales to -1 to 1, other models use the statistics of ImageNet."""
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    name = "vit_base_patch16_siglip_224"
    with torch.device("meta"):
        siglip = timm_models.create_backbone(name).stats
    assert (siglip.mean, siglip.std) == ((127.5,) * 3, (127.5,) * 3)
    got = create_model("convnext_atto", 3, "none").normalise(white).flatten()
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(got, expected)


def test_a_name_without_prefix_is_not_timm_s_if_pretrainedmodels_has_it():
    ours, theirs = (
        create_model("resnet18", 3, "none"),
        create_model("timm/resnet18", 3, "none"),
    )
    assert "torchvision" in type(ours.body).__module__
    assert type(theirs.body).__module__.startswith("timm.")


def test_an_unknown_tag_lists_the_known_tags():
    with pytest.raises(UserError, match=r"Invalid pretrained tag \(best\).*dinov2\.lvd142m"):
        create_model("vit_small_patch14_dinov2.best", 3, "none")


def test_the_same_seed_creates_the_same_model():
    def weights():
        torch.manual_seed(4)
        return create_model("test_vit2", 3, "none").state_dict()

    first, second = weights(), weights()  # only the first is probed for its image sizes
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_other_models_do_not_import_timm():
    code = (
        "import sys; from lib.models.factory import create_model; create_model('small', 3, 'none');"
        " create_model('squeezenet1_1', 3, 'none'); sys.exit('timm' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert process.returncode == 0
