"""Blends against brute force, and the published weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.stacking import blend, blend_weights
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
@given(candidate_rows(least_products=4), st.sampled_from(blend_weights.METHODS))
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
    expected = blend_weights.fit_share_weights(
        method, shares, fold[target == 1], blend_weights.GREEDY_STEPS
    )
    result = blend.fit_weights(members, product, target, fold, method)
    # Losses, not weights: members that differ only by rounding are as good as each other.
    losses = [blend_weights.share_log_loss(weight @ shares) for weight in (result, expected)]
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


@pytest.mark.parametrize("method", blend_weights.METHODS)
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
