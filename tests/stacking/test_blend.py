"""Blends against brute force, and the published numbers against the document."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import UserError
from lib.stacking import blend, weights
from lib.stacking.blend import MULTI
from tests.stacking.toy_rows import candidate_rows, many_rows


def published_scores(models, rng, rows=7):
    members = [*blend.published_members(models), ("mean", "l2", "catboost")]
    return {member: rng.random(rows).astype(np.float32) for member in members}


def test_published_blend_is_the_documents_formula():
    rng = np.random.default_rng(0)
    weights = dict(zip("abcdefgh", (3, 3, 2, 2, 2, 1, 3, 1), strict=True))
    y = published_scores(list(weights), rng)
    # Written as the document writes it.
    before = (
        0.5 * y["mean", "l3", "xgboost"]
        + 0.1 * y["mean", "l3", "lgbm_1"]
        + 0.25 * y["mean", "l3", "lgbm_2"]
    )
    sums = {
        booster: sum(weight * y[model, "l3", booster] for model, weight in weights.items())
        / (3 + 3 + 2 + 2 + 2 + 1 + 3 + 1)
        for booster in ("xgboost", "lgbm_1", "lgbm_2")
    }
    after = 0.5 * sums["xgboost"] + 0.25 * sums["lgbm_1"] + 0.25 * sums["lgbm_2"]
    expected = before * 0.6 + y["multi", "l2", "xgboost"] * 0.2 + after * 0.3
    blended = blend.published(y, weights)
    assert blended.dtype == np.float32
    np.testing.assert_allclose(blended, expected, rtol=1e-6)


def test_published_blend_names_what_is_missing():
    y = published_scores(["a"], np.random.default_rng(0))
    del y[MULTI], y["a", "l3", "lgbm_2"]
    with pytest.raises(UserError, match=r"lacks a/l3/lgbm_2, multi/l2/xgboost; put .*l3"):
        blend.published(y, {"a": 1.0})


@pytest.mark.parametrize("weights", [{"a": 0.0}, {"a": 2.0, "b": -1.0}])
def test_published_blend_refuses_weights_without_a_sum(weights):
    y = published_scores(["a", "b"], np.random.default_rng(0))
    with pytest.raises(UserError, match="weight"):
        blend.published(y, weights)


@given(candidate_rows())
def test_normalise_rank_and_best_against_brute_force(rows):
    product, cls, _, rng = rows
    score = rng.integers(0, 4, len(product)).astype(np.float32)  # many ties, many zeros
    share, place = blend.normalise(score, product), blend.rank(score, product)
    products, chosen = blend.best(product, cls, score)
    assert products.tolist() == sorted(set(product.tolist()))
    for number, answer in zip(products, chosen, strict=True):
        mine = np.flatnonzero(product == number)
        total = score[mine].sum()
        expected = score[mine] / total if total else np.full(len(mine), 1 / len(mine))
        np.testing.assert_allclose(share[mine], expected, rtol=1e-6)
        by_score = sorted(mine, key=lambda row: (-score[row], cls[row]))
        assert cls[by_score[0]] == answer
        assert [int(place[row]) for row in by_score] == list(range(len(mine)))


def test_class_zero_wins_and_is_returned():
    product, cls = np.array([5, 5, 9], np.int32), np.array([0, 3, 0], np.int16)
    products, chosen = blend.best(product, cls, np.array([0.9, 0.1, 0.0], np.float32))
    assert products.tolist() == [5, 9]
    assert chosen.tolist() == [0, 0]


def test_unscored_rows_stay_unscored_and_never_win():
    product, cls = np.array([1, 1, 2], np.int32), np.array([0, 1, 0], np.int16)
    score = np.array([np.nan, 0.5, 0.5], np.float32)
    assert np.isnan(blend.normalise(score, product)).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="1 rows are unscored"):
        blend.best(product, cls, score)


def test_unsorted_rows_are_refused():
    score = np.ones(2, np.float32)
    with pytest.raises(ValueError, match="not sorted by product"):
        blend.normalise(score, np.array([2, 1]))
    with pytest.raises(ValueError, match="product, class"):
        blend.best(np.array([1, 1]), np.array([3, 3]), score)


def test_no_rows():
    none = np.empty(0, np.int32)
    assert len(blend.normalise(np.empty(0, np.float32), none)) == 0
    assert len(blend.rank(np.empty(0, np.float32), none)) == 0
    assert len(blend.best(none, none.astype(np.int16), np.empty(0, np.float32))[0]) == 0


@given(candidate_rows(least_products=4), st.sampled_from(weights.METHODS))
def test_fitted_weights_read_the_true_candidates_shares(rows, how):
    """Against `weights.fit` on shares that are computed one product at a time."""
    product, _, target, rng = rows
    fold = (product % 3).astype(np.int8)
    members = rng.integers(0, 3, (3, len(product))).astype(np.float32)  # whole products of zeros
    if not target.any():
        with pytest.raises(ValueError, match="no product"):
            blend.fitted(members, product, target, fold, how)
        return
    shares = []
    for row in np.flatnonzero(target):
        mine = members[:, product == product[row]]
        total = mine.sum(axis=1)
        share = np.where(total > 0, members[:, row] / np.where(total > 0, total, 1), 1)
        shares.append(np.where(total > 0, share, 1 / mine.shape[1]))
    shares = np.maximum(np.array(shares, np.float32).T.astype(float), blend.LEAST)
    expected = weights.fit(how, shares, fold[target == 1], blend.STEPS)
    found = blend.fitted(members, product, target, fold, how)
    # Losses, not weights: members that differ by rounding alone are as good as each other.
    losses = [weights.log_loss(weight @ shares) for weight in (found, expected)]
    np.testing.assert_allclose(*losses, atol=1e-5)


def test_fitted_refuses_unscored_rows_and_two_truths():
    product, target = np.zeros(2, np.int32), np.array([1, 0], np.int8)
    members = np.array([[0.5, 0.5], [np.nan, 0.5]], np.float32)
    with pytest.raises(ValueError, match="member 1"):
        blend.fitted(members, product, target, product, "convex")
    with pytest.raises(ValueError, match="two true classes"):
        blend.fitted(members[:1], product, np.ones(2, np.int8), product, "convex")
    with pytest.raises(ValueError, match="softly: none of simple, "):
        blend.fitted(members[:1], product, target, product, "softly")


def test_mixed_adds_shares_and_not_scores():
    product = np.array([0, 0, 1, 1], np.int32)
    small = np.array([0.1, 0.3, 0, 0], np.float32)
    large = np.array([3, 1, 2, 6], np.float32)
    unread = np.full(4, np.nan, np.float32)
    found = blend.mixed([small, unread, large], np.array([0.5, 0, 0.5]), product)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0.5, 0.5, 0.375, 0.625])


@pytest.mark.parametrize("how", weights.METHODS)
def test_cross_fitted_rows_never_see_their_own_folds_labels(how):
    product, target, fold, members = many_rows(np.random.default_rng(5), products=240, members=4)
    before = blend.cross_fitted(members, product, target, fold, how)
    changed = target.copy()
    for number in np.unique(product[fold == 1]):
        rows = np.flatnonzero(product == number)
        changed[rows] = 0
        changed[rows[np.argmin(members[0][rows])]] = 1  # the truth is now what member 0 denies
    after = blend.cross_fitted(members, product, changed, fold, how)
    assert np.array_equal(before[fold == 1], after[fold == 1])
    if how not in ("simple", "best"):  # which may stay as they are
        assert not np.array_equal(before[fold != 1], after[fold != 1])


def test_cross_fitted_blends_each_fold_by_the_others_weights():
    product, target, fold, members = many_rows(np.random.default_rng(6), products=90, members=3)
    found = blend.cross_fitted(members, product, target, fold, "convex")
    for k in range(3):
        other, own = fold != k, fold == k
        fitted = blend.fitted(members[:, other], product[other], target[other], fold, "convex")
        shares = [blend.normalise(score, product)[own] for score in members]
        np.testing.assert_allclose(found[own], fitted @ np.stack(shares), rtol=1e-5)
    total = np.add.reduceat(found, blend.runs(product)[0])
    np.testing.assert_allclose(total, 1, rtol=1e-6)
