"""LightGBM: variants that differ, categories, and streamed rows that equal an array."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lib.config.schema import Stack
from lib.stacking.boosters import base, lightgbm_booster, registry
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


def test_the_variants_differ():
    x, _ = table(2000, 9)
    names = ("lgbm_deep", "lgbm_extra", "lgbm_shallow", "lightgbm")
    correlation = np.corrcoef([fitted(name).predict(x) for name in names])
    assert correlation[np.triu_indices(4, 1)].max() < 0.998


def test_class_ids_are_read_as_categories():
    """Classes of even number are true: no few thresholds on the code can say that."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2)).astype(np.float32)
    x[:, 1] = rng.integers(0, 40, 4000)
    y = (x[:, 1] % 2 == 0).astype(np.int8)
    stump = Stack(n_estimators=5, num_leaves=2, min_data_in_leaf=10)
    score = {
        columns: fit("lightgbm", x, y, None, ["a", "b"], columns, stump).predict(x)
        for columns in ((), (1,))
    }
    assert roc_auc_score(y, score[(1,)]) > roc_auc_score(y, score[()]) + 0.2


@pytest.mark.parametrize("name", lightgbm_booster.VARIANTS)
def test_rows_by_chunks_give_the_same_file_as_all_at_once(name, tmp_path, monkeypatch):
    stack = replace(SMALL, early_stopping_rounds=5)
    valid = labelled(*lists(100, 5))
    whole = fitted(name, stack=stack, valid=valid)
    monkeypatch.setattr(base, "CHUNK", 77)
    chunked = fitted(name, stack=stack, valid=valid)
    assert saved(chunked, tmp_path / "a") == saved(whole, tmp_path / "b")
    assert chunked.eval_history == whole.eval_history


def test_streamed_rows_give_the_same_file_as_an_array(tmp_path, monkeypatch):
    """More rows than the library draws its bins from, and none of them out of order."""
    x, y = table(3000, 0)
    monkeypatch.setattr(base, "CHUNK", 100)
    task = FitTask("lightgbm", labelled(x, y), NAMES, [CLASS], SMALL, 1)
    make_params = lightgbm_booster.make_params
    monkeypatch.setattr(
        lightgbm_booster,
        "make_params",
        lambda t: make_params(t) | {"bin_construct_sample_cnt": 500},
    )
    params = lightgbm_booster.make_params(task)
    data = lightgbm.Dataset(
        x, y, feature_name=task.feature_names, categorical_feature=[CLASS], params=params
    )
    bare = lightgbm_booster.LightGBM(lightgbm.train(params, data, SMALL.n_estimators), 1)
    assert saved(registry.fit(task), tmp_path / "a") == saved(bare, tmp_path / "b")


def test_a_gpu_leaves_no_trace_in_the_file(tmp_path):
    without = saved(fitted("lightgbm"), tmp_path / "a")
    assert saved(fitted("lightgbm", use_gpu=True), tmp_path / "b") == without
    assert b"[device_type: gpu]" not in without
