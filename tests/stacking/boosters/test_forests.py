"""Forests: bins that follow the values, draws that are bounded, chunks that leave no trace."""

import numpy as np

from lib.config.schema import Stack
from lib.stacking.boosters import base, forests, registry
from lib.stacking.boosters.base import FitTask, InMemoryRows, LabelledRows

SMALL = Stack(forest_n_estimators=20, min_data_in_leaf=10)
NAMES = ["told by", "odd", "empty"]


def table(count):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 3)).astype(np.float32)
    x[rng.random(count) < 0.3, 1] = np.nan
    x[:, 2] = np.nan
    return x, (x[:, 0] + np.isnan(x[:, 1]) > rng.normal(size=count)).astype(np.int8)


def test_bins_follow_the_order_of_values_and_set_missing_apart():
    x = np.array([[3.0, 1], [np.nan, 1], [1, 1], [2, np.nan], [1, np.nan]], np.float32)
    bins = forests.QuantileBins().fit(x)
    assert bins.transform(x).T.tolist() == [[2, -1, 0, 1, 0], [0, 0, 0, -1, -1]]
    # Values never seen in the fit fall into the nearest bin, and a column without values into one.
    other = np.array([[9.0, 0], [-9, 5], [1.5, 1]], np.float32)
    assert bins.transform(other).T.tolist() == [[2, 0, 0], [0, 0, 0]]


def test_bins_of_many_values_hold_like_numbers():
    x = np.random.default_rng(0).lognormal(size=(5000, 1)).astype(np.float32)
    counts = np.bincount(forests.QuantileBins().fit(x).transform(x)[:, 0].astype(int))
    assert len(counts) == base.BINS
    assert counts.min() > 0.8 * counts.max()


def test_trees_of_a_forest_see_a_bounded_draw():
    few = forests.forest("random_forest", 100, SMALL, 1).get_params()
    many = forests.forest("random_forest", 10**6, SMALL, 1).get_params()
    assert few["trees__max_samples"] is None
    assert many["trees__max_samples"] == 100_000


def test_a_forest_binned_by_chunks_is_the_pipelines(monkeypatch):
    x, y = table(1000)
    monkeypatch.setattr(base, "CHUNK", 77)
    monkeypatch.setattr(forests, "BIN_ROWS", 300)
    rows = LabelledRows(InMemoryRows(x), y, np.arange(1000, dtype=np.int32))
    pipeline = forests.forest("extra_trees", 1000, SMALL, 1).fit(x, y)
    expected = pipeline.predict_proba(x)[:, 1].astype(np.float32)
    assert np.array_equal(
        registry.fit(FitTask("extra_trees", rows, NAMES, [], SMALL, 1)).predict(x), expected
    )
