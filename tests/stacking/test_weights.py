"""Weights of a blend against brute force, and members that do not deserve any."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from lib.stacking import weights

NO_FOLDS = np.zeros(0, np.int8)


@st.composite
def some_shares(draw, most_members=4):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    members, products = draw(st.integers(1, most_members)), draw(st.integers(1, 30))
    shares = rng.random((members, products)) ** draw(st.sampled_from([0.2, 1, 5])) + 1e-9
    if draw(st.booleans()):
        shares[-1] = shares[0]  # a duplicate
    return np.minimum(shares, 1)


def loss(own, shares):
    """One product at a time, written as it is defined."""
    return np.mean([-np.log(np.dot(own, shares[:, i])) for i in range(shares.shape[1])])


@given(some_shares(), st.sampled_from(weights.METHODS))
def test_weights_lie_on_the_simplex(shares, how):
    fold = np.arange(shares.shape[1]) % 3
    own = weights.fit(how, shares, fold, steps=5)
    assert own.shape == (len(shares),)
    assert own.dtype == np.float64
    assert (own >= 0).all()
    assert own.sum() == pytest.approx(1)
    assert not ((own > 0) & (own < weights.LEAST_WEIGHT / 2)).any()
    np.testing.assert_array_equal(own, weights.fit(how, shares, fold, steps=5))


def greedy_by_hand(shares, steps):
    counts = np.zeros(len(shares))
    best, best_loss = counts, np.inf
    for step in range(1, steps + 1):
        tried = [loss((counts + one) / step, shares) for one in np.eye(len(shares))]
        tied = [m for m, value in enumerate(tried) if value <= min(tried) + weights.TIE]
        chosen = next((m for m in tied if counts[m]), tied[0])
        counts[chosen] += 1
        if tried[chosen] < best_loss - weights.TIE:
            best, best_loss = counts.copy(), tried[chosen]
    return best / best.sum()


@given(some_shares(), st.integers(1, 6))
def test_greedy_against_brute_force(shares, steps):
    own = weights.greedy(shares, steps)
    # Sums in another order may turn a near tie, so losses are compared and not the weights.
    assert loss(own, shares) == pytest.approx(loss(greedy_by_hand(shares, steps), shares), abs=1e-6)
    assert loss(own, shares) <= min(loss(one, shares) for one in np.eye(len(shares))) + 1e-9


def test_greedy_on_a_tie_takes_fewer_members():
    good = np.array([0.7, 0.6])
    assert weights.greedy(np.stack([1 - good, good, good]), 5).tolist() == [0, 1, 0]


def test_greedy_joins_members_that_mend_each_other():
    shares = np.array([[0.1, 0.1], [0.9, 0.3], [0.3, 0.9]])
    np.testing.assert_allclose(weights.greedy(shares, 10), [0, 0.5, 0.5])


@given(some_shares(most_members=3))
def test_convex_against_a_grid(shares):
    own = weights.convex(shares)
    ticks = np.linspace(0, 1, 21)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*[ticks] * len(shares))])
    grid = grid[:, grid.sum(axis=0) > 0]
    of_grid = -np.log((grid / grid.sum(axis=0)).T @ shares).mean(axis=1)
    assert loss(own, shares) <= of_grid.min() + 1e-6


@given(some_shares(most_members=8))
def test_convex_leaves_nothing_to_gain(shares):
    """The slope towards each member: at most the gap, and none for members with weight."""
    own = weights.convex(shares)
    slope = (shares / (own @ shares)).mean(axis=1) - 1
    assert slope.max() < 1e-4  # what cutting off weights below LEAST_WEIGHT may cost
    assert np.abs(slope * own).max() < 1e-4


def test_convex_against_a_general_solver_and_the_em_step():
    rng = np.random.default_rng(1)
    shares = np.clip(rng.beta(2, 1, (6, 400)) + rng.normal(0, 0.1, 400), 0.01, 1)
    shares[5] = 0.7 * shares[0]
    own = weights.convex(shares)
    assert (own > 0).tolist() == [True] * 5 + [False]
    free = minimize(
        lambda w: -np.log(w @ shares).mean(),
        np.full(6, 1 / 6),
        method="SLSQP",
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    np.testing.assert_allclose(own, free.x, atol=2e-3)
    assert loss(own, shares) <= free.fun + 1e-7
    em, losses = np.full(6, 1 / 6), []
    for _ in range(3000):
        losses.append(weights.log_loss(em @ shares))
        em = em * (shares / (em @ shares)).mean(axis=1)
    assert (np.diff(losses) < 1e-12).all()
    assert loss(own, shares) == pytest.approx(losses[-1], abs=1e-6)


@pytest.mark.parametrize("members", [np.arange(3), np.array([0, 1, 2, 0, 0, 1])])
def test_convex_is_not_hurt_by_duplicates(members):
    shares = np.random.default_rng(2).beta(2, 1, (3, 200))
    alone, together = weights.convex(shares), weights.convex(shares[members])
    assert loss(together, shares[members]) == pytest.approx(loss(alone, shares), abs=1e-7)
    summed = np.bincount(members, together, 3)
    np.testing.assert_allclose(summed, alone, atol=1e-3)


def noisy(products=600, seed=3):
    """Two members that mend each other and one that guesses, with folds."""
    rng = np.random.default_rng(seed)
    left = rng.random(products) < 0.5
    good = np.where(left, 0.8, 0.3), np.where(left, 0.3, 0.8)
    return np.stack([*good, rng.random(products) * 0.4]), rng.integers(0, 4, products)


@pytest.mark.parametrize("how", ["greedy", "convex", "selected", "best"])
def test_a_member_that_guesses_gets_nothing(how):
    shares, fold = noisy()
    own = weights.fit(how, shares, fold, steps=20)
    assert own[2] == 0
    assert how == "best" or (own[:2] > 0.4).all()


def test_selected_drops_a_member_that_helps_one_fold_and_hurts_the_others():
    fold = np.repeat(np.arange(4), 50)
    steady = np.where(fold == 0, 0.1, 0.5)
    lucky = np.where(fold == 0, 0.5, 0.15)
    shares = np.stack([steady, lucky])
    assert weights.convex(shares)[1] > 0.1
    assert weights.selected(shares, fold).tolist() == [1, 0]


def test_selected_keeps_one_of_two_that_are_the_same():
    shares, fold = noisy()
    own = weights.selected(shares[[0, 1, 1, 2]], fold)
    assert own[0] > 0.4
    assert own[3] == 0
    assert sorted(own[1:3] > 0) == [False, True]


@given(some_shares(), st.integers(2, 4))
def test_selected_is_never_worse_on_folds_than_all(shares, folds):
    fold = np.arange(shares.shape[1]) % folds
    own = weights.selected(shares, fold)
    if len(np.unique(fold)) < 2:
        np.testing.assert_array_equal(own, weights.convex(shares))
        return

    def on_folds(members):
        losses = np.empty(len(fold))
        for k in np.unique(fold):
            fitted = weights.convex(members[:, fold != k])
            losses[fold == k] = -np.log(fitted @ members[:, fold == k])
        return losses.mean()

    # `convex` stops within a gap of the least loss, which left-out products may see enlarged.
    assert on_folds(shares[own > 0]) <= on_folds(shares) + 1e-3


def test_nothing_to_fit_is_an_error():
    with pytest.raises(ValueError, match="0 members"):
        weights.fit("convex", np.empty((0, 3)), NO_FOLDS, 1)
    with pytest.raises(ValueError, match="0 products"):
        weights.fit("convex", np.empty((3, 0)), NO_FOLDS, 1)
    with pytest.raises(ValueError, match="0 steps"):
        weights.fit("greedy", np.ones((1, 1)), NO_FOLDS, 0)
