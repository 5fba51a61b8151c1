import numpy as np
import pytest

from lib.metrics import accuracy, fewer_errors


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
    estimate = fewer_errors(after, before)
    assert estimate.value == pytest.approx(1 - (~after).sum() / (~before).sum())
    draws = []
    for _ in range(2000):
        rows = rng.integers(0, 800, 800)
        draws.append(1 - (~after[rows]).sum() / (~before[rows]).sum())
    low, high = np.quantile(draws, [0.025, 0.975])
    assert estimate.low == pytest.approx(low, abs=0.02)
    assert estimate.high == pytest.approx(high, abs=0.02)


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ValueError, match="no products"):
        accuracy(np.zeros(0, bool))
    with pytest.raises(ValueError, match="no error"):
        fewer_errors(np.ones(3, bool), np.ones(3, bool))
    with pytest.raises(ValueError, match="against"):
        fewer_errors(np.ones(3, bool), np.ones(2, bool))
