"""Softmax and temperatures against references, and thresholds that reach their precision."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import bdtrc
from scipy.special import softmax as scipy_softmax

from lib.stacking import calibration
from lib.stacking.blend import MIN_SHARE
from lib.stacking.calibration import Calibration, fit_calibration, fit_threshold, reliability
from lib.utils.groups import group_argmax, group_normalize
from tests.stacking.toy_rows import candidate_rows, many_rows


def loss(temperature, score, product, target):
    """Of the true candidates, one product at a time; zero scores as `LEAST` of the product's."""
    losses = []
    for number in np.unique(product):
        rows = product == number
        if target[rows].any():
            total = score[rows].sum()
            share = score[rows] / total if total else np.full(rows.sum(), 1 / rows.sum())
            logs = np.log(np.maximum(share, MIN_SHARE)) / temperature
            losses.append(np.log(np.exp(logs).sum()) - logs[target[rows] == 1][0])
    return np.mean(losses)


@settings(deadline=None)
@given(candidate_rows(least_products=2), st.sampled_from([0.3, 1, 4]))
def test_no_temperature_of_a_grid_is_better(rows, spread):
    product, _, target, rng = rows
    score = np.exp(rng.normal(0, spread, len(product))).astype(np.float32)
    score[rng.random(len(score)) < 0.1] = 0
    if not target.any():
        with pytest.raises(ValueError, match="no product"):
            fit_calibration(score, product, target)
        return
    fitted = fit_calibration(score, product, target)
    assert 1 / calibration.MAX_TEMPERATURE <= fitted.temperature <= calibration.MAX_TEMPERATURE
    best = loss(fitted.temperature, score, product, target)
    grid = np.geomspace(1 / calibration.MAX_TEMPERATURE, calibration.MAX_TEMPERATURE, 60)
    assert best <= min(loss(t, score, product, target) for t in grid) + 1e-5
    products, with_truth = len(np.unique(product)), int(target.sum())
    assert fitted.recall == pytest.approx((with_truth + 1) / (products + 2))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_overconfident_and_underconfident_scores_are_calibrated(temperature):
    product, target, _, members = many_rows(np.random.default_rng(0), products=4000, members=1)
    score = group_normalize(members[0], product) ** temperature
    fitted = fit_calibration(score.astype(np.float32), product, target)
    assert fitted.temperature == pytest.approx(temperature, rel=0.1)
    top = group_argmax(score, product)

    def error(scores):
        return reliability(scores[top], target[top] == 1)[1]

    calibrated = error(fitted.apply(score, product))
    assert calibrated < 0.02 < error(group_normalize(score, product))


def test_the_temperature_is_1_where_it_changes_nothing():
    product, target = np.array([0, 1, 1], np.int32), np.array([1, 0, 1], np.int8)
    score = np.array([0.3, 0.2, 0.2], np.float32)
    assert fit_calibration(score, product, target).temperature == 1


def test_scores_that_are_always_right_have_the_lowest_temperature():
    product, target = np.array([0, 0, 1, 1], np.int32), np.array([1, 0, 0, 1], np.int8)
    score = np.array([0.6, 0.4, 0.1, 0.9], np.float32)
    coldest = 1 / calibration.MAX_TEMPERATURE
    assert fit_calibration(score, product, target).temperature == pytest.approx(coldest)
    assert fit_calibration(1 - score, product, target).temperature == calibration.MAX_TEMPERATURE


@settings(deadline=None)
@given(candidate_rows(), st.sampled_from([0.2, 1.0, 3.0]), st.floats(0.01, 1))
def test_probabilities_sum_to_the_recall_and_keep_the_order(rows, temperature, found):
    product, _, _, rng = rows
    score = rng.integers(0, 4, len(product)).astype(np.float32)  # many ties, many zeros
    probability = Calibration(temperature, found).apply(score, product)
    assert probability.dtype == np.float32
    for number in np.unique(product):
        rows = product == number
        assert probability[rows].sum() == pytest.approx(found, rel=1e-5)
        steps = np.sign(np.subtract.outer(score[rows], score[rows]))
        kept = np.sign(np.subtract.outer(probability[rows], probability[rows]))
        assert (kept[steps != 0] == steps[steps != 0]).all()
        np.testing.assert_allclose(kept[steps == 0], 0)


