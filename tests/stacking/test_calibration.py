"""Temperatures against grids, and thresholds that keep their promise."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtrc

from lib.stacking import blend
from lib.stacking import calibration as calibrate
from lib.stacking.calibration import Calibration
from tests.stacking.toy_rows import candidate_rows, many_rows


def loss(temperature, score, product, target):
    """Of the true candidates, one product at a time; zero scores as `LEAST` of the product's."""
    losses = []
    for number in np.unique(product):
        rows = product == number
        if target[rows].any():
            total = score[rows].sum()
            share = score[rows] / total if total else np.full(rows.sum(), 1 / rows.sum())
            logs = np.log(np.maximum(share, blend.LEAST)) / temperature
            losses.append(np.log(np.exp(logs).sum()) - logs[target[rows] == 1][0])
    return np.mean(losses)


@given(candidate_rows(least_products=2), st.sampled_from([0.3, 1, 4]))
def test_no_temperature_of_a_grid_is_better(rows, spread):
    product, _, target, rng = rows
    score = np.exp(rng.normal(0, spread, len(product))).astype(np.float32)
    score[rng.random(len(score)) < 0.1] = 0
    if not target.any():
        with pytest.raises(ValueError, match="no product"):
            calibrate.fit(score, product, target)
        return
    found = calibrate.fit(score, product, target)
    assert 1 / calibrate.HOTTEST <= found.temperature <= calibrate.HOTTEST
    best = loss(found.temperature, score, product, target)
    grid = np.geomspace(1 / calibrate.HOTTEST, calibrate.HOTTEST, 60)
    assert best <= min(loss(t, score, product, target) for t in grid) + 1e-5
    products, with_truth = len(np.unique(product)), int(target.sum())
    assert found.found == pytest.approx((with_truth + 1) / (products + 2))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_scores_that_are_too_sure_or_too_shy_are_mended(temperature):
    product, target, _, members = many_rows(np.random.default_rng(0), products=4000, members=1)
    score = blend.normalise(members[0], product) ** temperature
    found = calibrate.fit(score.astype(np.float32), product, target)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    top = np.flatnonzero(blend.rank(score, product) == 0)

    def error(scores):
        return calibrate.reliability(scores[top], target[top] == 1)[1]

    mended = error(calibrate.apply(found, score, product))
    assert mended < 0.02 < error(blend.normalise(score, product))


def test_the_temperature_is_1_where_it_changes_nothing():
    product, target = np.array([0, 1, 1], np.int32), np.array([1, 0, 1], np.int8)
    score = np.array([0.3, 0.2, 0.2], np.float32)
    assert calibrate.fit(score, product, target).temperature == 1


def test_scores_that_are_always_right_are_sharpened_to_the_bound():
    product, target = np.array([0, 0, 1, 1], np.int32), np.array([1, 0, 0, 1], np.int8)
    score = np.array([0.6, 0.4, 0.1, 0.9], np.float32)
    coldest = 1 / calibrate.HOTTEST
    assert calibrate.fit(score, product, target).temperature == pytest.approx(coldest)
    assert calibrate.fit(1 - score, product, target).temperature == calibrate.HOTTEST


@given(candidate_rows(), st.sampled_from([0.2, 1.0, 3.0]), st.floats(0.01, 1))
def test_probabilities_sum_to_found_and_keep_the_order(rows, temperature, found):
    product, _, _, rng = rows
    score = rng.integers(0, 4, len(product)).astype(np.float32)  # many ties, many zeros
    probability = calibrate.apply(Calibration(temperature, found), score, product)
    assert probability.dtype == np.float32
    for number in np.unique(product):
        mine = product == number
        assert probability[mine].sum() == pytest.approx(found, rel=1e-5)
        steps = np.sign(np.subtract.outer(score[mine], score[mine]))
        kept = np.sign(np.subtract.outer(probability[mine], probability[mine]))
        assert (kept[steps != 0] == steps[steps != 0]).all()
        np.testing.assert_allclose(kept[steps == 0], 0)


def test_temperature_1_leaves_shares_and_scale_does_not_count():
    product = np.array([3, 3, 9, 9], np.int32)
    score = np.array([3, 1, 0, 0], np.float32)
    for scale in (1, 1e-6, 1e6):
        found = calibrate.apply(Calibration(1.0, 0.8), score * np.float32(scale), product)
        np.testing.assert_allclose(found, [0.6, 0.2, 0.4, 0.4], rtol=1e-6)
    assert len(calibrate.apply(Calibration(1.0, 0.8), score[:0], product[:0])) == 0


@pytest.mark.parametrize("wrong", [np.nan, -0.1])
def test_unscored_and_negative_rows_are_refused(wrong):
    product, target = np.zeros(2, np.int32), np.array([1, 0], np.int8)
    score = np.array([0.5, wrong], np.float32)
    with pytest.raises(ValueError, match="unscored or below 0"):
        calibrate.fit(score, product, target)
    with pytest.raises(ValueError, match="unscored or below 0"):
        calibrate.apply(Calibration(1, 1), score, product)


