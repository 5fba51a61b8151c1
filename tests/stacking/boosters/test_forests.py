"""Forests: bins that follow the values, bounded draws, and rows by chunks that equal an array."""

import numpy as np
import pytest

from lib.config.schema import Stack
from lib.errors import UserError
from lib.stacking.boosters import base, forests, registry
from lib.stacking.boosters.base import FitTask, InMemoryRows, LabelledRows
from tests.stacking.boosters.toy_tasks import fit, fitted, labelled, lists, saved

SMALL = Stack(forest_n_estimators=20, min_data_in_leaf=10)
NAMES = ["signal", "gap", "empty"]


def table(count):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 3)).astype(np.float32)
    x[rng.random(count) < 0.3, 1] = np.nan
    x[:, 2] = np.nan
    return x, (x[:, 0] + np.isnan(x[:, 1]) > rng.normal(size=count)).astype(np.int8)


def test_bins_follow_the_order_of_values_and_separate_missing_ones():
    x = np.array([[3.0, 1], [np.nan, 1], [1, 1], [2, np.nan], [1, np.nan]], np.float32)
    bins = forests.QuantileBins().fit(x)
    assert bins.transform(x).T.tolist() == [[2, -1, 0, 1, 0], [0, 0, 0, -1, -1]]
    # Values that the fit did not have go to the nearest bin; an empty column has one bin.
    other = np.array([[9.0, 0], [-9, 5], [1.5, 1]], np.float32)
    assert bins.transform(other).T.tolist() == [[2, 0, 0], [0, 0, 0]]


def test_bins_of_many_values_have_equal_counts():
    x = np.random.default_rng(0).lognormal(size=(5000, 1)).astype(np.float32)
    counts = np.bincount(forests.QuantileBins().fit(x).transform(x)[:, 0].astype(int))
    assert len(counts) == base.BINS
    assert counts.min() > 0.8 * counts.max()


def test_trees_of_a_large_table_are_fitted_on_a_bounded_draw():
    few = forests.forest("random_forest", 100, SMALL, 1).get_params()
    many = forests.forest("random_forest", 10**6, SMALL, 1).get_params()
    assert few["trees__max_samples"] is None
    assert many["trees__max_samples"] == 100_000


def test_a_tree_of_a_large_table_must_be_able_to_split():
    wide = Stack(min_data_in_leaf=50_001)
    with pytest.raises(UserError, match="at most 50000 for random_forest"):
        forests.forest("random_forest", 10**6, wide, 1)
    forests.forest("extra_trees", 10**6, wide, 1)


def test_a_forest_binned_by_chunks_equals_the_pipeline_on_an_array(monkeypatch):
    x, y = table(1000)
    monkeypatch.setattr(base, "CHUNK", 77)
    monkeypatch.setattr(forests, "BIN_ROWS", 300)
    rows = LabelledRows(InMemoryRows(x), y, np.arange(1000, dtype=np.int32))
    pipeline = forests.forest("extra_trees", 1000, SMALL, 1).fit(x, y)
    expected = pipeline.predict_proba(x)[:, 1].astype(np.float32)
    assert np.array_equal(
        registry.fit(FitTask("extra_trees", rows, NAMES, [], SMALL, 1)).predict(x), expected
    )


def test_a_large_table_gives_the_model_of_a_bounded_draw_of_whole_products(tmp_path, monkeypatch):
    x, y, product = lists(100, 0)
    monkeypatch.setattr(base, "MAX_ARRAY_ROWS", 203)
    drawn = base.subsample(labelled(x, y, product), 1)
    expected = fit("random_forest", base.to_array(drawn.source), drawn.target, drawn.product)
    model = fit("random_forest", x, y, product)
    assert saved(model, tmp_path / "a") == saved(expected, tmp_path / "b")


def test_a_forest_has_no_rounds_to_trim():
    with pytest.raises(ValueError, match="no rounds"):
        fitted("extra_trees").trim(3)


def test_nodes_that_would_lead_nowhere_or_in_a_circle_are_refused(tmp_path):
    fitted("extra_trees").save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    with np.load(tmp_path / "m") as file:
        arrays = dict(file)
    inner = int(np.flatnonzero(arrays["left"] >= 0)[0])
    for name, at, value in (
        ("left", inner, 0),  # itself or above: an endless loop
        ("right", inner, 1 << 30),
        ("right", inner, -1),
        ("feature", 0, 99),
        ("starts", 0, 5),
        ("starts", 1, 1 << 40),
        ("sizes", 0, 1000),
    ):
        changed = {key: values.copy() for key, values in arrays.items()}
        changed[name][at] = value
        with (tmp_path / "changed").open("wb") as file:
            np.savez(file, **changed)
        with pytest.raises(ValueError, match=r"node|bins|trees"):
            forests.load((tmp_path / "changed").read_bytes(), 1)
    assert len(forests.load(data, 1).nodes["starts"]) == len(arrays["starts"])


def test_a_forest_is_not_read_by_pickle(tmp_path):
    with (tmp_path / "m").open("wb") as file:
        np.savez(file, sizes=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        forests.load((tmp_path / "m").read_bytes(), 1)