def test_temperature_1_keeps_shares_and_scale_does_not_matter():
    product = np.array([3, 3, 9, 9], np.int32)
    score = np.array([3, 1, 0, 0], np.float32)
    for scale in (1, 1e-6, 1e6):
        found = Calibration(1.0, 0.8).apply(score * np.float32(scale), product)
        np.testing.assert_allclose(found, [0.6, 0.2, 0.4, 0.4], rtol=1e-6)
    assert len(Calibration(1.0, 0.8).apply(score[:0], product[:0])) == 0


@pytest.mark.parametrize("bad", [np.nan, -0.1])
def test_unscored_and_negative_rows_are_refused(bad):
    product, target = np.zeros(2, np.int32), np.array([1, 0], np.int8)
    score = np.array([0.5, bad], np.float32)
    with pytest.raises(ValueError, match="unscored or below 0"):
        fit_calibration(score, product, target)
    with pytest.raises(ValueError, match="unscored or below 0"):
        Calibration(1, 1).apply(score, product)


def test_a_calibration_is_read_from_json_as_it_was_written():
    fitted = Calibration(1.25, 0.5)
    data = {**json.loads(json.dumps(fitted.to_dict())), "threshold": None}
    assert Calibration.from_dict(data) == fitted


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


def test_a_threshold_misses_the_precision_in_at_most_1_of_20_draws():
    """Every threshold is just not good enough, so each one that is returned is a mistake."""
    draws = 400
    case = (draws, 1500, lambda c: np.full(len(c), 0.8999), lambda t: 0.8999)
    allowed = draws * 0.05 + 3 * np.sqrt(draws * 0.05 * 0.95)
    assert misses(fit_threshold, *case) <= allowed
    assert misses(naive, *case) > 2 * allowed


def test_a_threshold_on_calibrated_confidences_is_valid_and_near_the_best():
    def precision_above(t):  # of confidences that are even on t .. 1 and right as often
        return (1 + t) / 2

    assert misses(fit_threshold, 200, 2000, lambda c: c, precision_above) <= 19
    rng = np.random.default_rng(8)
    confidence = rng.random(20_000)
    found = fit_threshold(confidence, rng.random(20_000) < confidence, 0.9)
    assert 0.8 <= found < 0.84  # 0.8 is the best that there is


def test_one_mistake_at_the_top_does_not_end_the_search():
    confidence = np.linspace(1, 0, 2000)
    correct = np.ones(2000, bool)
    correct[:2] = False
    assert fit_threshold(confidence, correct, 0.95) == 0


def test_products_of_equal_confidence_are_accepted_together():
    confidence = np.repeat([0.9, 0.5], 500).astype(np.float32)
    correct = np.ones(1000, bool)
    correct[500:750] = False  # the first of the 0.5 look bad, the last of them good
    assert fit_threshold(confidence, correct, 0.95) == np.float32(0.9)
    assert fit_threshold(confidence, correct[::-1], 0.95) is None


def test_few_products_show_no_precision():
    """0.95 ** 59 is the first power below 0.05."""
    for count, found in ((0, None), (58, None), (59, 0.5), (100, 0.5), (200, 0.5)):
        confidence, correct = np.full(count, 0.5), np.ones(count, bool)
        assert fit_threshold(confidence, correct, 0.95) == found
    assert fit_threshold(np.full(1000, 0.5), np.zeros(1000, bool), 0.01) is None


