"""Blends against brute force, and the published numbers against the document."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import UserError
from lib.ranking import blend
from lib.ranking.blend import MULTI


@st.composite
def candidate_rows(draw, least_products=1):
    """(product, cls, target) sorted; some products have no truth among their candidates."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=least_products, max_size=12))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(1000, len(sizes), replace=False)).astype(np.int32)
    product = np.repeat(ids, sizes)
    cls = np.concatenate([np.sort(rng.choice(50, size, replace=False)) for size in sizes])
    target = np.zeros(len(product), np.int8)
    for number in ids:
        rows = np.flatnonzero(product == number)
        if rng.random() < 0.8:
            target[rng.choice(rows)] = 1
    return product, cls.astype(np.int16), target, rng


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
    with pytest.raises(UserError, match=r"lacks a/l3/lgbm_2, multi/l2/xgboost; put .*layer3"):
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


def loss_of(weights, members, product, target):
    """Log loss of the true class's share, one product at a time."""
    score = np.asarray(weights, float) @ members.astype(float)
    losses = []
    for number in np.unique(product):
        rows = product == number
        if target[rows].any():
            share = score[rows][target[rows] == 1][0] / score[rows].sum()
            losses.append(-np.log(max(share, blend.LEAST)))
    return np.mean(losses)


def greedy_by_hand(members, product, target, steps):
    counts = np.zeros(len(members))
    best, best_loss = counts, np.inf
    for _ in range(steps):
        tried = [
            (loss_of(counts + np.eye(len(members))[m], members, product, target), m)
            for m in range(len(members))
        ]
        least = min(loss for loss, _ in tried) + blend.TIE
        tied = [m for loss, m in tried if loss <= least]
        chosen = next((m for m in tied if counts[m]), tied[0])
        counts[chosen] += 1
        loss = tried[chosen][0]
        if loss < best_loss - blend.TIE:
            best, best_loss = counts.copy(), loss
    return best / best.sum()


@given(candidate_rows(least_products=4), st.integers(1, 4), st.integers(1, 6))
def test_greedy_against_brute_force(rows, member_count, steps):
    product, _, target, rng = rows
    members = rng.random((member_count, len(product)), dtype=np.float32) + np.float32(0.01)
    if not target.any():
        with pytest.raises(ValueError, match="no product"):
            blend.greedy(members, product, target, steps)
        return
    weights = blend.greedy(members, product, target, steps)
    assert weights.sum() == pytest.approx(1)
    found = loss_of(weights, members, product, target)
    by_hand = greedy_by_hand(members, product, target, steps)
    # Sums in another order may turn a near tie, so losses are compared and not the weights.
    assert found == pytest.approx(loss_of(by_hand, members, product, target), abs=1e-6)
    alone = [loss_of(row, members, product, target) for row in np.eye(member_count)]
    assert found <= min(alone) + 1e-9


def test_greedy_on_a_tie_takes_fewer_members():
    product, target = np.array([0, 0, 1, 1]), np.array([1, 0, 0, 1], np.int8)
    good = np.array([0.7, 0.3, 0.4, 0.6], np.float32)
    twins = np.stack([1 - good, good, good])
    assert blend.greedy(twins, product, target, 5).tolist() == [0, 1, 0]


def test_greedy_joins_members_that_mend_each_other():
    product, target = np.repeat([0, 1], 2), np.array([1, 0, 1, 0], np.int8)
    left = np.array([0.9, 0.1, 0.3, 0.7], np.float32)
    right = np.array([0.3, 0.7, 0.9, 0.1], np.float32)
    noise = np.full(4, 0.5, np.float32) * np.array([0.1, 1, 0.1, 1], np.float32)
    weights = blend.greedy(np.stack([noise, left, right]), product, target, 10)
    np.testing.assert_allclose(weights, [0, 0.5, 0.5])


def test_greedy_refuses_unscored_rows():
    product, target = np.zeros(2, np.int32), np.array([1, 0], np.int8)
    members = np.array([[0.5, 0.5], [np.nan, 0.5]], np.float32)
    with pytest.raises(ValueError, match="member 1"):
        blend.greedy(members, product, target, 3)
    with pytest.raises(ValueError, match="two true classes"):
        blend.greedy(members[:1], product, np.ones(2, np.int8), 3)
