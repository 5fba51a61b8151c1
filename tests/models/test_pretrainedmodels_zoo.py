import sys
import warnings

import pytest
import torch

from lib.errors import UserError
from lib.models import pretrainedmodels_zoo, workarounds
from lib.models.factory import create_model
from tests.models.model_families import create_on_meta

workarounds.import_torchvision()
import pretrainedmodels  # noqa: E402  # imports torchvision


def original(name: str) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(pretrainedmodels, name)(num_classes=1000, pretrained=None)


def test_the_native_size_is_not_padded():
    for name in pretrainedmodels.model_names:
        side = pretrainedmodels_zoo.settings(name)["input_size"][1]
        assert pretrainedmodels_zoo.input_size(name).round_up(side) == side, name
    assert pretrainedmodels_zoo.input_size("inceptionv4").round_up(64) == 75
    assert pretrainedmodels_zoo.input_size("bninception").round_up(80) == 95


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "alexnet", "xception", "dpn68", "bninception"]
)
def test_the_pooled_features_are_those_that_the_original_classifier_reads(name):
    torch.manual_seed(1)
    theirs = original(name).eval()
    classifier = theirs.get_submodule("last_linear")
    ours = create_model(name, 5, "none").eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("last_linear")}
    ours.body.load_state_dict(state)
    features = []
    classifier.register_forward_hook(lambda module, inputs, output: features.append(inputs[0]))
    side = pretrainedmodels_zoo.settings(name)["input_size"][1]
    images = torch.randn(1, 3, side, side)
    with torch.inference_mode():
        theirs(images)
        got = ours.embed(images)
    # Summed in another order: the mean of the map here, a pool there.
    torch.testing.assert_close(got, features[0].flatten(1), rtol=1e-4, atol=1e-5)


def test_a_crop_too_small_for_the_pools_is_refused():
    with pytest.raises(UserError, match=r"crop = \[56, 80\]: alexnet needs at least 63 pixels"):
        create_on_meta("alexnet").check_size((56, 80))


def test_two_resnext_models_share_no_weights():
    nets = [create_model("resnext101_32x4d", 3, "none") for _ in range(2)]
    first, second = ({p.data_ptr() for p in net.body.parameters()} for net in nets)
    assert not first & second


@pytest.mark.parametrize("name", ["resnet18", "inceptionv3", "bninception"])
def test_input_stats_are_on_the_scale_of_bytes(name):
    stats = pretrainedmodels_zoo.input_stats(name)
    settings = pretrainedmodels_zoo.settings(name)
    order = [2, 1, 0] if settings["input_space"] == "BGR" else [0, 1, 2]
    scale = 255 / max(settings["input_range"])
    assert stats.bgr == (name == "bninception")
    for values, key in ((stats.mean, "mean"), (stats.std, "std")):
        assert list(values) == pytest.approx([scale * settings[key][i] for i in order])


def test_without_the_package_its_models_name_the_remedy_and_timm_s_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "pretrainedmodels.models", None)  # as if not installed
    with pytest.raises(UserError, match="pip install pretrainedmodels"):
        create_model("resnet18", 3, "none")
    assert create_model("timm/test_resnet", 3, "none").num_classes == 3
