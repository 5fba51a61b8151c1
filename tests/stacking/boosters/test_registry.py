"""Every booster learns, round-trips through its native format, and repeats itself to the byte."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lib.config.schema import BOOSTERS, BOOSTERS_L2, BOOSTERS_L3, RANKERS
from lib.errors import UserError
from lib.stacking.boosters import registry, xgboost_booster
from lib.stacking.boosters.base import FitTask, log_loss
from lib.stacking.calibration import fit_temperature, multiclass_log_loss, softmax
from tests.stacking.boosters.toy_tasks import (
    NAMES,
    SMALL,
    fit,
    fitted,
    labelled,
    lists,
    saved,
    table,
)

BINARY = [name for name in BOOSTERS if name not in RANKERS]
GROWING = [name for name in BOOSTERS if registry.has_rounds(name)]


def test_the_default_layers_name_boosters_that_exist():
    assert set(BOOSTERS_L2) | set(BOOSTERS_L3) | set(RANKERS) <= set(BOOSTERS)
    assert [name for name in BOOSTERS if not registry.extension(name)] == []


@pytest.mark.parametrize("name", BINARY)
def test_a_booster_learns_and_predicts_probabilities(name):
    x, y = table(2000, 9)
    score = fitted(name).predict(x)
    assert score.dtype == np.float32
    assert score.shape == (2000,)
    assert ((score >= 0) & (score <= 1)).all()
    assert roc_auc_score(y, score) > 0.78
    assert score.mean() == pytest.approx(y.mean(), abs=0.05)  # P(1), not P(0), and calibrated


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
def test_products_without_their_true_class_do_not_change_a_ranker(name, tmp_path):
    x, y, product = lists(200, 0)
    positive = np.repeat(y.reshape(-1, 5).any(axis=1), 5)
    without = saved(fit(name, x[positive], y[positive], product[positive]), tmp_path / "a")
    assert saved(fit(name, x, y, product), tmp_path / "b") == without


@pytest.mark.parametrize("name", BOOSTERS)
def test_saved_and_loaded_models_predict_the_same(name, tmp_path):
    x, _ = table(500, 9)
    model = fitted(name)
    path = tmp_path / ".odd-suffix.tmp"  # the suffix must not choose the format
    registry.save(model, path)
    loaded = registry.load(name, path, threads=1)
    assert np.array_equal(loaded.predict(x), model.predict(x))


@pytest.mark.parametrize("name", BOOSTERS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(name, tmp_path):
    first = saved(fitted(name), tmp_path / "a")
    assert saved(fitted(name), tmp_path / "b") == first
    assert saved(fitted(name, seed=2), tmp_path / "c") != first


@pytest.mark.parametrize("name", BOOSTERS)
def test_the_number_of_threads_leaves_no_trace_in_the_file(name, tmp_path):
    # Few trees: on a busy machine two OpenMP threads that wait for each other take seconds a tree.
    few = replace(SMALL, n_estimators=3, forest_n_estimators=3, num_leaves=4)
    two = saved(fitted(name, threads=2, stack=few), tmp_path / "two")
    assert two == saved(fitted(name, threads=1, stack=few), tmp_path / "one")


@pytest.mark.parametrize("name", BOOSTERS)
def test_fitting_and_predicting_do_not_change_the_rows(name):
    x, y = table(300, 0)
    before = x.copy()
    product = np.repeat(np.arange(60, dtype=np.int32), 5)
    y[:] = np.arange(300) % 5 == 2
    fit(name, x, y, product).predict(x)
    assert np.array_equal(x, before, equal_nan=True)


def test_no_booster_writes_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in BOOSTERS:
        fitted(name)
    assert os.listdir(tmp_path) == []


def test_no_booster_prints(capfd):
    for name in BOOSTERS:
        fitted(name)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_name_is_refused():
    x, y = table(10, 0)
    with pytest.raises(ValueError, match="no booster named forest"):
        fit("forest", x, y)


@pytest.mark.parametrize("name", GROWING)
def test_early_stopping_ends_growth_and_trimming_goes_back_to_a_round(name, tmp_path):
    stack = replace(SMALL, n_estimators=60, early_stopping_rounds=3, learning_rate=0.6)
    x, y, product = lists(150, 7)
    model = fitted(name, stack=stack, valid=labelled(x, y, product))
    best = int(np.argmin(model.eval_history)) + 1
    assert len(model.eval_history) == min(best + 3, 60) < 60
    registry.save(model, tmp_path / "untrimmed")
    loaded = registry.load(name, tmp_path / "untrimmed")
    trimmed = loaded.trim(best)
    assert not np.array_equal(trimmed.predict(x), loaded.predict(x))
    once_more = fitted(name, stack=replace(stack, n_estimators=best, early_stopping_rounds=0))
    np.testing.assert_allclose(trimmed.predict(x), once_more.predict(x), rtol=1e-5)


@pytest.mark.parametrize("name", GROWING)
def test_the_history_is_the_loss_of_the_valid_rows(name):
    stack = replace(SMALL, n_estimators=6, early_stopping_rounds=6)
    x, y, product = lists(150, 7)
    model = fitted(name, stack=stack, valid=labelled(x, y, product))
    score = model.predict(x)
    if name in RANKERS:
        positive = np.repeat(y.reshape(-1, 5).any(axis=1), 5)
        score, y, product = score[positive], y[positive], product[positive]
        probs = softmax(score, product, fit_temperature(score, product, y))
        expected = multiclass_log_loss(probs, product, y)
    else:
        expected = log_loss(score, y)
    assert model.eval_history[-1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", BOOSTERS)
def test_importances_are_high_for_the_columns_that_count(name, tmp_path):
    model = fitted(name)
    gain = model.importances()
    assert gain.shape == (len(NAMES),)
    assert (gain >= 0).all()
    assert gain[[0, 1]].sum() > 2 * gain[2]  # of two that count, and of noise
    assert gain[5] == 0  # of the empty column
    registry.save(model, tmp_path / "m")
    loaded = registry.load(name, tmp_path / "m").importances()
    np.testing.assert_allclose(loaded, gain, rtol=1e-4)


def test_only_libraries_that_support_a_gpu_use_it(monkeypatch):
    monkeypatch.setattr(registry, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(xgboost_booster, "supports_gpu", lambda: True)
    on_gpu = {name for name in BOOSTERS if registry.uses_gpu(name)}
    assert on_gpu == {"xgboost", "xgb_rank", "catboost"}
    monkeypatch.setattr(xgboost_booster, "supports_gpu", lambda: False)
    assert not registry.uses_gpu("xgboost")
    monkeypatch.setattr(registry, "has_nvidia_gpu", lambda: False)
    assert not registry.uses_gpu("catboost")


class OutOfMemoryRows:
    """Rows whose library runs out of memory while it reads them."""

    rows = 50

    def __init__(self, error):
        self.error = error

    def read(self, rows):
        raise self.error


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost", "random_forest"])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3.2 TiB"),
        RuntimeError(
            "device_helpers.cuh: Memory allocation error: cudaErrorMemoryAllocation: out of"
            " memory\n- Free memory: 8126464\n\nStack trace:\n  [bt] (0) libxgboost.so"
        ),
        RuntimeError("memory_pool.h:303: Error: Out of memory. Requested 8880 MB; Free 5902 MB"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_out_of_memory_is_one_line_that_names_a_setting(name, error):
    train = replace(labelled(*table(50, 0)), source=OutOfMemoryRows(error))
    task = FitTask(name, train, NAMES, [], SMALL, 1)
    with pytest.raises(UserError, match=r"^\w+: out of memory on 50 rows of 6 columns; .*threads"):
        registry.fit(task)
    with pytest.raises(UserError) as raised:
        registry.fit(replace(task, use_gpu=True))
    assert str(raised.value).startswith(f"{name}: out of GPU memory on 50 rows of 6 columns; ")
    assert "run.device=cpu" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_another_error_of_a_library_is_not_called_out_of_memory():
    train = replace(labelled(*table(50, 0)), source=OutOfMemoryRows(RuntimeError("disk error")))
    with pytest.raises(RuntimeError, match="disk error"):
        registry.fit(FitTask("lightgbm", train, NAMES, [], SMALL, 1))


@pytest.mark.parametrize("name", BOOSTERS)
def test_a_write_that_fails_is_an_error(name):
    with pytest.raises(OSError, match="No space left"):
        fitted(name).save(Path("/dev/full"))
