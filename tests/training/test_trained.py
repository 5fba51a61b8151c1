from dataclasses import replace

import pytest
import torch

from lib.config.model import Fusion, Model
from lib.errors import UserError
from lib.models.fusion import FusionModel
from lib.training import trained

CPU = torch.device("cpu")
FUSED = Model(input="embedding", fusion=Fusion(inputs=("a",), hidden_sizes=(7,)))


@pytest.fixture
def fused(tmp_path):
    net = FusionModel(FUSED.fusion, 6, 5)
    torch.save({"network": "-", "classes": 5, "model": net.state_dict()}, tmp_path / "fused.pt")
    return tmp_path / "fused.pt"


def test_a_network_answers_as_the_one_that_was_saved(model, checkpoints):
    saved = torch.load(checkpoints[0], weights_only=True)["model"]
    net = trained.network(checkpoints[0], model, CPU)
    assert not net.training
    assert not any(weight.requires_grad for weight in net.body.parameters())
    assert all(torch.equal(value, saved[key]) for key, value in net.state_dict().items())


def test_networks_that_are_not_there_are_named(tmp_path, model, fused):
    for load in (trained.network, lambda path, _, cpu: trained.fused(path, FUSED, 6, cpu)):
        with pytest.raises(UserError, match=r"absent\.pt: no such checkpoint"):
            load(tmp_path / "absent.pt", model, CPU)
        (tmp_path / "damaged.pt").write_bytes(fused.read_bytes()[:1000])
        with pytest.raises(UserError, match=r"damaged\.pt: not a readable checkpoint"):
            load(tmp_path / "damaged.pt", model, CPU)


def test_networks_of_other_settings_are_named(model, checkpoints, fused):
    with pytest.raises(UserError, match="holds small, the config says resnet18"):
        trained.network(checkpoints[0], replace(model, arch="resnet18"), CPU)
    other = replace(FUSED, fusion=replace(FUSED.fusion, hidden_sizes=(8,)))
    for wrong, width in ((other, 6), (FUSED, 7)):
        with pytest.raises(UserError, match="another fusion than the config says"):
            trained.fused(fused, wrong, width, CPU)