def test_json_there_and_back():
    calibration = Calibration(1.25, 0.5)
    facts = {**json.loads(json.dumps(calibration.to_json())), "threshold": None}
    assert Calibration.from_json(facts) == calibration


def naive(confidence, correct, precision, level):
    """The least threshold of all whose own bound holds: the best of many tries."""
    order = np.argsort(-confidence)
    right, count = np.cumsum(correct[order]), np.arange(1, len(order) + 1)
    good = np.flatnonzero(bdtrc(right - 1, count, precision) <= 1 - level)
    return confidence[order[good[-1]]] if len(good) else None


def misses(choose, draws, products, chance, true_precision):
    """In how many draws the chosen threshold's true precision is below 0.9."""
    rng, count = np.random.default_rng(7), 0
    for _ in range(draws):
        confidence = rng.random(products)
        correct = rng.random(products) < chance(confidence)
        found = choose(confidence, correct, 0.9, 0.95)
        count += found is not None and true_precision(found) < 0.9
    return count


def test_a_threshold_breaks_its_promise_in_at_most_1_of_20_draws():
    """Every threshold is just not good enough, so each one that is found is a mistake."""
    draws = 400
    case = (draws, 1500, lambda c: np.full(len(c), 0.8999), lambda t: 0.8999)
    allowed = draws * 0.05 + 3 * np.sqrt(draws * 0.05 * 0.95)
    assert misses(calibrate.threshold, *case) <= allowed
    assert misses(naive, *case) > 2 * allowed


def test_a_threshold_on_calibrated_confidences_is_valid_and_near_the_best():
    def precision_above(t):  # of confidences that are even on t .. 1 and right as often
        return (1 + t) / 2

    assert misses(calibrate.threshold, 200, 2000, lambda c: c, precision_above) <= 19
    rng = np.random.default_rng(8)
    confidence = rng.random(20_000)
    found = calibrate.threshold(confidence, rng.random(20_000) < confidence, 0.9)
    assert 0.8 <= found < 0.84  # 0.8 is the best that there is


def test_one_mistake_at_the_top_does_not_end_all():
    confidence = np.linspace(1, 0, 2000)
    correct = np.ones(2000, bool)
    correct[:2] = False
    assert calibrate.threshold(confidence, correct, 0.95) == 0


def test_products_of_one_confidence_are_accepted_together():
    confidence = np.repeat([0.9, 0.5], 500).astype(np.float32)
    correct = np.ones(1000, bool)
    correct[500:750] = False  # the first of the 0.5 look bad, the last of them good
    assert calibrate.threshold(confidence, correct, 0.95) == np.float32(0.9)
    assert calibrate.threshold(confidence, correct[::-1], 0.95) is None


def test_few_products_show_nothing():
    """0.95 ** 59 is the first power below 0.05."""
    for count, found in ((0, None), (58, None), (59, 0.5), (100, 0.5), (200, 0.5)):
        confidence, correct = np.full(count, 0.5), np.ones(count, bool)
        assert calibrate.threshold(confidence, correct, 0.95) == found
    assert calibrate.threshold(np.full(1000, 0.5), np.zeros(1000, bool), 0.01) is None


def test_thresholds_refuse_what_they_cannot_read():
    confidence, correct = np.full(3, 0.5), np.ones(3, bool)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        calibrate.threshold(confidence, correct, 1.0)
    with pytest.raises(ValueError, match="3 confidences, 2 answers"):
        calibrate.threshold(confidence, correct[:2], 0.9)
    with pytest.raises(ValueError, match="unscored"):
        calibrate.threshold(np.array([0.1, np.nan, 0.3]), correct, 0.9)


def test_reliability_by_hand():
    confidence = np.array([0.05, 0.15, 0.1, 1.0, 0.95], np.float32)
    correct = np.array([False, True, False, True, True])
    rows, error = calibrate.reliability(confidence, correct)
    assert [(row["low"], row["high"], row["n"]) for row in rows] == [
        (0.0, 0.1, 1),
        (0.1, 0.2, 2),
        (0.9, 1.0, 2),
    ]
    assert [row["accuracy"] for row in rows] == [0, 0.5, 1]
    np.testing.assert_allclose([row["confidence"] for row in rows], [0.05, 0.125, 0.975])
    assert error == pytest.approx((0.05 + 2 * 0.375 + 2 * 0.025) / 5)
    json.dumps(rows)


def test_reliability_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="no products"):
        calibrate.reliability(np.empty(0), np.empty(0, bool))
    for wrong in (np.nan, 1.5, -0.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            calibrate.reliability(np.array([wrong]), np.ones(1, bool))
