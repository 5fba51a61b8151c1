import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from lib.config.load import load
from lib.config.model import Aspect, Model
from lib.data.aspect.clusters import BatchShape
from lib.errors import UserError
from lib.models import workarounds
from lib.models.classifier import ImageClassifier
from lib.models.factory import create_from_config, create_model, list_models
from tests.conftest import ROOT
from tests.models.model_families import FAMILIES, create_on_meta

workarounds.import_torchvision()
import pretrainedmodels  # noqa: E402  # imports torchvision

TRAINED = ("small", "efficientnet_lite0", "resnet18", "squeezenet1_1", "densenet121", "dpn68")


def test_list_models_has_every_model_of_pretrainedmodels_and_efficientnet_lite():
    assert set(pretrainedmodels.model_names) < set(list_models())
    assert {"small", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"} < set(
        list_models()
    )


@pytest.mark.parametrize(
    ("name", "near"), [("resnet17", "resnet18"), ("convnext_tini", "convnext_tiny")]
)
def test_an_unknown_name_suggests_similar_names_of_all_sources(name, near):
    with pytest.raises(UserError, match=rf"unknown model '{name}'; did you mean .*{near}"):
        create_model(name, 3, "none")


@pytest.mark.parametrize("name", FAMILIES)
def test_any_image_size_from_64_pixels_works(name):
    net = create_on_meta(name).eval()
    native = (299, 299) if "inception" in name or name == "xception" else (224, 224)
    for size in ((64, 64), (75, 96), native):
        net.check_size(size)
        images = net.normalise(torch.zeros(2, 3, *size, dtype=torch.uint8, device="meta"))
        assert net.embed(images).shape == (2, net.num_features)
        assert net(images).shape == (2, 7)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_units_hold_every_parameter_of_the_body_once(name):
    net = create_on_meta(name)
    body = [id(parameter) for parameter in net.body.parameters()]
    units = [id(p) for unit in net.units for module in unit for p in module.parameters()]
    assert sorted(units) == sorted(body)


@pytest.mark.parametrize("name", TRAINED)
def test_every_weight_gets_a_gradient(name):
    torch.manual_seed(1)
    net = create_model(name, 3, "none").train()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    functional.cross_entropy(net(net.normalise(images)), torch.tensor([0, 2])).backward()
    without_gradient = [
        k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert without_gradient == []


def test_the_same_seed_creates_the_same_model():
    def weights(seed):
        torch.manual_seed(seed)
        return create_model("small", 3, "none").state_dict()

    assert all(
        torch.equal(a, b) for a, b in zip(weights(1).values(), weights(1).values(), strict=True)
    )
    assert not torch.equal(weights(1)["head.weight"], weights(2)["head.weight"])


def test_initial_weights_do_not_depend_on_earlier_imports():
    """The first model of a process is initialised like any later one."""
    code = (
        "import torch; from lib.models import factory; torch.manual_seed(3);"
        " build = lambda: factory.create_model('squeezenet1_1', 3, 'none').state_dict();"
        " first = build(); torch.manual_seed(3); second = build();"
        " raise SystemExit(not all(torch.equal(first[key], second[key]) for key in first))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_config_whose_crop_the_backbone_does_not_accept_is_refused():
    with pytest.raises(UserError, match=r"crop = \[12, 64\]: small needs at least 16 pixels"):
        create_from_config(Model(arch="small", crop=(12, 64)), 3, "none")


TALL_AND_WIDE = [BatchShape((224, 112), (224, 112)), BatchShape((112, 224), (112, 224))]


@pytest.mark.parametrize(
    "arch", ["small", "efficientnet_lite0", "resnet18", "vgg11", "timm/vit_tiny_patch16_224"]
)
def test_aspect_clusters_need_networks_that_take_any_ratio(arch):
    create_from_config(Model(arch=arch, aspect=Aspect(2)), 3, "none", TALL_AND_WIDE)


@pytest.mark.parametrize(
    ("arch", "crop", "message"),
    [
        ("draw_cnn2", (28, 28), "draw_cnn2 takes images of 28 by 28 pixels alone; set 0"),
        ("small", (12, 90), "small needs at least 16 pixels a side, and an aspect cluster has 12"),
        ("timm/mixer_s32_224", (112, 224), "mixer_s32_224 takes images of 224 by 224 pixels alone"),
    ],
)
def test_a_network_that_takes_one_size_only_refuses_aspect_clusters(arch, crop, message):
    model = Model(arch=arch, aspect=Aspect(2))
    with pytest.raises(UserError, match=message):
        create_from_config(model, 3, "none", [BatchShape(crop, crop)])


def test_a_network_that_fails_on_a_ratio_refuses_aspect_clusters(monkeypatch):
    def fail(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(ImageClassifier, "embed", fail)
    with pytest.raises(UserError, match="small does not take images of 224 by 112 pixels; set 0"):
        create_from_config(Model(arch="small", aspect=Aspect(2)), 3, "none", TALL_AND_WIDE)


def test_the_head_is_the_one_that_the_config_describes():
    model = Model(arch="small", head="wide", head_rank=2, dropout=0.25)
    head = create_from_config(model, 5, "none").head
    assert (head.out_features, head.dropout) == (5, 0.25)
    assert head.first[0].weight.shape == (2, 5)


def test_the_9th_place_polishes_the_head_alone():
    """Its preset freezes as many parts as each network has."""
    models = load("configs/cdiscount_9th.toml").models
    for model in (models["resnext101"], models["resnext50"]):
        assert model.unfreeze_schedule[0] == len(create_on_meta(model.arch).units)
