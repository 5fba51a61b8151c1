"""Weights of a blend against brute force, and members that should have none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from lib.stacking import blend_weights as blend

NO_FOLDS = np.zeros(0, np.int8)


@st.composite
def random_shares(draw, most_members=4, most_products=30, fewest_products=1):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    members = draw(st.integers(1, most_members))
    products = draw(st.integers(fewest_products, most_products))
    shares = rng.random((members, products)) ** draw(st.sampled_from([0.2, 1, 5])) + 1e-9
    if draw(st.booleans()):
        shares[-1] = shares[0]  # a duplicate
    return np.minimum(shares, 1)


def loss(fitted, shares):
    """One product at a time, written as it is defined."""
    return np.mean([-np.log(np.dot(fitted, shares[:, i])) for i in range(shares.shape[1])])


@settings(deadline=None)
@given(random_shares(), st.sampled_from(blend.METHODS))
def test_weights_of_every_method_lie_on_the_simplex(shares, method):
    fold = np.arange(shares.shape[1]) % 3
    fitted = blend.fit_share_weights(method, shares, fold, 5)
    assert fitted.shape == (len(shares),)
    assert fitted.dtype == np.float64
    assert (fitted >= 0).all()
    assert fitted.sum() == pytest.approx(1)
    assert not ((fitted > 0) & (fitted < blend.MIN_WEIGHT / 2)).any()
    np.testing.assert_array_equal(fitted, blend.fit_share_weights(method, shares, fold, 5))


def greedy_by_hand(shares, steps):
    counts = np.zeros(len(shares))
    best, best_loss = counts, np.inf
    for step in range(1, steps + 1):
        tried = [loss((counts + unit) / step, shares) for unit in np.eye(len(shares))]
        tied = [m for m, value in enumerate(tried) if value <= min(tried) + blend.TIE]
        chosen = next((m for m in tied if counts[m]), tied[0])
        counts[chosen] += 1
        if tried[chosen] < best_loss - blend.TIE:
            best, best_loss = counts.copy(), tried[chosen]
    return best / best.sum()


@settings(deadline=None)
@given(random_shares(), st.integers(1, 6))
def test_greedy_against_brute_force(shares, steps):
    fitted = blend.fit_greedy(shares, steps)
    # Sums in another order may turn a near tie, so losses are compared and not the weights.
    assert loss(fitted, shares) == pytest.approx(
        loss(greedy_by_hand(shares, steps), shares), abs=1e-6
    )
    assert loss(fitted, shares) <= min(loss(unit, shares) for unit in np.eye(len(shares))) + 1e-9


def test_greedy_on_a_tie_selects_fewer_members():
    good = np.array([0.7, 0.6])
    assert blend.fit_greedy(np.stack([1 - good, good, good]), 5).tolist() == [0, 1, 0]


def test_greedy_combines_members_that_complement_each_other():
    shares = np.array([[0.1, 0.1], [0.9, 0.3], [0.3, 0.9]])
    np.testing.assert_allclose(blend.fit_greedy(shares, 10), [0, 0.5, 0.5])


@settings(deadline=None)
@given(random_shares(most_members=3))
def test_no_weights_of_a_grid_are_better_than_the_simplex_fit(shares):
    fitted = blend.fit_simplex(shares)
    ticks = np.linspace(0, 1, 21)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*[ticks] * len(shares))])
    grid = grid[:, grid.sum(axis=0) > 0]
    of_grid = -np.log((grid / grid.sum(axis=0)).T @ shares).mean(axis=1)
    assert loss(fitted, shares) <= of_grid.min() + 1e-6


@settings(deadline=None)
@given(random_shares(most_members=8))
def test_the_simplex_fit_has_no_direction_of_lower_loss(shares):
    """The slope towards each member: none upwards, and none at all for members with weight."""
    fitted = blend.fit_simplex(shares)
    slope = (shares / (fitted @ shares)).mean(axis=1) - 1
    assert slope.max() < 1e-4  # what cutting off weights below LEAST_WEIGHT may cost
    assert np.abs(slope * fitted).max() < 1e-4


def test_the_simplex_fit_equals_an_interior_point_solver_and_em():
    rng = np.random.default_rng(1)
    shares = np.clip(rng.beta(2, 1, (6, 400)) + rng.normal(0, 0.1, 400), 0.01, 1)
    shares[5] = 0.7 * shares[0]
    fitted = blend.fit_simplex(shares)
    assert (fitted > 0).tolist() == [True] * 5 + [False]
    free = minimize(
        lambda w: -np.log(w @ shares).mean(),
        np.full(6, 1 / 6),
        jac=lambda w: -(shares / (w @ shares)).mean(axis=1),
        method="trust-constr",
        bounds=[(0, 1)] * 6,
        constraints=LinearConstraint(np.ones((1, 6)), 1, 1),
        options={"gtol": 1e-10, "xtol": 1e-12, "maxiter": 2000},
    )
    np.testing.assert_allclose(fitted, free.x, atol=2e-3)
    assert loss(fitted, shares) <= free.fun + 1e-7
    em, losses = np.full(6, 1 / 6), []
    for _ in range(3000):
        losses.append(blend.share_log_loss(em @ shares))
        em = em * (shares / (em @ shares)).mean(axis=1)
    assert (np.diff(losses) < 1e-12).all()
    assert loss(fitted, shares) == pytest.approx(losses[-1], abs=1e-6)


@pytest.mark.parametrize("members", [np.arange(3), np.array([0, 1, 2, 0, 0, 1])])
def test_duplicate_members_do_not_change_the_simplex_fit(members):
    shares = np.random.default_rng(2).beta(2, 1, (3, 200))
    without, with_duplicates = blend.fit_simplex(shares), blend.fit_simplex(shares[members])
    assert loss(with_duplicates, shares[members]) == pytest.approx(loss(without, shares), abs=1e-7)
    summed = np.bincount(members, with_duplicates, 3)
    np.testing.assert_allclose(summed, without, atol=1e-3)


def noisy(products=600, seed=3):
    """Two members that complement each other and one that guesses, with folds."""
    rng = np.random.default_rng(seed)
    left = rng.random(products) < 0.5
    good = np.where(left, 0.8, 0.3), np.where(left, 0.3, 0.8)
    return np.stack([*good, rng.random(products) * 0.4]), rng.integers(0, 4, products)


@pytest.mark.parametrize("method", ["greedy", "convex", "selected", "best"])
def test_a_member_that_guesses_has_weight_zero(method):
    shares, fold = noisy()
    fitted = blend.fit_share_weights(method, shares, fold, 20)
    assert fitted[2] == 0
    assert method == "best" or (fitted[:2] > 0.4).all()


def test_a_member_that_helps_one_fold_and_hurts_the_others_is_dropped():
    fold = np.repeat(np.arange(4), 50)
    steady = np.where(fold == 0, 0.1, 0.5)
    lucky = np.where(fold == 0, 0.5, 0.15)
    shares = np.stack([steady, lucky])
    assert blend.fit_simplex(shares)[1] > 0.1
    assert blend.select_members(shares, fold).tolist() == [1, 0]


def test_one_of_two_equal_members_is_selected():
    shares, fold = noisy()
    fitted = blend.select_members(shares[[0, 1, 1, 2]], fold)
    assert fitted[0] > 0.4
    assert fitted[3] == 0
    assert sorted(fitted[1:3] > 0) == [False, True]


@settings(deadline=None)
@given(random_shares(most_products=60, fewest_products=60), st.integers(2, 4))
def test_selected_members_are_not_worse_on_folds_than_all(shares, folds):
    # With many products and no extreme share, few weights are of least loss on the other folds.
    shares, fold = np.maximum(shares, 1e-3), np.arange(60) % folds
    selected = blend.select_members(shares, fold) > 0

    def loss_on_folds(members):
        losses = np.empty(len(fold))
        for k in range(folds):
            weights = blend.fit_simplex(members[:, fold != k])
            losses[fold == k] = -np.log(weights @ members[:, fold == k])
        return losses.mean()

    assert loss_on_folds(shares[selected]) <= loss_on_folds(shares) + 1e-6


@settings(deadline=None)
@given(random_shares())
def test_with_one_fold_all_members_are_fitted(shares):
    fold = np.zeros(shares.shape[1], np.int8)
    selected, fitted = blend.select_members(shares, fold), blend.fit_simplex(shares)
    np.testing.assert_array_equal(selected, fitted)


def test_nothing_to_fit_is_an_error():
    with pytest.raises(ValueError, match="0 members"):
        blend.fit_share_weights("convex", np.empty((0, 3)), NO_FOLDS, 1)
    with pytest.raises(ValueError, match="0 products"):
        blend.fit_share_weights("convex", np.empty((3, 0)), NO_FOLDS, 1)
    with pytest.raises(ValueError, match="0 steps"):
        blend.fit_share_weights("greedy", np.ones((1, 1)), NO_FOLDS, 0)


def generated(num_products, quality, noise, seed=0):
    """Shares of members whose logit of the true class is higher by `quality`, among five classes.

    noise: of each member alone; all share the difficulty of a product.
    """
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(num_products, 5))
    shares = []
    for of_member, own in zip(quality, noise, strict=True):
        logits = common + rng.normal(0, own, common.shape)
        logits[:, 0] += of_member
        probs = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares.append(probs[:, 0] / probs.sum(axis=1))
    return np.maximum(np.stack(shares), 1e-9), np.arange(num_products) % 4


@pytest.mark.parametrize("num_products", [100, 300, 1000])
def test_equal_members_are_drawn_half_way_to_their_mean_which_is_best(num_products):
    shares, fold = generated(num_products, [2.0] * 6, [0.2] * 6)
    unseen, _ = generated(20_000, [2.0] * 6, [0.2] * 6, seed=1)
    selected, shrunk = (
        blend.fit_share_weights(method, shares, fold) for method in ("selected", "shrunk")
    )
    np.testing.assert_allclose(shrunk, (selected + 1 / 6) / 2)
    best = loss(np.full(6, 1 / 6), unseen)
    assert best < loss(shrunk, unseen) < loss(selected, unseen)
    assert loss(shrunk, unseen) - best < (loss(selected, unseen) - best) / 2


@pytest.mark.parametrize("num_products", [100, 300, 1000])
def test_one_good_member_among_poor_ones_stays_alone(num_products):
    shares, fold = generated(num_products, [3.0] + [0.5] * 5, [0.5] + [2.0] * 5)
    shrunk = blend.fit_share_weights("shrunk", shares, fold)
    np.testing.assert_allclose(shrunk, [1, 0, 0, 0, 0, 0], atol=0.02)


def test_many_products_tell_the_weights():
    shares, fold = generated(20_000, [2.5, 2.5, 1.0], [1.5, 1.5, 1.5])
    shrunk, selected = (
        blend.fit_share_weights(method, shares, fold) for method in ("shrunk", "selected")
    )
    np.testing.assert_array_equal(shrunk, selected)


def test_without_folds_half_the_way_is_gone():
    shares, _ = generated(50, [2.0, 1.0], [0.5, 0.5])
    fold = np.zeros(50, np.int8)
    shrunk = blend.fit_share_weights("shrunk", shares, fold)
    np.testing.assert_allclose(shrunk, (blend.fit_simplex(shares) + 0.5) / 2)
