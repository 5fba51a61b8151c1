"""Entries of groups against numpy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features.hash_kernels import find_class


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.lists(st.integers(0, 9), unique=True), min_size=1))
def test_every_entry_is_found(groups: list[list[int]]) -> None:
    classes = np.array([cls for group in groups for cls in group], np.int16)
    start = np.cumsum([0, *(len(group) for group in groups)], dtype=np.int32)
    for number, group in enumerate(groups):
        first, last = start[number], start[number + 1]
        for cls in range(-1, 10):
            entry = find_class(classes, first, last, cls)
            if cls in group:
                assert first <= entry < last
                assert classes[entry] == cls
            else:
                assert entry == -1
