"""Every booster learns, round-trips through its native format, and repeats itself to the byte."""

import os
from dataclasses import replace

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.metrics import roc_auc_score

from lib.config.schema import BOOSTERS, RANKERS, Stack
from lib.stacking import rounds, softmax
from lib.stacking.boosters import base, lightgbm_booster, registry, xgboost_booster
from lib.stacking.boosters.base import FitTask, InMemoryRows, LabelledRows

ALL = sorted(set(BOOSTERS) - set(RANKERS))
STREAMED = [name for name in BOOSTERS if registry.EXTENSIONS[name] in ("txt", "ubj")]
GROWING = [name for name in BOOSTERS if registry.has_rounds(name)]
SMALL = Stack(n_estimators=30, forest_n_estimators=30, num_leaves=15, min_data_in_leaf=10)
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


def lists(products, seed):
    """Rows of `table`, five a product, whose truth is drawn by a softmax of their odds.

    Every tenth product has no truth.
    """
    x, _ = table(5 * products, seed)
    rng = np.random.default_rng(seed)
    odds = 3 * x[:, 0] - 2 * (x[:, 1] > 0) + 3 * (x[:, CLASS] == 0)
    drawn = (odds + rng.gumbel(size=len(odds))).reshape(products, 5)
    y = (np.arange(5) == drawn.argmax(axis=1)[:, None]).astype(np.int8)
    y[::10] = 0
    return x, y.ravel(), np.repeat(np.arange(products, dtype=np.int32), 5)


def of(name, x, y, product=None, names=NAMES, categorical=(CLASS,), dials=SMALL, seed=1, **more):
    product = np.arange(len(x), dtype=np.int32) if product is None else product
    examples = LabelledRows(InMemoryRows(x), y, product)
    return registry.fit(FitTask(name, examples, names, categorical, dials, seed, **more))


def fitted(name, seed=1, threads=1, dials=SMALL, **more):
    known = lists(400, 0) if name in RANKERS else table(2000, 0)
    return of(name, *known, dials=dials, seed=seed, threads=threads, **more)


def saved(model, path):
    model.save(path)
    return path.read_bytes()


def test_the_config_names_only_boosters_that_exist():
    assert set(BOOSTERS) == set(registry.EXTENSIONS)


@pytest.mark.parametrize("name", ALL)
def test_learns_and_answers_with_probabilities(name):
    x, y = table(2000, 9)
    score = fitted(name).predict(x)
    assert score.dtype == np.float32
    assert score.shape == (2000,)
    assert ((score >= 0) & (score <= 1)).all()
    assert roc_auc_score(y, score) > 0.78
    assert score.mean() == pytest.approx(y.mean(), abs=0.05)  # P(1), not P(0), and calibrated


@pytest.mark.parametrize("name", BOOSTERS)
def test_saved_and_loaded_scores_are_the_same(name, tmp_path):
    x, _ = table(500, 9)
    model = fitted(name)
    path = tmp_path / ".odd-ending.tmp"  # the ending must not choose the format
    model.save(path)
    loaded = registry.load(name, path, threads=1)
    assert np.array_equal(loaded.predict(x), model.predict(x))


@pytest.mark.parametrize("name", BOOSTERS)
def test_same_seed_same_bytes_other_seed_other_bytes(name, tmp_path):
    first = saved(fitted(name), tmp_path / "a")
    assert saved(fitted(name), tmp_path / "b") == first
    assert saved(fitted(name, seed=2), tmp_path / "c") != first


@pytest.mark.parametrize("name", BOOSTERS)
def test_thread_count_leaves_no_trace_in_the_file(name, tmp_path):
    # Few trees: on a busy machine two OpenMP threads that wait for each other take seconds a tree.
    few = replace(SMALL, n_estimators=3, forest_n_estimators=3, num_leaves=4)
    two = saved(fitted(name, threads=2, dials=few), tmp_path / "two")
    assert two == saved(fitted(name, threads=1, dials=few), tmp_path / "one")


@pytest.mark.parametrize("name", BOOSTERS)
def test_input_is_left_as_it_is(name):
    x, y = table(300, 0)
    before = x.copy()
    product = np.repeat(np.arange(60, dtype=np.int32), 5)
    y[:] = np.arange(300) % 5 == 2
    of(name, x, y, product).predict(x)
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
    stump = Stack(n_estimators=5, num_leaves=2, min_data_in_leaf=10)
    score = {
        places: of("lightgbm", x, y, None, ["a", "b"], places, stump).predict(x)
        for places in ((), (1,))
    }
    assert roc_auc_score(y, score[(1,)]) > roc_auc_score(y, score[()]) + 0.2


