import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.data.crops import centre, cut, places

sides = st.tuples(st.integers(1, 9), st.integers(0, 5))


def test_the_ten_views():
    assert places((10, 8), (6, 6), 1, True) == [(2, 1, False)]
    assert places((10, 8), (6, 6), 2, True) == [(2, 1, False), (2, 1, True)]
    five = [(2, 1, False), (0, 0, False), (0, 2, False), (4, 0, False), (4, 2, False)]
    assert places((10, 8), (6, 6), 5, True) == five
    mirrored = [(top, left, True) for top, left, _ in five]
    assert places((10, 8), (6, 6), 10, True) == five + mirrored


def test_views_that_coincide_are_scored_once():
    assert places((6, 6), (6, 6), 10, True) == [(0, 0, False), (0, 0, True)]


def test_a_network_trained_without_mirroring_is_shown_none():
    assert places((10, 8), (6, 6), 2, False) == [(2, 1, False)]
    assert len(places((10, 8), (6, 6), 10, False)) == 5


@given(sides, sides, st.sampled_from([1, 2, 5, 10]), st.booleans())
def test_every_view_is_a_window_of_the_picture(vertical, horizontal, views, flip):
    crop = (vertical[0], horizontal[0])
    whole = (sum(vertical), sum(horizontal))
    picture = np.arange(whole[0] * whole[1]).reshape(1, 1, *whole)
    found = places(whole, crop, views, flip)
    assert found[0] == centre(whole, crop)
    assert len(set(found)) == len(found) <= views
    for place in found:
        view = cut(torch.from_numpy(picture), place, crop).numpy()
        assert view.shape == (1, 1, *crop)
        top, left, mirrored = place
        for row in range(crop[0]):
            for column in range(crop[1]):
                there = left + (crop[1] - 1 - column if mirrored else column)
                assert view[0, 0, row, column] == picture[0, 0, top + row, there]
