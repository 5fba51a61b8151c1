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
def test_an_epoch_is_a_permutation_whatever_its_slices(count, block, window, cuts):
    rows = np.arange(count) * 3 + 5
    bounds = sorted({0, count, *(min(cut, count) for cut in cuts)})
    order = EpochOrder(rows, 1, 2, block, window)
    slices = [order.slice(first, last) for first, last in itertools.pairwise(bounds)]
    epoch = np.concatenate([rows[:0], *slices])
    assert sorted(epoch.tolist()) == rows.tolist()
    assert EpochOrder(rows, 1, 2, block, window).slice(0, count + 7).tolist() == epoch.tolist()
    for first, last in itertools.pairwise(bounds):  # without the slices before
        order = EpochOrder(rows, 1, 2, block, window)
        assert order.slice(first, last).tolist() == epoch[first:last].tolist()


def test_a_small_catalog_is_one_permutation():
    rows = np.arange(1000)
    rng = np.random.default_rng(np.random.SeedSequence((7, 3)))
    assert EpochOrder(rows, 7, 3).slice(0, 1000).tolist() == rng.permutation(rows).tolist()


def test_epochs_and_seeds_have_different_orders():
    rows = np.arange(4000)
    keys = [(1, 0), (1, 1), (2, 0)]
    orders = {tuple(EpochOrder(rows, *key, 16, 256).slice(0, 4000).tolist()) for key in keys}
    assert len(orders) == 3


def test_a_window_has_blocks_from_the_whole_file():
    rows = np.arange(100_000)
    window = np.sort(EpochOrder(rows, 1, 0, 16, 1600).slice(0, 1600))
    starts = np.flatnonzero(np.diff(window, prepend=-2) != 1)
    assert 90 <= len(starts) <= 100  # blocks of 16 neighbors, a few of them adjacent
    assert np.abs(np.histogram(window, 4, (0, 100_000))[0] - 400).max() < 300


def test_a_batch_mixes_rows_of_many_blocks():
    batch = EpochOrder(np.arange(100_000), 1, 0, 16, 1600).slice(0, 16)
    assert len(np.unique(batch // 16)) > 10
