"""Softmax over a product's candidates: sums, order, and the temperature that generated the data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import softmax as whole

from lib.stacking import softmax


def drawn(seed, products, scale=1.0, temperature=1.0):
    """Scores of candidates, and truths drawn with the probabilities that they stand for."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, products)
    product = np.repeat(np.arange(products, dtype=np.int32) * 2, sizes)
    margin = (scale * rng.normal(size=len(product))).astype(np.float32)
    target = np.zeros(len(product), np.int8)
    for p in np.unique(product):
        rows = np.flatnonzero(product == p)
        chance = whole(margin[rows].astype(float) / temperature)
        target[rng.choice(rows, p=chance)] = 1
    return margin, product, target


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([1e-3, 1, 50]), st.floats(0.1, 9)
)
def test_each_product_is_scipys_softmax(seed, products, scale, temperature):
    margin, product, _ = drawn(seed, products, scale)
    share = softmax.softmax(margin, product, temperature)
    assert share.dtype == np.float32
    for p in np.unique(product):
        rows = product == p
        expected = whole(margin[rows].astype(float) / temperature)
        np.testing.assert_allclose(share[rows], expected, rtol=1e-5, atol=1e-30)
        assert share[rows].sum() == pytest.approx(1, abs=1e-6)


def test_huge_scores_do_not_overflow():
    share = softmax.softmax(np.array([1e30, -1e30, 4.0]), np.array([1, 1, 2], np.int32))
    assert share.tolist() == [1, 0, 1]


def test_no_rows_are_no_shares():
    assert softmax.softmax(np.empty(0), np.empty(0, np.int32)).shape == (0,)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 1, 300]))
def test_the_temperature_has_the_least_loss(seed, scale):
    margin, product, target = drawn(seed, 300, scale, temperature=scale)
    found = softmax.fit_temperature(margin, product, target)

    def loss(logarithm):
        share = softmax.softmax(margin, product, float(np.exp(logarithm)))
        return softmax.log_loss(share, product, target)

    around = np.log(scale)
    reference = minimize_scalar(loss, bounds=(around - 3, around + 3), method="bounded")
    assert loss(np.log(found)) <= reference.fun + 1e-6


def test_the_temperature_is_that_of_the_draw():
    for temperature in (0.5, 3.0):
        margin, product, target = drawn(1, 5_000, 2.0, temperature)
        found = softmax.fit_temperature(margin, product, target)
        assert found == pytest.approx(temperature, rel=0.08)


def test_products_without_their_truth_have_no_say():
    margin, product, target = drawn(2, 200)
    with_others = np.concatenate([margin, [9, -3, 40]]).astype(np.float32)
    more = np.concatenate([product, [1000, 1000, 1001]]).astype(np.int32)
    known = np.concatenate([target, [0, 0, 0]]).astype(np.int8)
    assert softmax.fit_temperature(with_others, more, known) == softmax.fit_temperature(
        margin, product, target
    )


def test_scores_that_are_always_or_never_right_end_at_a_bound():
    product = np.repeat(np.arange(5, dtype=np.int32), 2)
    margin = np.tile([2.0, 0.0], 5)
    right, wrong = np.tile([1, 0], 5).astype(np.int8), np.tile([0, 1], 5).astype(np.int8)
    assert softmax.fit_temperature(margin, product, right) == pytest.approx(2 / softmax.WIDEST)
    assert softmax.fit_temperature(margin, product, wrong) == pytest.approx(2 * softmax.WIDEST)


def test_equal_scores_have_no_temperature():
    product = np.array([0, 0, 1], np.int32)
    assert softmax.fit_temperature(np.ones(3), product, np.array([1, 0, 1], np.int8)) == 1


def test_the_loss_is_that_of_the_true_rows():
    product = np.array([3, 3, 5, 5], np.int32)
    share = np.array([0.2, 0.8, 0.5, 0.5], np.float32)
    loss = softmax.log_loss(share, product, np.array([0, 1, 0, 0], np.int8))
    assert loss == pytest.approx(-np.log(0.8), rel=1e-6)


def test_what_cannot_be_is_refused():
    product = np.array([0, 0, 1], np.int32)
    with pytest.raises(ValueError, match="1 rows are unscored"):
        softmax.softmax(np.array([1, np.nan, 2]), product)
    with pytest.raises(ValueError, match="not sorted"):
        softmax.softmax(np.ones(3), product[::-1])
    with pytest.raises(ValueError, match="above 0"):
        softmax.softmax(np.ones(3), product, 0.0)
    with pytest.raises(ValueError, match="2 scores of 3 rows"):
        softmax.softmax(np.ones(2), product)
    with pytest.raises(ValueError, match="no product has its true class"):
        softmax.fit_temperature(np.ones(3), product, np.zeros(3, np.int8))
    with pytest.raises(ValueError, match="two true classes"):
        softmax.fit_temperature(np.ones(3), product, np.array([1, 1, 0], np.int8))
