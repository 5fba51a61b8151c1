import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.shuffle import ClusterOrder, EpochOrder


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


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(0, 9),
    st.lists(st.integers(0, 210), max_size=5),
)
def test_batches_have_one_cluster_whatever_the_slices(clusters, batch_size, seed, cuts):
    cluster = np.array(clusters, np.int8)
    rows = 3 * np.arange(len(cluster)) + 5
    batch_size = min(batch_size, len(rows))
    order = ClusterOrder(rows, cluster, batch_size, seed, 2)
    count = len(rows) // batch_size * batch_size
    assert len(order) == count
    epoch = order.slice(0, count)
    of_batch = cluster[(epoch - 5) // 3].reshape(-1, batch_size)
    assert (of_batch == of_batch[:, :1]).all()
    for k, num_rows in enumerate(np.bincount(cluster)):
        shown = epoch[cluster[(epoch - 5) // 3] == k]
        share = len(order) * num_rows / len(rows) / batch_size
        assert abs(len(shown) / batch_size - share) < 1 + 1e-9
        times = np.unique(shown, return_counts=True)[1]  # no row again before all have been shown
        assert len(times) == 0 or times.max() <= -(-len(shown) // num_rows)
    bounds = sorted({0, count, *(min(cut, count) for cut in cuts)})
    for first, last in itertools.pairwise(bounds):  # without the slices before
        again = ClusterOrder(rows, cluster, batch_size, seed, 2)
        assert again.slice(first, last).tolist() == epoch[first:last].tolist()


def test_over_many_epochs_the_rows_of_all_clusters_are_shown_equally_often():
    rows, cluster = np.arange(100), np.repeat([0, 1, 2], [5, 25, 70]).astype(np.int8)
    orders = [ClusterOrder(rows, cluster, 16, 1, epoch) for epoch in range(600)]
    shown = np.bincount(np.concatenate([order.slice(0, 96) for order in orders]), minlength=100)
    means = [shown[cluster == k].mean() / 600 for k in range(3)]
    np.testing.assert_allclose(means, 0.96, rtol=0.12)
    assert len({tuple(order.slice(0, 96).tolist()) for order in orders[:20]}) == 20
