"""Every booster learns, round-trips through its native format, and repeats itself to the byte."""

import os
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lib.config import BOOSTERS_L2, BOOSTERS_L3, Stack
from lib.ranking import boosters

ALL = sorted({*BOOSTERS_L2, *BOOSTERS_L3})
SMALL = Stack(trees=30, forest_trees=30, leaves=15, min_leaf=10)
NAMES = ["prob", "share [odd]", "noise", "gap", "class", "empty"]
CLASS = 4


def table(rows, seed):
    """Truth hangs on two numbers, on one of twelve classes, and on whether `gap` is known."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, len(NAMES))).astype(np.float32)
    x[:, CLASS] = rng.integers(-1, 12, rows)
    x[rng.random(rows) < 0.3, 3] = np.nan
    x[:, 5] = np.nan
    odds = 2 * x[:, 0] - 1.5 * (x[:, 1] > 0) + 1.5 * np.isnan(x[:, 3]) + 2 * (x[:, CLASS] == 0) - 1
    return x, (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)


def fitted(name, seed=1, threads=1, dials=SMALL):
    x, y = table(2000, 0)
    return boosters.fit(name, x, y, NAMES, [CLASS], dials, seed, threads)


def saved(model, path):
    model.save(path)
    return path.read_bytes()


def test_the_config_names_only_boosters_that_exist():
    assert set(ALL) == set(boosters.EXTENSIONS)


@pytest.mark.parametrize("name", ALL)
def test_learns_and_answers_with_probabilities(name):
    x, y = table(2000, 9)
    score = fitted(name).predict(x)
    assert score.dtype == np.float32
    assert score.shape == (2000,)
    assert ((score >= 0) & (score <= 1)).all()
    assert roc_auc_score(y, score) > 0.78
    assert score.mean() == pytest.approx(y.mean(), abs=0.05)  # P(1), not P(0), and calibrated


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_scores_are_the_same(name, tmp_path):
    x, _ = table(500, 9)
    model = fitted(name)
    path = tmp_path / ".odd-ending.tmp"  # the ending must not choose the format
    model.save(path)
    loaded = boosters.load(name, path, threads=1)
    assert np.array_equal(loaded.predict(x), model.predict(x))


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_bytes_other_seed_other_bytes(name, tmp_path):
    first = saved(fitted(name), tmp_path / "a")
    assert saved(fitted(name), tmp_path / "b") == first
    assert saved(fitted(name, seed=2), tmp_path / "c") != first


@pytest.mark.parametrize("name", ALL)
def test_thread_count_leaves_no_trace_in_the_file(name, tmp_path):
    # Few trees: on a busy machine two OpenMP threads that wait for each other take seconds a tree.
    few = replace(SMALL, trees=3, forest_trees=3, leaves=4)
    two = saved(fitted(name, threads=2, dials=few), tmp_path / "two")
    assert two == saved(fitted(name, threads=1, dials=few), tmp_path / "one")


@pytest.mark.parametrize("name", ALL)
def test_input_is_left_as_it_is(name):
    x, y = table(300, 0)
    before = x.copy()
    boosters.fit(name, x, y, NAMES, [CLASS], SMALL, 1).predict(x)
    assert np.array_equal(x, before, equal_nan=True)


def test_the_three_lightgbms_of_l3_differ():
    x, _ = table(2000, 9)
    scores = [fitted(name).predict(x) for name in ("lgbm_1", "lgbm_2", "lgbm_3", "lightgbm")]
    together = np.corrcoef(scores)
    assert together[np.triu_indices(4, 1)].max() < 0.998


def test_lightgbm_reads_categories_as_categories():
    """Classes of even number are true: no few thresholds on the code can say that."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2)).astype(np.float32)
    x[:, 1] = rng.integers(0, 40, 4000)
    y = (x[:, 1] % 2 == 0).astype(np.int8)
    stump = Stack(trees=5, leaves=2, min_leaf=10)
    score = {
        places: boosters.fit("lightgbm", x, y, ["a", "b"], places, stump, 1).predict(x)
        for places in ((), (1,))
    }
    assert roc_auc_score(y, score[(1,)]) > roc_auc_score(y, score[()]) + 0.2


def test_nothing_is_written_where_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ALL:
        fitted(name)
    assert os.listdir(tmp_path) == []


def test_no_booster_speaks(capfd):
    for name in ALL:
        fitted(name)
    assert capfd.readouterr() == ("", "")


def test_bins_follow_the_order_of_values_and_set_missing_apart():
    x = np.array([[3.0, 1], [np.nan, 1], [1, 1], [2, np.nan], [1, np.nan]], np.float32)
    bins = boosters.QuantileBins().fit(x)
    assert bins.transform(x).T.tolist() == [[2, -1, 0, 1, 0], [0, 0, 0, -1, -1]]
    # Values never seen in the fit fall into the nearest bin, and a column without values into one.
    other = np.array([[9.0, 0], [-9, 5], [1.5, 1]], np.float32)
    assert bins.transform(other).T.tolist() == [[2, 0, 0], [0, 0, 0]]


def test_bins_of_many_values_hold_like_numbers():
    x = np.random.default_rng(0).lognormal(size=(5000, 1)).astype(np.float32)
    counts = np.bincount(boosters.QuantileBins().fit(x).transform(x)[:, 0].astype(int))
    assert len(counts) == boosters.BINS
    assert counts.min() > 0.8 * counts.max()


def test_trees_of_a_forest_see_a_bounded_draw():
    few = boosters.forest("random_forest", 100, SMALL, 1).get_params()
    many = boosters.forest("random_forest", 10**6, SMALL, 1).get_params()
    assert few["trees__max_samples"] is None
    assert many["trees__max_samples"] == 100_000


def test_an_unknown_name_is_refused():
    x, y = table(10, 0)
    with pytest.raises(ValueError, match="no booster named forest"):
        boosters.fit("forest", x, y, NAMES, [], SMALL, 1)
