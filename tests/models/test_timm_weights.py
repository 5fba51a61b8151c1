from functools import partial

import pytest
import torch
from torch import nn

from lib.errors import UserError
from lib.models import factory, timm_weights, torchvision_ops, weights
from lib.models.backbone import Backbone

torchvision_ops.ensure()
import timm  # noqa: E402  # imports torchvision
from safetensors.torch import save_file  # noqa: E402


def original(name, **settings):
    torch.manual_seed(5)
    return timm.create_model(name, **settings)


def check_filled(net, state):
    for key, value in net.body.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext"])
def test_a_file_of_timm_fills_the_body_and_not_the_head(name, suffix, tmp_path):
    """Their classifiers are `head.`, `classifier.` and `head.fc.`."""
    state = original(name).state_dict()
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    net = factory.build(name, 3, str(path))
    check_filled(net, state)
    assert net.head.out_features == 3


def test_a_checkpoint_of_ours_fills_both(tmp_path):
    net = factory.build("test_vit", 4, "none")
    torch.save({"network": "test_vit", "classes": 4, "model": net.state_dict()}, tmp_path / "a.pt")
    same = factory.build("test_vit", 4, str(tmp_path / "a.pt"))
    assert all(torch.equal(same.state_dict()[key], v) for key, v in net.state_dict().items())


class Bodied(nn.Module):
    """TResNet's tensors begin with `body.` and `head.`, as ours do."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(2, 3), nn.Linear(3, 5)


def test_a_file_that_only_looks_like_ours_is_told_apart(tmp_path):
    theirs, body, head = Bodied(), Bodied(), nn.Linear(3, 4)
    body.head = nn.Identity()
    made = Backbone(body, [[body]], 3, fitted=partial(timm_weights.fitted, body))
    path = tmp_path / "theirs.pth"
    torch.save(theirs.state_dict(), path)
    weights.fill("bodied", made, head, str(path))
    assert torch.equal(body.body.weight, theirs.body.weight)
    whole = {f"body.{key}": value + 1 for key, value in body.state_dict().items()}
    ours = whole | {f"head.{key}": value + 1 for key, value in head.state_dict().items()}
    wanted = head.weight + 1
    torch.save({"model": ours}, path)
    weights.fill("bodied", made, head, str(path))
    assert torch.equal(body.body.weight, theirs.body.weight + 1)
    assert torch.equal(head.weight, wanted)


def test_a_file_in_older_names_is_converted(tmp_path):
    """ConvNeXt's authors name its parts otherwise; timm knows how."""
    state = original("convnext_atto").state_dict()
    old = {}
    for key, value in state.items():
        key = key.replace("stem.", "downsample_layers.0.").replace(".conv_dw.", ".dwconv.")
        key = key.replace(".mlp.fc1.", ".pwconv1.").replace(".mlp.fc2.", ".pwconv2.")
        old[key.replace("head.norm.", "norm.").replace("head.fc.", "head.")] = value
    old = {
        key.replace("stages.", "downsample_layers.").replace("downsample.", "")
        if "downsample." in key
        else key.replace(".blocks.", "."): value
        for key, value in old.items()
    }
    torch.save({"model": old}, tmp_path / "old.pth")
    check_filled(factory.build("convnext_atto", 3, str(tmp_path / "old.pth")), state)


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save(original("test_vit").state_dict(), tmp_path / "vit.pth")
    with pytest.raises(
        UserError, match=r"vit.pth does not fit test_efficientnet: \d+ tensors miss"
    ):
        factory.build("test_efficientnet", 3, str(tmp_path / "vit.pth"))


def test_averaged_weights_of_a_training_go_first(tmp_path):
    first, second = original("test_efficientnet").state_dict(), {}
    second = {key: value + 1 for key, value in first.items()}
    torch.save({"state_dict": first, "state_dict_ema": second}, tmp_path / "a.pth")
    check_filled(factory.build("test_efficientnet", 3, str(tmp_path / "a.pth")), second)


def test_a_file_put_in_place_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "cache", lambda: tmp_path)
    state = original("test_vit").state_dict()
    save_file(state, tmp_path / "test_vit.r160_in1k.safetensors")
    check_filled(factory.build("test_vit", 3, "imagenet"), state)


def test_the_hub_is_asked_first(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "cache", lambda: tmp_path)
    state, asked = original("test_vit").state_dict(), []

    def answer(hub, **settings):
        asked.append(hub)
        return state

    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", answer)
    check_filled(factory.build("test_vit", 3, "imagenet"), state)
    assert asked == ["timm/test_vit.r160_in1k"]


def test_the_server_is_asked_where_the_hub_is_silent(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "cache", lambda: tmp_path)
    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", refuse)
    state, asked = original("convnext_atto").state_dict(), []

    def answer(url, **settings):
        asked.append(url)
        return {"model": state}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", answer)
    check_filled(factory.build("convnext_atto", 3, "imagenet"), state)
    assert asked[0].endswith(".pth")


def refuse(*arguments, **settings):
    raise OSError("nobody answers\nat all")


def test_what_to_fetch_and_where_to_put_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "cache", lambda: tmp_path)
    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", refuse)
    with pytest.raises(UserError) as error:
        factory.build("vit_base_patch16_siglip_224", 3, "imagenet")
    said = str(error.value)
    name = "vit_base_patch16_siglip_224.v2_webli"
    assert f"fetch model.safetensors of https://huggingface.co/timm/{name}" in said
    assert f"put it in place as {tmp_path / name}.safetensors" in said
    assert "nobody answers" in said
    assert "\n" not in said


def test_a_network_without_weights_says_so():
    with pytest.raises(
        UserError, match='mixer_s32_224 has no weights at timm; set weights = "none"'
    ):
        factory.build("mixer_s32_224", 3, "imagenet")
