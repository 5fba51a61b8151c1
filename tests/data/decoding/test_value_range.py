import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.decoding.undecodable import UndecodableError
from lib.data.decoding.value_range import alpha_to_uint8, to_uint8


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([8, 10, 12, 14, 16]), st.integers(0, 1 << 15))
def test_the_largest_number_of_the_range_is_white(bits, value):
    top = (1 << bits) - 1
    values = np.array([0, min(value, top), top], np.uint16)
    assert np.abs(to_uint8(values) - values * (255 / top)).max() <= 0.501


@pytest.mark.parametrize(
    ("largest", "top"), [(65535, 65535), (4095, 4095), (4000, 65535), (0, 65535)]
)
def test_a_low_opacity_is_no_smaller_range(largest, top):
    alpha = np.array([0, largest // 2, largest], np.uint16)
    assert np.abs(alpha_to_uint8(alpha) - alpha * (255 / top)).max() <= 0.501


def test_floats_are_fractions_or_bytes():
    assert to_uint8(np.array([0, 0.5, 1], np.float32)).tolist() == [0, 128, 255]
    assert to_uint8(np.array([0, 12, 250], np.float64)).tolist() == [0, 12, 250]


def test_bytes_stay_as_they_are():
    assert to_uint8(np.array([0, 7, 255], np.uint8)).tolist() == [0, 7, 255]


@pytest.mark.parametrize("values", [[-1, 5], [0, 1 << 20], [0.0, 1000.0], [0.0, np.nan]])
def test_values_without_a_known_range_are_refused(values):
    with pytest.raises(UndecodableError, match="values from"):
        to_uint8(np.array(values))