def test_nothing_is_written_where_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in BOOSTERS:
        fitted(name)
    assert os.listdir(tmp_path) == []


def test_no_booster_speaks(capfd):
    for name in BOOSTERS:
        fitted(name)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_name_is_refused():
    x, y = table(10, 0)
    with pytest.raises(ValueError, match="no booster named forest"):
        of("forest", x, y)


@pytest.mark.parametrize("name", RANKERS)
def test_a_ranker_learns_the_order_of_a_products_candidates(name):
    x, y, _ = lists(400, 9)
    score = fitted(name).predict(x)
    assert score.dtype == np.float32
    first = score.reshape(-1, 5).argmax(axis=1)
    with_truth = y.reshape(-1, 5).any(axis=1)
    won = y.reshape(-1, 5)[np.arange(400), first][with_truth]
    assert won.mean() > 0.6  # of five candidates


@pytest.mark.parametrize("name", RANKERS)
def test_products_without_their_truth_teach_a_ranker_nothing(name, tmp_path):
    x, y, product = lists(200, 0)
    known = np.repeat(y.reshape(-1, 5).any(axis=1), 5)
    some = saved(of(name, x[known], y[known], product[known]), tmp_path / "a")
    assert saved(of(name, x, y, product), tmp_path / "b") == some


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("native", [False, True])
def test_rows_by_chunks_give_the_same_file_as_all_at_once(name, native, tmp_path, monkeypatch):
    dials = replace(SMALL, native_categories=native, early_stopping_rounds=5)
    watched = LabelledRows(InMemoryRows(lists(100, 5)[0]), *lists(100, 5)[1:])
    whole = fitted(name, dials=dials, watched=watched)
    monkeypatch.setattr(base, "CHUNK", 77)
    pieces = fitted(name, dials=dials, watched=watched)
    assert saved(pieces, tmp_path / "a") == saved(whole, tmp_path / "b")
    assert pieces.curve == whole.curve


def test_streamed_lightgbm_is_lightgbm_on_an_array(tmp_path, monkeypatch):
    """More rows than the library draws its bins from, and none of them out of order."""
    x, y = table(3000, 0)
    monkeypatch.setattr(base, "CHUNK", 100)
    examples = LabelledRows(InMemoryRows(x), y, np.arange(len(x), dtype=np.int32))
    asked = FitTask("lightgbm", examples, NAMES, [CLASS], SMALL, 1)
    own = lightgbm_booster._parameters
    monkeypatch.setattr(
        lightgbm_booster, "_parameters", lambda t: own(t) | {"bin_construct_sample_cnt": 500}
    )
    parameters = lightgbm_booster._parameters(asked)
    data = lightgbm.Dataset(
        x, y, feature_name=asked.labels, categorical_feature=[CLASS], params=parameters
    )
    bare = lightgbm_booster.LightGBM(lightgbm.train(parameters, data, SMALL.n_estimators), 1)
    assert saved(registry.fit(asked), tmp_path / "a") == saved(bare, tmp_path / "b")


def test_streamed_xgboost_is_xgboost_on_an_array(monkeypatch):
    x, y = table(3000, 0)
    monkeypatch.setattr(base, "CHUNK", 100)
    examples = LabelledRows(InMemoryRows(x), y, np.arange(len(x), dtype=np.int32))
    asked = FitTask("xgboost", examples, NAMES, [CLASS], SMALL, 1)
    data = xgboost.QuantileDMatrix(
        x, y, feature_names=asked.labels, max_bin=base.BINS + 1, nthread=1
    )
    bare = xgboost.train(xgboost_booster._parameters(asked), data, SMALL.n_estimators)
    assert np.array_equal(registry.fit(asked).predict(x), bare.inplace_predict(x))


@pytest.mark.parametrize("name", ["catboost", "random_forest"])
def test_what_is_not_streamed_sees_a_bounded_draw_of_whole_products(name, tmp_path, monkeypatch):
    x, y, product = lists(100, 0)
    monkeypatch.setattr(base, "DENSE_ROWS", 203)
    few = base.bounded(LabelledRows(InMemoryRows(x), y, product), 1)
    assert few.source.rows == 200
    assert (np.unique(few.product, return_counts=True)[1] == 5).all()
    drawn = of(name, base.dense(few.source), few.target, few.product)
    assert saved(of(name, x, y, product), tmp_path / "a") == saved(drawn, tmp_path / "b")


