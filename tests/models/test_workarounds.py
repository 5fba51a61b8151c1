import importlib
import os
import socket
import subprocess
import sys
import types
import urllib.request

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lib.models.workarounds import (
    avoid_strided_1x1,
    hub_without_retries,
    import_torchvision,
    load_tensors,
)
from tests.conftest import ROOT

TRAIN_REPVGG = """
import torch
from lib.models import factory
torch.set_num_threads(1)
net = factory.create_model("repvgg_a0", 7, "none").train()
net.to(memory_format=torch.channels_last)
for _ in range(2):
    images = net.normalise(torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8))
    net(images).sum().backward()
"""


@settings(max_examples=30, deadline=None)
@given(
    channels=st.integers(1, 15),
    stride=st.integers(2, 4),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    grouped=st.booleans(),
)
def test_subsampling_first_computes_the_same_function(channels, stride, height, width, grouped):
    torch.manual_seed(channels)
    groups = channels if grouped else 1
    conv = nn.Conv2d(channels, 2 * channels, 1, stride, groups=groups)
    maps = torch.randn(2, channels, height, width)
    expected = conv(maps)
    expected.sum().backward()
    gradient, conv.weight.grad = conv.weight.grad, None
    safe = avoid_strided_1x1(conv)
    assert safe.stride == (1, 1)
    output = safe(maps)
    output.sum().backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(safe.weight.grad, gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"kernel_size": 3}, {"padding": 1}, {"in_channels": 16}, {"stride": 1}]
)
def test_other_convolutions_are_not_changed(settings):
    conv = nn.Conv2d(
        **{"in_channels": 3, "out_channels": 4, "kernel_size": 1, "stride": 2, **settings}
    )
    stride = conv.stride
    avoid_strided_1x1(nn.Sequential(conv))
    assert conv.stride == stride
    assert not conv._forward_pre_hooks


def test_a_model_with_strided_1x1_convolutions_trains_with_a_checked_heap():
    process = subprocess.run(
        [sys.executable, "-c", TRAIN_REPVGG],
        env={**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "7"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr


def test_pretrainedmodels_imports_in_a_fresh_process():
    lines = (
        "from lib.models.workarounds import import_torchvision",
        "import_torchvision(); import_torchvision()",
        "import torchvision, pretrainedmodels",
        "print(len(pretrainedmodels.model_names), torchvision.models.resnet18.__name__)",
    )
    process = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == ["45", "resnet18"]


def test_importing_the_models_does_not_import_torchvision():
    """Otherwise something could import it before the workaround runs."""
    code = "import sys, lib.models.factory; sys.exit('torchvision' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert process.returncode == 0


def test_a_torchvision_that_works_is_left_alone(monkeypatch):
    working = types.ModuleType("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", working)
    monkeypatch.setattr(torch.library, "Library", None)  # declaring an operator would fail
    import_torchvision()
    assert sys.modules["torchvision"] is working


def test_another_failure_of_the_import_is_not_hidden(monkeypatch):
    def broken(name):
        raise RuntimeError("a broken installation")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="broken installation"):
        import_torchvision()


def test_a_checkpoint_of_one_long_name_is_refused_at_once(tmp_path):
    """torch searches its message by patterns of quadratic cost: minutes for 100 kB."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"cposix\n" + b"[" * 200_000)
    with pytest.raises(ValueError, match="not tensors alone") as raised:
        load_tensors(path)
    assert len(str(raised.value)) < 300
    torch.save({"a": torch.ones(2)}, path)
    assert load_tensors(path)["a"].tolist() == [1, 1]


def test_without_a_network_the_hub_is_not_asked(monkeypatch):
    import_torchvision()
    from timm.models import load_state_dict_from_hf

    constants = importlib.import_module("huggingface_hub.constants")

    def unknown(host, port):
        raise socket.gaierror(-2, f"{host} not known")

    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with hub_without_retries():  # what is in the cache can be read
        assert constants.is_offline_mode()
    with (
        pytest.raises(ConnectionError, match=r"huggingface\.co: huggingface\.co not known"),
        hub_without_retries(),
    ):
        load_state_dict_from_hf("timm/no_such_model")
    assert not constants.is_offline_mode()
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: [])
    with hub_without_retries():
        assert not constants.is_offline_mode()
