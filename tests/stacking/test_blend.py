"""Blends and their weights against brute force, and the published weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from lib.errors import UserError
from lib.stacking import blend
from lib.stacking.blend import MULTI
from lib.utils.groups import group_normalize, group_starts
from tests.stacking.toy_rows import candidate_rows, many_rows


def published_scores(models, rng, rows=7):
    members = [*blend.published_members(models), ("mean", "l2", "catboost")]
    return {member: rng.random(rows).astype(np.float32) for member in members}


def test_the_published_blend_is_the_formula_of_the_write_up():
    rng = np.random.default_rng(0)
    weights = dict(zip("abcdefgh", (3, 3, 2, 2, 2, 1, 3, 1), strict=True))
    y = published_scores(list(weights), rng)
    # As the write-up writes it.
    before = (
        0.5 * y["mean", "l3", "xgboost"]
        + 0.1 * y["mean", "l3", "lgbm_deep"]
        + 0.25 * y["mean", "l3", "lgbm_extra"]
    )
    sums = {
        booster: sum(weight * y[model, "l3", booster] for model, weight in weights.items())
        / (3 + 3 + 2 + 2 + 2 + 1 + 3 + 1)
        for booster in ("xgboost", "lgbm_deep", "lgbm_extra")
    }
    after = 0.5 * sums["xgboost"] + 0.25 * sums["lgbm_deep"] + 0.25 * sums["lgbm_extra"]
    expected = before * 0.6 + y["multi", "l2", "xgboost"] * 0.2 + after * 0.3
    blended = blend.published(y, weights)
    assert blended.dtype == np.float32
    np.testing.assert_allclose(blended, expected, rtol=1e-6)


def test_the_published_blend_names_missing_members():
    y = published_scores(["a"], np.random.default_rng(0))
    del y[MULTI], y["a", "l3", "lgbm_extra"]
    with pytest.raises(UserError, match=r"lacks a/l3/lgbm_extra, multi/l2/xgboost; put .*l3"):
        blend.published(y, {"a": 1.0})


@pytest.mark.parametrize("weights", [{"a": 0.0}, {"a": 2.0, "b": -1.0}])
def test_the_published_blend_refuses_weights_without_a_positive_sum(weights):
    y = published_scores(["a", "b"], np.random.default_rng(0))
    with pytest.raises(UserError, match="weight"):
        blend.published(y, weights)


@settings(deadline=None)
@given(candidate_rows())
def test_the_argmax_of_a_product_is_its_best_row_and_the_lower_class_of_equals(rows):
    product, class_id, _, rng = rows
    score = rng.integers(0, 4, len(product)).astype(np.float32)  # many ties, many zeros
    products, best = blend.argmax_per_product(product, class_id, score)
    assert products.tolist() == sorted(set(product.tolist()))
    for number, chosen in zip(products, best, strict=True):
        rows_of_product = np.flatnonzero(product == number)
        by_score = sorted(rows_of_product, key=lambda row: (-score[row], class_id[row]))
        assert class_id[by_score[0]] == chosen


def test_class_zero_wins_and_is_returned():
    product, class_id = np.array([5, 5, 9], np.int32), np.array([0, 3, 0], np.int16)
    score = np.array([0.9, 0.1, 0.0], np.float32)
    products, best = blend.argmax_per_product(product, class_id, score)
    assert products.tolist() == [5, 9]
    assert best.tolist() == [0, 0]


def test_unscored_and_unsorted_rows_have_no_argmax():
    product, class_id = np.array([1, 1, 2], np.int32), np.array([0, 1, 0], np.int16)
    with pytest.raises(ValueError, match="1 rows are unscored"):
        blend.argmax_per_product(product, class_id, np.array([np.nan, 0.5, 0.5], np.float32))
    with pytest.raises(ValueError, match="product, class"):
        blend.argmax_per_product(np.array([1, 1]), np.array([3, 3]), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="not sorted"):
        blend.argmax_per_product(product[::-1], class_id, np.ones(3, np.float32))


def test_no_rows_have_no_argmax():
    none = np.empty(0, np.int32)
    products, best = blend.argmax_per_product(none, none.astype(np.int16), none.astype(np.float32))
    assert (len(products), len(best)) == (0, 0)


@settings(deadline=None)
@given(candidate_rows(least_products=4), st.sampled_from(blend.METHODS))
def test_weights_are_fitted_on_the_shares_of_the_true_candidates(rows, method):
    """Against `fit_share_weights` on shares that are computed one product at a time."""
    product, _, target, rng = rows
    fold = (product % 3).astype(np.int8)
    members = rng.integers(0, 3, (3, len(product))).astype(np.float32)  # whole products of zeros
    if not target.any():
        with pytest.raises(ValueError, match="no product"):
            blend.fit_weights(members, product, target, fold, method)
        return
    shares = []
    for row in np.flatnonzero(target):
        mine = members[:, product == product[row]]
        total = mine.sum(axis=1)
        share = np.where(total > 0, members[:, row] / np.where(total > 0, total, 1), 1)
        shares.append(np.where(total > 0, share, 1 / mine.shape[1]))
    shares = np.maximum(np.array(shares, np.float32).T.astype(float), blend.MIN_SHARE)
    expected = blend.fit_share_weights(method, shares, fold[target == 1], blend.GREEDY_STEPS)
    result = blend.fit_weights(members, product, target, fold, method)
    # Losses, not weights: members that differ only by rounding are as good as each other.
    losses = [blend.log_loss(weight @ shares) for weight in (result, expected)]
    np.testing.assert_allclose(*losses, atol=1e-5)


def test_fitting_refuses_unscored_rows_and_two_true_classes():
    product, target = np.zeros(2, np.int32), np.array([1, 0], np.int8)
    members = np.array([[0.5, 0.5], [np.nan, 0.5]], np.float32)
    with pytest.raises(ValueError, match="member 1"):
        blend.fit_weights(members, product, target, product, "convex")
    with pytest.raises(ValueError, match="two true classes"):
        blend.fit_weights(members[:1], product, np.ones(2, np.int8), product, "convex")
    with pytest.raises(ValueError, match="unknown method softly; choose from simple, "):
        blend.fit_weights(members[:1], product, target, product, "softly")


def test_the_weighted_mean_adds_shares_and_not_scores():
    product = np.array([0, 0, 1, 1], np.int32)
    small = np.array([0.1, 0.3, 0, 0], np.float32)
    large = np.array([3, 1, 2, 6], np.float32)
    not_read = np.full(4, np.nan, np.float32)
    result = blend.weighted_mean([small, not_read, large], np.array([0.5, 0, 0.5]), product)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [0.5, 0.5, 0.375, 0.625])


@pytest.mark.parametrize("method", blend.METHODS)
def test_cross_fitted_rows_do_not_depend_on_labels_of_their_fold(method):
    product, target, fold, members = many_rows(np.random.default_rng(5), products=240, members=4)
    before = blend.cross_fit(members, product, target, fold, method)
    changed = target.copy()
    for number in np.unique(product[fold == 1]):
        rows = np.flatnonzero(product == number)
        changed[rows] = 0
        changed[rows[np.argmin(members[0][rows])]] = 1  # the truth is now what member 0 denies
    after = blend.cross_fit(members, product, changed, fold, method)
    assert np.array_equal(before[fold == 1], after[fold == 1])
    if method not in ("simple", "best"):  # which may stay as they are
        assert not np.array_equal(before[fold != 1], after[fold != 1])


def test_cross_fitting_blends_each_fold_with_weights_of_the_others():
    product, target, fold, members = many_rows(np.random.default_rng(6), products=90, members=3)
    result = blend.cross_fit(members, product, target, fold, "convex")
    for k in range(3):
        other, in_fold = fold != k, fold == k
        fitted = blend.fit_weights(members[:, other], product[other], target[other], fold, "convex")
        shares = [group_normalize(score, product)[in_fold] for score in members]
        np.testing.assert_allclose(result[in_fold], fitted @ np.stack(shares), rtol=1e-5)
    total = np.add.reduceat(result, group_starts(product))
    np.testing.assert_allclose(total, 1, rtol=1e-6)


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
        losses.append(blend.log_loss(em @ shares))
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
