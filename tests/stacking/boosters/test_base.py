"""Rows by chunks, subsets and draws of whole products, and the loss of early stopping."""

from dataclasses import replace

import numpy as np
import pytest

from lib.stacking.boosters import base
from lib.stacking.boosters.base import FitTask, InMemoryRows, LabelledRows, RowSubset
from lib.stacking.calibration import multiclass_log_loss, softmax
from tests.stacking.boosters.toy_tasks import NAMES, SMALL, labelled, lists, table


def test_chunks_are_the_whole_source_in_order(monkeypatch):
    x, _ = table(100, 0)
    monkeypatch.setattr(base, "CHUNK", 33)
    chunks = list(base.read_chunks(InMemoryRows(x)))
    assert [len(chunk) for chunk in chunks] == [33, 33, 33, 1]
    assert np.array_equal(np.concatenate(chunks), x, equal_nan=True)


def test_a_subset_of_a_subset_reads_the_rows_of_the_source():
    x = np.arange(20, dtype=np.float32)[:, None]
    subset = RowSubset(RowSubset(InMemoryRows(x), np.arange(3, 20)), np.array([0, 4, 9]))
    assert subset.rows == 3
    assert base.to_array(subset).ravel().tolist() == [3, 7, 12]
    assert subset.read(np.array([2, 0])).ravel().tolist() == [12, 3]


def test_taken_rows_keep_their_labels_and_products():
    rows = labelled(*lists(4, 0)).take(np.arange(5, 15))
    x, y, product = lists(4, 0)
    assert np.array_equal(base.to_array(rows.source), x[5:15], equal_nan=True)
    assert np.array_equal(rows.target, y[5:15])
    assert np.array_equal(rows.product, product[5:15])


def test_a_subsample_is_a_bounded_draw_of_whole_products(monkeypatch):
    rows = labelled(*lists(100, 0))
    assert base.subsample(rows, 1) is rows
    monkeypatch.setattr(base, "MAX_ARRAY_ROWS", 203)
    drawn = base.subsample(rows, 1)
    assert drawn.source.rows == 200
    assert (np.unique(drawn.product, return_counts=True)[1] == 5).all()
    assert not np.array_equal(drawn.product, base.subsample(rows, 2).product)
    monkeypatch.setattr(base, "MAX_ARRAY_ROWS", 1)
    assert base.subsample(rows, 1).source.rows == 5  # one product


def test_feature_names_are_unique_and_free_of_reserved_characters():
    task = FitTask("xgboost", labelled(*table(5, 0)), ["a [b]", "a <b>", "c:d"], [], SMALL, 1)
    assert task.feature_names == ["0_a__b_", "1_a__b_", "2_c_d"]


def test_only_rankers_leave_out_products_without_their_true_class():
    rows = labelled(*lists(20, 0))
    task = FitTask("xgboost", rows, NAMES, [], SMALL, 1, valid=rows)
    assert task.rankable() is task
    ranking = replace(task, booster="lambdarank").rankable()
    assert ranking.valid is not None
    for kept in (ranking.train, ranking.valid):
        assert np.add.reduceat(kept.target, np.arange(0, len(kept.target), 5)).min() == 1
        assert len(kept.target) < len(rows.target)
        assert set(kept.product) == set(rows.product[rows.target == 1])


def test_the_loss_of_rows_is_bounded():
    prob = np.array([0.9, 0.2, 0.0], np.float32)
    expected = -np.log([0.9, 0.8, 1e-7]).mean()
    assert base.log_loss(prob, np.array([1, 0, 1], np.int8)) == pytest.approx(expected, rel=1e-6)


def test_a_ranker_is_evaluated_at_the_best_temperature():
    rng = np.random.default_rng(0)
    valid = LabelledRows(InMemoryRows(np.zeros((20, 1))), *lists(4, 1)[1:])
    task = FitTask("xgb_rank", valid, ["a"], [], SMALL, 1, valid=valid)
    score = rng.normal(size=20).astype(np.float32)
    loss = base.eval_loss(task)(score)
    assert loss == pytest.approx(base.eval_loss(task)(10 * score), abs=1e-5)
    for temperature in (0.3, 1.0, 3.0):
        probs = softmax(score, valid.product, temperature)
        assert loss <= multiclass_log_loss(probs, valid.product, valid.target) + 1e-6
