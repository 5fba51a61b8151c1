import urllib.error

import pytest
import torch

from lib.errors import UserError
from lib.models import factory, torchvision_ops

torchvision_ops.ensure()
import torchvision  # noqa: E402  # only imports once the operators are declared


@pytest.fixture
def resnet_file(tmp_path):
    """As the original's own source gives it: other names for the head, 1000 classes."""
    torch.manual_seed(5)
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


def test_a_file_of_the_original_fills_the_body_and_not_the_head(resnet_file):
    state = torch.load(resnet_file, weights_only=True)
    net = factory.build("resnet18", 3, str(resnet_file))
    for key, value in net.body.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert net.head.out_features == 3


@pytest.mark.parametrize(
    ("wrap", "prefix"), [("state_dict", ""), ("state_dict", "module."), ("model", "")]
)
def test_wrapped_files_are_read(resnet_file, wrap, prefix):
    state = torch.load(resnet_file, weights_only=True)
    torch.save({wrap: {prefix + k: v for k, v in state.items()}, "epoch": 3}, resnet_file)
    net = factory.build("resnet18", 3, str(resnet_file))
    assert torch.equal(net.body.state_dict()["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize("network", ["vgg11", "alexnet", "squeezenet1_1", "densenet121"])
def test_files_of_torchvision_fit_the_renamed_bodies(network, tmp_path):
    theirs = getattr(torchvision.models, network)()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    net = factory.build(network, 3, str(tmp_path / "weights.pth")).eval()
    values = sum(float(p.detach().abs().sum()) for p in net.body.parameters())
    head = (
        theirs.classifier[-1 if network in ("vgg11", "alexnet") else 1 :]
        if network != ("densenet121")
        else theirs.classifier
    )
    theirs_sum = sum(float(p.detach().abs().sum()) for p in theirs.parameters())
    theirs_sum -= sum(float(p.detach().abs().sum()) for p in head.parameters())
    assert values == pytest.approx(theirs_sum)


def test_densenet_files_older_than_torch_0_4_fit(tmp_path):
    state = torchvision.models.densenet121().state_dict()
    old = {
        k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v
        for k, v in state.items()
        if "num_batches_tracked" not in k
    }
    torch.save(old, tmp_path / "old.pth")
    net = factory.build("densenet121", 3, str(tmp_path / "old.pth"))
    key = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(net.body.state_dict()[key], state[key])


def test_a_checkpoint_of_ours_also_fills_a_head_that_fits(tmp_path):
    net = factory.build("small", 4, "none")
    torch.save({"network": "small", "classes": 4, "model": net.state_dict()}, tmp_path / "a.pt")
    same = factory.build("small", 4, str(tmp_path / "a.pt"))
    other = factory.build("small", 5, str(tmp_path / "a.pt"))
    for key, value in net.state_dict().items():
        assert torch.equal(same.state_dict()[key], value)
        if key.startswith("body."):
            assert torch.equal(other.state_dict()[key], value)
    assert other.head.out_features == 5


def test_a_file_of_another_network_is_refused(resnet_file):
    with pytest.raises(UserError, match=r"does not fit resnet34: .* missing"):
        factory.build("resnet34", 3, str(resnet_file))
    with pytest.raises(UserError, match="does not fit resnet50"):
        factory.build("resnet50", 3, str(resnet_file))


def test_a_missing_tensor_is_named(resnet_file):
    state = torch.load(resnet_file, weights_only=True)
    del state["layer1.0.conv1.weight"]
    torch.save(state, resnet_file)
    with pytest.raises(UserError, match=r"1 tensors missing, 0 .* the first layer1.0.conv1.weight"):
        factory.build("resnet18", 3, str(resnet_file))


def test_files_that_hold_no_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        factory.build("small", 3, str(tmp_path / "absent.pth"))
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="not a readable file of weights"):
        factory.build("small", 3, str(tmp_path / "text.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="not a state dict"):
        factory.build("small", 3, str(tmp_path / "list.pth"))


def test_a_source_that_does_not_answer_is_named(monkeypatch):
    def refuse(*arguments, **settings):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(UserError) as error:
        factory.build("densenet161", 3, "imagenet")
    message = str(error.value)
    assert "http://data.lip6.fr/cadene/pretrainedmodels/densenet161-347e6b360.pth" in message
    assert 'weights = "path/to/densenet161-347e6b360.pth"' in message
    assert "no route to host" in message
    assert "\n" not in message


def test_a_source_that_answers_is_used(monkeypatch):
    torch.manual_seed(3)
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **settings: state)
    net = factory.build("resnet18", 3, "imagenet")
    assert torch.equal(net.body.state_dict()["conv1.weight"], state["conv1.weight"])


def test_small_has_no_imagenet_weights():
    with pytest.raises(UserError, match='small has no ImageNet weights; set weights = "none"'):
        factory.build("small", 3, "imagenet")
