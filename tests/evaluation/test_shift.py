import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lib.evaluation.shift import measure_auc, measure_shift


def products(count, seed, mean=0.0, sd=1.0, size=1, columns=12):
    """Columns and groups of `size` near-duplicates; every tenth product has no picture."""
    rng = np.random.default_rng(seed)
    group = np.arange(count) // size
    values = rng.normal(mean, sd, (group[-1] + 1, columns))[group]
    values += rng.normal(0, 0.1, values.shape)
    values[rng.random(count) < 0.1, :3] = np.nan
    return values.astype(np.float32), group


def compare(labelled, new, seed=0):
    return measure_shift(labelled[0], new[0], labelled[1], new[1] + 10**6, seed)


@pytest.mark.parametrize("size", [1, 5])
def test_samples_of_one_source_rarely_differ(size):
    found = [
        compare(products(300, seed, size=size), products(200, seed + 1000, size=size))
        for seed in range(40)
    ]
    assert sum(shift.differs for shift in found) <= 4
    assert sum(shift.auc.low <= 0.5 <= shift.auc.high for shift in found) >= 34
    assert np.mean([1 - shift.supported.mean() for shift in found]) <= 0.01
    same = next(shift for shift in found if not shift.differs)
    assert (same.weights == 1).all()
    assert same.effective == pytest.approx(300 / size)
    assert same.auc.n == 500


def test_products_from_elsewhere_differ_and_have_no_support():
    shift = compare(products(300, 0), products(100, 1, mean=6))
    assert shift.differs
    assert shift.auc.value > 0.99
    assert shift.supported.mean() < 0.05


def test_noisier_products_differ_though_their_mean_is_the_same():
    assert compare(products(600, 0), products(600, 1, sd=1.5)).auc.low > 0.6


def test_weights_are_the_ratio_of_the_densities():
    rng = np.random.default_rng(0)
    labelled = rng.normal(0, 1, (4000, 2)).astype(np.float32)
    new = rng.normal((0.7, 0), 1, (4000, 2)).astype(np.float32)
    shift = measure_shift(labelled, new, np.arange(4000), np.arange(4000))
    assert shift.weights.mean() == pytest.approx(1)
    truth = np.exp(0.7 * labelled[:, 0] - 0.7**2 / 2)
    assert np.corrcoef(np.log(shift.weights), np.log(truth))[0, 1] > 0.95
    weighted = np.average(labelled[:, 0], weights=shift.weights)
    assert weighted == pytest.approx(0.7, abs=0.12)
    assert 1000 < shift.effective < 4000
    assert shift.supported.mean() > 0.98


def test_a_rarer_class_keeps_its_support():
    rng = np.random.default_rng(1)
    center = np.array([[0.0] * 8, [3.0] * 8])
    rare, common = (rng.random(2000) < 0.1).astype(int), (rng.random(1000) < 0.6).astype(int)
    labelled = (center[rare] + rng.normal(size=(2000, 8))).astype(np.float32)
    new = (center[common] + rng.normal(size=(1000, 8))).astype(np.float32)
    shift = measure_shift(labelled, new, np.arange(2000), np.arange(1000))
    assert shift.differs
    assert shift.supported.mean() > 0.97
    assert np.average(rare, weights=shift.weights) == pytest.approx(0.6, abs=0.1)


def test_the_interval_is_wider_where_products_come_in_groups():
    values, new = products(400, 0, size=8), products(400, 1, mean=0.3, size=8)
    grouped = compare(values, new)
    single = compare((values[0], np.arange(400)), (new[0], np.arange(400)))
    widths = [shift.auc.high - shift.auc.low for shift in (grouped, single)]
    assert widths[0] > 1.5 * widths[1]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_the_comparison_depends_on_nothing_but_the_seed(seed, size):
    labelled, new = products(80, seed, size=size), products(50, seed + 1, size=size)
    first, second = compare(labelled, new, seed), compare(labelled, new, seed)
    assert first.auc == second.auc
    np.testing.assert_array_equal(first.weights, second.weights)
    np.testing.assert_array_equal(first.supported, second.supported)
    assert 0 <= first.auc.low <= first.auc.value <= first.auc.high <= 1


def test_the_auc_is_near_that_of_the_best_classifier():
    rng = np.random.default_rng(2)
    labelled = rng.normal(0, 1, (3000, 1)).astype(np.float32)
    new = rng.normal(1, 1, (3000, 1)).astype(np.float32)
    best = roc_auc_score(np.repeat([0, 1], 3000), np.concatenate([labelled, new])[:, 0])
    shift = measure_shift(labelled, new, np.arange(3000), np.arange(3000))
    assert shift.auc.value == pytest.approx(best, abs=0.01)
    assert shift.auc.low < best < shift.auc.high


def test_constant_and_missing_columns_tell_nothing():
    values = np.full((60, 3), np.nan, np.float32)
    values[:, 0] = 2
    shift = measure_shift(values, values, np.arange(60), np.arange(60))
    assert not shift.differs
    assert shift.supported.all()


def test_of_a_single_group_nothing_is_said():
    labelled, one = np.random.default_rng(0).normal(size=(50, 3)), np.zeros((1, 3))
    shift = measure_shift(labelled, one, np.arange(50), np.zeros(1))
    assert (shift.auc.value, shift.auc.low, shift.auc.high, shift.auc.n) == (0.5, 0, 1, 51)
    assert not shift.differs
    assert shift.weights.tolist() == [1] * 50
    assert shift.supported.tolist() == [True]
    assert measure_shift(labelled, one + 50, np.arange(50), np.zeros(1)).supported.tolist() == [
        False
    ]
    assert measure_shift(one, labelled, np.zeros(1), np.arange(50)).supported.all()
    nothing = measure_shift(labelled, one[:0], np.arange(50), np.zeros(0))
    assert not nothing.differs
    assert len(nothing.supported) == 0


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.2, 1.5])
def test_the_search_for_a_usual_distance_ends_with_the_answer_of_all_distances(scale):
    rng = np.random.default_rng(4)
    labelled = rng.normal(size=(2500, 2)).astype(np.float32)
    group = np.repeat(np.arange(1250), 2)
    new = (scale * rng.normal(size=(20, 2))).astype(np.float32)
    found = measure_shift(labelled, new, group, np.zeros(20)).supported

    columns = np.concatenate([labelled, new]).astype(np.float64)
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    distance = np.linalg.norm(columns[:, None] - columns[None, :2500], axis=2)
    others = np.where(group[:, None] == group, np.inf, distance[:2500]).min(axis=1)
    farthest = np.sort(others.reshape(-1, 2).max(axis=1))
    limit = farthest[int(np.ceil(1251 * 0.995)) - 1]
    assert found.tolist() == (distance[2500:].min(axis=1) <= limit).tolist()


def test_the_auc_alone_is_that_of_the_whole_comparison():
    labelled, new = products(300, 1), products(200, 2, mean=0.2)
    groups = (labelled[1], new[1] + 10**6)
    found = measure_auc(labelled[0], new[0], *groups, seed=3)
    assert found == measure_shift(labelled[0], new[0], *groups, seed=3).auc


def test_every_product_has_a_group():
    values, group = products(50, 0)
    with pytest.raises(ValueError, match="other numbers of groups"):
        measure_shift(values, values, group[:-1], group)
