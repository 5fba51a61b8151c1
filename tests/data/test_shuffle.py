"""Every row once an epoch, whatever the pieces it is asked for in."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lib.data.shuffle import EpochOrder


@given(
    st.integers(0, 300),
    st.integers(1, 20),
    st.integers(1, 120),
    st.lists(st.integers(0, 320), max_size=6),
)
def test_an_epoch_is_a_permutation_however_it_is_cut(count, block, window, cuts):
    rows = np.arange(count) * 3 + 5
    places = sorted({0, count, *(min(cut, count) for cut in cuts)})
    order = EpochOrder(rows, 1, 2, block, window)
    pieces = [order.slice(a, b) for a, b in itertools.pairwise(places)]
    whole = np.concatenate([rows[:0], *pieces])
    assert sorted(whole.tolist()) == rows.tolist()
    again = EpochOrder(rows, 1, 2, block, window)
    assert again.slice(0, count + 7).tolist() == whole.tolist()
    for a, b in itertools.pairwise(places):  # from the middle, without what is before
        assert EpochOrder(rows, 1, 2, block, window).slice(a, b).tolist() == whole[a:b].tolist()


def test_a_small_catalogue_is_permuted_whole():
    rows = np.arange(1000)
    rng = np.random.default_rng(np.random.SeedSequence((7, 3)))
    assert EpochOrder(rows, 7, 3).slice(0, 1000).tolist() == rng.permutation(rows).tolist()


def test_epochs_and_seeds_differ():
    rows = np.arange(4000)
    orders = [EpochOrder(rows, *key, 16, 256).slice(0, 4000).tolist() for key in ((1, 0), (1, 1))]
    orders.append(EpochOrder(rows, 2, 0, 16, 256).slice(0, 4000).tolist())
    assert len({tuple(order) for order in orders}) == 3


def test_a_window_holds_blocks_from_all_over_the_file():
    rows = np.arange(100_000)
    window = np.sort(EpochOrder(rows, 1, 0, 16, 1600).slice(0, 1600))
    starts = np.flatnonzero(np.diff(window, prepend=-2) != 1)
    assert 90 <= len(starts) <= 100  # blocks of 16 neighbours, a few side by side
    assert np.abs(np.histogram(window, 4, (0, 100_000))[0] - 400).max() < 300
    mixed = EpochOrder(rows, 1, 0, 16, 1600).slice(0, 16)
    assert len(np.unique(mixed // 16)) > 10  # a batch is not a block