def test_a_threshold_of_invalid_confidences_is_refused():
    confidence, correct = np.full(3, 0.5), np.ones(3, bool)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        fit_threshold(confidence, correct, 1.0)
    with pytest.raises(ValueError, match="3 confidences, 2 labels"):
        fit_threshold(confidence, correct[:2], 0.9)
    with pytest.raises(ValueError, match="unscored"):
        fit_threshold(np.array([0.1, np.nan, 0.3]), correct, 0.9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 600), st.sampled_from([0.25, 1.0, 8.0]))
def test_equal_weights_change_nothing(seed, count, weight):
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.random(count), 2).astype(np.float32)
    correct = rng.random(count) < confidence**0.1
    weights = np.full(count, weight)
    assert fit_threshold(confidence, correct, 0.9) == fit_threshold(
        confidence, correct, 0.9, weight=weights
    )


def test_weighted_thresholds_are_valid_where_uncertain_products_are_more_frequent():
    misses = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        confidence = rng.random(3000)
        correct = rng.random(3000) < confidence
        # New products have confidences of density 2 (1 - c).
        found = fit_threshold(confidence, correct, 0.9, weight=2 * (1 - confidence))
        misses += found is not None and (1 + 2 * found) / 3 < 0.9  # their precision above `found`
    assert misses <= 19


def test_few_effective_products_show_no_precision():
    confidence, correct = np.full(200, 0.5), np.ones(200, bool)
    weight = np.full(200, 1e-6)
    weight[:50] = 1
    assert fit_threshold(confidence, correct, 0.95) == 0.5
    assert fit_threshold(confidence, correct, 0.95, weight=weight) is None


def test_invalid_weights_are_refused():
    confidence, correct = np.full(3, 0.5), np.ones(3, bool)
    for weight in (np.ones(2), np.array([1, -1, 1]), np.array([1, np.nan, 1])):
        with pytest.raises(ValueError, match="weights of 3 products, or below 0"):
            fit_threshold(confidence, correct, 0.9, weight=weight)
    with pytest.raises(ValueError, match="all weights are 0"):
        fit_threshold(confidence, correct, 0.9, weight=np.zeros(3))


def test_reliability_equals_a_calculation_by_hand():
    confidence = np.array([0.05, 0.15, 0.1, 1.0, 0.95], np.float32)
    correct = np.array([False, True, False, True, True])
    rows, error = reliability(confidence, correct)
    assert [(row["low"], row["high"], row["n"]) for row in rows] == [
        (0.0, 0.1, 1),
        (0.1, 0.2, 2),
        (0.9, 1.0, 2),
    ]
    assert [row["accuracy"] for row in rows] == [0, 0.5, 1]
    np.testing.assert_allclose([row["confidence"] for row in rows], [0.05, 0.125, 0.975])
    assert error == pytest.approx((0.05 + 2 * 0.375 + 2 * 0.025) / 5)
    json.dumps(rows)


