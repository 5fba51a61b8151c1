"""The rewritten convolution is the same function, and no longer takes its process down."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lib.models.workarounds import thin_out_first

STEPS = """
import torch
from lib.models import factory
torch.set_num_threads(1)
net = factory.build("repvgg_a0", 7, "none").train()
net.to(memory_format=torch.channels_last)
for _ in range(2):
    pictures = net.normalise(torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8))
    net(pictures).sum().backward()
"""


@settings(max_examples=30, deadline=None)
@given(
    channels=st.integers(1, 15),
    stride=st.integers(2, 4),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    grouped=st.booleans(),
)
def test_it_is_the_same_function(channels, stride, height, width, grouped):
    torch.manual_seed(channels)
    groups = channels if grouped else 1
    plain = nn.Conv2d(channels, 2 * channels, 1, stride, groups=groups)
    maps = torch.randn(2, channels, height, width)
    wanted = plain(maps)
    wanted.sum().backward()
    gradient, plain.weight.grad = plain.weight.grad, None
    safe = thin_out_first(plain)
    assert safe.stride == (1, 1)
    given_back = safe(maps)
    given_back.sum().backward()
    torch.testing.assert_close(given_back, wanted)
    torch.testing.assert_close(safe.weight.grad, gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"kernel_size": 3}, {"padding": 1}, {"in_channels": 16}, {"stride": 1}]
)
def test_others_stay_as_they_are(settings):
    made = nn.Conv2d(
        **{"in_channels": 3, "out_channels": 4, "kernel_size": 1, "stride": 2, **settings}
    )
    stride = made.stride
    thin_out_first(nn.Sequential(made))
    assert made.stride == stride
    assert not made._forward_pre_hooks


def test_a_network_of_this_kind_trains_with_a_heap_that_is_checked():
    ended = subprocess.run(
        [sys.executable, "-c", STEPS],
        env={**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "7"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
