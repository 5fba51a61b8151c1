"""XGBoost: categories on request, streamed rows that equal an array, and the GPU setting."""

from dataclasses import replace

import numpy as np
import pytest
import xgboost
from sklearn.metrics import roc_auc_score

from lib.config.schema import Stack
from lib.stacking.boosters import base, registry, xgboost_booster
from lib.stacking.boosters.base import FitTask
from tests.stacking.boosters.toy_tasks import (
    CLASS,
    NAMES,
    SMALL,
    fit,
    fitted,
    labelled,
    lists,
    saved,
    table,
)


@pytest.mark.parametrize("name", ["xgboost", "xgb_rank"])
def test_class_ids_are_read_as_categories_on_request(name, tmp_path):
    """Classes of even number are true; -1 and an unseen class are no error."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2)).astype(np.float32)
    x[:, 1] = rng.integers(0, 5000, 4000) * 2 + np.tile([1, 1, 0, 1], 1000)
    x[:, 1] %= 40
    y = np.tile([0, 0, 1, 0], 1000).astype(np.int8)
    product = np.repeat(np.arange(1000, dtype=np.int32), 4)
    stump = Stack(n_estimators=5, num_leaves=2, min_data_in_leaf=10)
    score = {}
    for native in (False, True):
        stack = replace(stump, native_categories=native)
        model = fit(name, x, y, product, ["a", "b"], (1,), stack)
        score[native] = model.predict(x)
        registry.save(model, tmp_path / "m")
        loaded = registry.load(name, tmp_path / "m")
        odd = np.array([[0, -1], [0, 9000], [0, np.nan]], np.float32)
        assert np.isfinite(loaded.predict(odd)).all()
        assert np.array_equal(loaded.predict(x), score[native])
    assert roc_auc_score(y, score[True]) > roc_auc_score(y, score[False]) + 0.2


@pytest.mark.parametrize("name", ["xgboost", "xgb_rank"])
@pytest.mark.parametrize("native", [False, True])
def test_rows_by_chunks_give_the_same_file_as_all_at_once(name, native, tmp_path, monkeypatch):
    stack = replace(SMALL, native_categories=native, early_stopping_rounds=5)
    valid = labelled(*lists(100, 5))
    whole = fitted(name, stack=stack, valid=valid)
    monkeypatch.setattr(base, "CHUNK", 77)
    chunked = fitted(name, stack=stack, valid=valid)
    assert saved(chunked, tmp_path / "a") == saved(whole, tmp_path / "b")
    assert chunked.eval_history == whole.eval_history


def test_streamed_rows_give_the_same_predictions_as_an_array(monkeypatch):
    x, y = table(3000, 0)
    monkeypatch.setattr(base, "CHUNK", 100)
    task = FitTask("xgboost", labelled(x, y), NAMES, [CLASS], SMALL, 1)
    data = xgboost.QuantileDMatrix(
        x, y, feature_names=task.feature_names, max_bin=base.BINS + 1, nthread=1
    )
    bare = xgboost.train(xgboost_booster.make_params(task), data, SMALL.n_estimators)
    assert np.array_equal(registry.fit(task).predict(x), bare.inplace_predict(x))


@pytest.mark.parametrize("name", ["xgboost", "xgb_rank"])
def test_a_gpu_leaves_no_trace_in_the_file(name, tmp_path):
    """Where the library was built without CUDA, asking for a GPU changes nothing."""
    if xgboost_booster.supports_gpu():
        pytest.skip("sums on a GPU differ in the last bits")
    without = saved(fitted(name), tmp_path / "a")
    assert saved(fitted(name, use_gpu=True), tmp_path / "b") == without
    assert b"cuda" not in without


def test_a_gpu_is_used_where_the_library_supports_it(monkeypatch):
    rows = labelled(np.zeros((1, 1), np.float32), np.zeros(1, np.int8))
    task = FitTask("xgboost", rows, ["a"], [], SMALL, 1, use_gpu=True)
    monkeypatch.setattr(xgboost_booster, "supports_gpu", lambda: True)
    assert xgboost_booster.make_params(task)["device"] == "cuda"
    assert "device" not in xgboost_booster.make_params(replace(task, use_gpu=False))
    monkeypatch.setattr(xgboost_booster, "supports_gpu", lambda: False)
    assert "device" not in xgboost_booster.make_params(task)