def test_reliability_refuses_values_that_are_not_probabilities():
    with pytest.raises(ValueError, match="no products"):
        reliability(np.empty(0), np.empty(0, bool))
    for bad in (np.nan, 1.5, -0.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            reliability(np.array([bad]), np.ones(1, bool))


def drawn(seed, products, scale=1.0, temperature=1.0):
    """Scores of candidates, and truths drawn with the probabilities that they stand for."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, products)
    product = np.repeat(np.arange(products, dtype=np.int32) * 2, sizes)
    logits = (scale * rng.normal(size=len(product))).astype(np.float32)
    target = np.zeros(len(product), np.int8)
    for p in np.unique(product):
        rows = np.flatnonzero(product == p)
        chance = scipy_softmax(logits[rows].astype(float) / temperature)
        target[rng.choice(rows, p=chance)] = 1
    return logits, product, target


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([1e-3, 1, 50]), st.floats(0.1, 9)
)
def test_the_softmax_of_each_product_is_that_of_scipy(seed, products, scale, temperature):
    logits, product, _ = drawn(seed, products, scale)
    share = calibration.softmax(logits, product, temperature)
    assert share.dtype == np.float32
    for p in np.unique(product):
        rows = product == p
        expected = scipy_softmax(logits[rows].astype(float) / temperature)
        np.testing.assert_allclose(share[rows], expected, rtol=1e-5, atol=1e-30)
        assert share[rows].sum() == pytest.approx(1, abs=1e-6)


def test_huge_scores_do_not_overflow():
    share = calibration.softmax(np.array([1e30, -1e30, 4.0]), np.array([1, 1, 2], np.int32))
    assert share.tolist() == [1, 0, 1]


def test_no_rows_have_no_probabilities():
    assert calibration.softmax(np.empty(0), np.empty(0, np.int32)).shape == (0,)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 1, 300]))
def test_the_temperature_has_the_least_loss(seed, scale):
    logits, product, target = drawn(seed, 300, scale, temperature=scale)
    found = calibration.fit_temperature(logits, product, target)

    def loss(logarithm):
        share = calibration.softmax(logits, product, float(np.exp(logarithm)))
        return calibration.multiclass_log_loss(share, product, target)

    around = np.log(scale)
    reference = minimize_scalar(loss, bounds=(around - 3, around + 3), method="bounded")
    assert loss(np.log(found)) <= reference.fun + 1e-6


def test_the_temperature_of_the_draw_is_found():
    for temperature in (0.5, 3.0):
        logits, product, target = drawn(1, 5_000, 2.0, temperature)
        found = calibration.fit_temperature(logits, product, target)
        assert found == pytest.approx(temperature, rel=0.08)


def test_products_without_their_true_class_do_not_count():
    logits, product, target = drawn(2, 200)
    with_others = np.concatenate([logits, [9, -3, 40]]).astype(np.float32)
    more = np.concatenate([product, [1000, 1000, 1001]]).astype(np.int32)
    known = np.concatenate([target, [0, 0, 0]]).astype(np.int8)
    assert calibration.fit_temperature(with_others, more, known) == calibration.fit_temperature(
        logits, product, target
    )


def test_scores_that_are_always_or_never_right_end_at_a_bound():
    product = np.repeat(np.arange(5, dtype=np.int32), 2)
    logits = np.tile([2.0, 0.0], 5)
    right, bad = np.tile([1, 0], 5).astype(np.int8), np.tile([0, 1], 5).astype(np.int8)
    assert calibration.fit_temperature(logits, product, right) == pytest.approx(
        2 / calibration.MAX_SCALE
    )
    assert calibration.fit_temperature(logits, product, bad) == pytest.approx(
        2 * calibration.MAX_SCALE
    )


def test_equal_scores_have_temperature_1():
    product = np.array([0, 0, 1], np.int32)
    assert calibration.fit_temperature(np.ones(3), product, np.array([1, 0, 1], np.int8)) == 1


def test_the_loss_is_that_of_the_true_rows():
    product = np.array([3, 3, 5, 5], np.int32)
    share = np.array([0.2, 0.8, 0.5, 0.5], np.float32)
    loss = calibration.multiclass_log_loss(share, product, np.array([0, 1, 0, 0], np.int8))
    assert loss == pytest.approx(-np.log(0.8), rel=1e-6)


def test_invalid_scores_and_targets_are_refused():
    product = np.array([0, 0, 1], np.int32)
    with pytest.raises(ValueError, match="1 rows are unscored"):
        calibration.softmax(np.array([1, np.nan, 2]), product)
    with pytest.raises(ValueError, match="not sorted"):
        calibration.softmax(np.ones(3), product[::-1])
    with pytest.raises(ValueError, match="above 0"):
        calibration.softmax(np.ones(3), product, 0.0)
    with pytest.raises(ValueError, match="2 scores of 3 rows"):
        calibration.softmax(np.ones(2), product)
    with pytest.raises(ValueError, match="no product has its true class"):
        calibration.fit_temperature(np.ones(3), product, np.zeros(3, np.int8))
    with pytest.raises(ValueError, match="two true classes"):
        calibration.fit_temperature(np.ones(3), product, np.array([1, 1, 0], np.int8))