@pytest.mark.parametrize("name", ["xgboost", "xgb_rank"])
def test_xgboost_reads_categories_as_categories_on_request(name, tmp_path):
    """Classes of even number are true; -1 and a class never seen are no error."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2)).astype(np.float32)
    x[:, 1] = rng.integers(0, 5000, 4000) * 2 + np.tile([1, 1, 0, 1], 1000)
    x[:, 1] %= 40
    y = np.tile([0, 0, 1, 0], 1000).astype(np.int8)
    product = np.repeat(np.arange(1000, dtype=np.int32), 4)
    stump = Stack(n_estimators=5, num_leaves=2, min_data_in_leaf=10)
    score = {}
    for native in (False, True):
        dials = replace(stump, native_categories=native)
        model = of(name, x, y, product, ["a", "b"], (1,), dials)
        score[native] = model.predict(x)
        model.save(tmp_path / "m")
        loaded = registry.load(name, tmp_path / "m")
        x_odd = np.array([[0, -1], [0, 9000], [0, np.nan]], np.float32)
        assert np.isfinite(loaded.predict(x_odd)).all()
        assert np.array_equal(loaded.predict(x), score[native])
    assert roc_auc_score(y, score[True]) > roc_auc_score(y, score[False]) + 0.2


@pytest.mark.parametrize("name", GROWING)
def test_patience_ends_growth_and_a_cut_goes_back_to_a_round(name, tmp_path):
    dials = replace(SMALL, n_estimators=60, early_stopping_rounds=3, learning_rate=0.6)
    x, y, product = lists(150, 7)
    watched = LabelledRows(InMemoryRows(x), y, product)
    model = fitted(name, dials=dials, watched=watched)
    best = int(np.argmin(model.curve)) + 1
    assert len(model.curve) == min(best + 3, 60) < 60
    model.save(tmp_path / "uncut")
    loaded = registry.load(name, tmp_path / "uncut")
    cut = loaded.cut(best)
    assert not np.array_equal(cut.predict(x), loaded.predict(x))
    once_more = fitted(name, dials=replace(dials, n_estimators=best, early_stopping_rounds=0))
    np.testing.assert_allclose(cut.predict(x), once_more.predict(x), rtol=1e-5)


@pytest.mark.parametrize("name", GROWING)
def test_a_curve_is_the_loss_of_the_watched_rows(name):
    dials = replace(SMALL, n_estimators=6, early_stopping_rounds=6)
    x, y, product = lists(150, 7)
    model = fitted(name, dials=dials, watched=LabelledRows(InMemoryRows(x), y, product))
    score = model.predict(x)
    if name in RANKERS:
        known = np.repeat(y.reshape(-1, 5).any(axis=1), 5)
        score, y, product = score[known], y[known], product[known]
        temperature = softmax.fit_temperature(score, product, y)
        shares = softmax.softmax(score, product, temperature)
        expected = softmax.log_loss(shares, product, y)
    else:
        expected = rounds.row_loss(score, y)
    assert model.curve[-1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", BOOSTERS)
def test_importances_name_the_columns_that_count(name, tmp_path):
    model = fitted(name)
    gain = model.importances()
    assert gain.shape == (len(NAMES),)
    assert (gain >= 0).all()
    assert gain[[0, 1]].sum() > 2 * gain[2]  # of two that count, and of noise
    assert gain[5] == 0  # of the empty column
    model.save(tmp_path / "m")
    loaded = registry.load(name, tmp_path / "m").importances()
    np.testing.assert_allclose(loaded, gain, rtol=1e-4)


def test_only_libraries_that_work_on_a_gpu_take_it(monkeypatch):
    monkeypatch.setattr(registry, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(xgboost_booster, "has_cuda", lambda: True)
    taken = {name for name in BOOSTERS if registry.uses_gpu(name)}
    assert taken == {"xgboost", "xgb_rank", "catboost"}
    examples = LabelledRows(InMemoryRows(np.zeros((1, 1), np.float32)), np.zeros(1), np.zeros(1))
    asked = FitTask("xgboost", examples, ["a"], [], SMALL, 1, gpu=True)
    assert xgboost_booster._parameters(asked)["device"] == "cuda"
    monkeypatch.setattr(xgboost_booster, "has_cuda", lambda: False)
    assert not registry.uses_gpu("xgboost")
    assert "device" not in xgboost_booster._parameters(asked)


@pytest.mark.parametrize("name", ["xgboost", "xgb_rank", "lightgbm"])
def test_a_gpu_leaves_no_trace_in_the_file(name, tmp_path):
    """Where the library was built without CUDA, asking for a GPU changes nothing."""
    if xgboost_booster.has_cuda():
        pytest.skip("sums on a GPU differ in the last bits")
    without = saved(fitted(name), tmp_path / "a")
    assert saved(fitted(name, gpu=True), tmp_path / "b") == without
    assert b"cuda" not in without
    assert b"[device_type: gpu]" not in without
