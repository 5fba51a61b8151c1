import math

import numpy as np
import pytest

from lib.evaluation.metrics import Estimate, accuracy, draw_weights, error_reduction, gain, mcnemar


def test_interval_holds_the_value_and_narrows_with_n():
    rng = np.random.default_rng(0)
    few, many = (accuracy(rng.random(n) < 0.8) for n in (100, 10_000))
    for estimate in (few, many):
        assert estimate.low < estimate.value < estimate.high
    assert many.high - many.low < (few.high - few.low) / 5
    assert many.high - many.low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 10_000), rel=0.15)


def test_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        estimate = accuracy(rng.random(500) < 0.7, seed)
        hits += estimate.low <= 0.7 <= estimate.high
    assert 0.90 <= hits / 300 <= 0.99


def test_fewer_errors_equals_an_index_bootstrap():
    rng = np.random.default_rng(2)
    before = rng.random(800) < 0.8
    after = np.where(rng.random(800) < 0.9, before, ~before) | (rng.random(800) < 0.3)
    estimate = error_reduction(after, before)
    assert estimate.value == pytest.approx(1 - (~after).sum() / (~before).sum())
    draws = []
    for _ in range(2000):
        rows = rng.integers(0, 800, 800)
        draws.append(1 - (~after[rows]).sum() / (~before[rows]).sum())
    low, high = np.quantile(draws, [0.025, 0.975])
    assert estimate.low == pytest.approx(low, abs=0.02)
    assert estimate.high == pytest.approx(high, abs=0.02)


def test_gain_equals_an_index_bootstrap():
    rng = np.random.default_rng(4)
    before = rng.random(800) < 0.8
    after = np.where(rng.random(800) < 0.9, before, ~before) | (rng.random(800) < 0.3)
    estimate = gain(after, before)
    assert estimate.value == pytest.approx(after.mean() - before.mean())
    assert estimate.n == 800
    draws = []
    for _ in range(2000):
        rows = rng.integers(0, 800, 800)
        draws.append(after[rows].mean() - before[rows].mean())
    low, high = np.quantile(draws, [0.025, 0.975])
    assert estimate.low == pytest.approx(low, abs=0.003)
    assert estimate.high == pytest.approx(high, abs=0.003)


def test_pairs_show_a_gain_that_two_intervals_hide():
    before = np.arange(1000) % 5 > 0
    after = before.copy()
    after[:50] = True  # ten products mended, none broken
    assert gain(after, before).low > 0
    assert accuracy(after).low < accuracy(before).high
    assert gain(before, after).high < 0
    same = gain(before, before)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert gain(before, np.ones(1000, bool)).value == -0.2  # a baseline without errors is fine


def test_products_of_a_group_are_drawn_together():
    """Against an index bootstrap over groups; products that agree make the interval wider."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(150), rng.integers(1, 9, 150))
    before = rng.random(150)[group] < 0.7
    after = np.where(rng.random(150)[group] < 0.8, before, ~before) | (rng.random(len(group)) < 0.2)
    shares, fewer, gains = [], [], []
    rows_of = [np.flatnonzero(group == g) for g in range(150)]
    for _ in range(2000):
        rows = np.concatenate([rows_of[g] for g in rng.integers(0, 150, 150)])
        shares.append(after[rows].mean())
        fewer.append(1 - (~after[rows]).sum() / (~before[rows]).sum())
        gains.append(after[rows].mean() - before[rows].mean())
    for estimate, draws in (
        (accuracy(after, group=group), shares),
        (error_reduction(after, before, group=group), fewer),
        (gain(after, before, group=group), gains),
    ):
        low, high = np.quantile(draws, [0.025, 0.975])
        near = 0.3 * np.std(draws)  # 2,000 draws on either side leave a third of that
        assert estimate.low == pytest.approx(low, abs=near)
        assert estimate.high == pytest.approx(high, abs=near)
    alone = accuracy(after)
    together = accuracy(after, group=group)
    assert together.value == alone.value
    assert together.high - together.low > 1.3 * (alone.high - alone.low)
    assert error_reduction(after, before, group=group).value == error_reduction(after, before).value
    assert gain(after, before, group=group).value == gain(after, before).value


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ValueError, match="no products"):
        accuracy(np.zeros(0, bool))
    with pytest.raises(ValueError, match="no products"):
        gain(np.zeros(0, bool), np.zeros(0, bool))
    with pytest.raises(ValueError, match="no error"):
        error_reduction(np.ones(3, bool), np.ones(3, bool))
    with pytest.raises(ValueError, match="against"):
        error_reduction(np.ones(3, bool), np.ones(2, bool))


def test_draws_of_groups_take_all_of_their_products():
    group = np.repeat([4, 1, 9], [2, 3, 1])
    for weight in draw_weights(6, 20, seed=0, group=group):
        assert len(set(weight[:2])) == len(set(weight[2:5])) == 1
        assert weight[0] + weight[2] + weight[5] == 3
    assert {int(weight.sum()) for weight in draw_weights(6, 20, seed=0)} == {6}


def test_an_estimate_reads_as_a_value_and_its_interval():
    assert str(Estimate(0.5, 0.25, 0.75, 9)) == "0.5000 (0.2500 .. 0.7500)"


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 0), (9, 2), (4, 4), (40, 61)])
def test_mcnemar_sums_the_binomial(gained, lost):
    after = np.repeat([True, False, True, False], [gained, lost, 5, 7])
    before = np.repeat([False, True, True, False], [gained, lost, 5, 7])
    n, fewer = gained + lost, min(gained, lost)
    tail = 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    found = mcnemar(after, before)
    assert found[:2] == (gained, lost)
    assert found[2] == pytest.approx(min(1, tail))
