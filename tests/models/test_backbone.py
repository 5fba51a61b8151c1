import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import UserError
from lib.models.backbone import InputSize, global_mean_pool


@given(
    side=st.integers(1, 300),
    multiple_of=st.integers(1, 40),
    offset=st.integers(0, 40),
    slack=st.integers(1, 8),
    min_padded=st.integers(1, 80),
)
def test_a_side_is_rounded_up_to_the_next_accepted_one(
    side, multiple_of, offset, slack, min_padded
):
    size = InputSize(multiple_of=multiple_of, offset=offset, slack=slack, min_padded=min_padded)
    least = max(side, min_padded)
    accepted = [s for s in range(least, least + 41) if (s - offset) % multiple_of < slack]
    assert size.round_up(side) == accepted[0]


def test_sides_below_the_minimum_are_refused():
    InputSize(min=32).check("net", (32, 40))
    with pytest.raises(UserError, match=r"crop = \[40, 31\]: net needs at least 32 pixels a side"):
        InputSize(min=32).check("net", (40, 31))


def test_a_fixed_size_accepts_no_other():
    size = InputSize(fixed=28)
    size.check("net", (28, 28))
    for other in ((28, 30), (56, 56)):
        with pytest.raises(UserError, match=r"28 by 28 pixels; set crop = \[28, 28\]"):
            size.check("net", other)


def test_pooling_averages_maps_and_keeps_vectors():
    maps = torch.randn(2, 3, 4, 5)
    pooled = global_mean_pool(torch.nn.Identity(), maps)
    torch.testing.assert_close(pooled, maps.flatten(2).mean(2))
    assert global_mean_pool(torch.nn.Identity(), pooled) is pooled
