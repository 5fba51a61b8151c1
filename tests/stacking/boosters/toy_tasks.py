"""Candidate rows that every booster can learn from, and boosters fitted on them."""

import numpy as np

from lib.config.schema import RANKERS, Stack
from lib.stacking.boosters import registry
from lib.stacking.boosters.base import FitTask, InMemoryRows, LabelledRows

SMALL = Stack(n_estimators=30, forest_n_estimators=30, num_leaves=15, min_data_in_leaf=10)
NAMES = ["prob", "share [odd]", "noise", "gap", "class", "empty"]
CLASS = 4


def table(rows, seed):
    """x and y: truth depends on two numbers, on one of twelve classes, and on a missing `gap`."""
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


def labelled(x, y, product=None):
    product = np.arange(len(x), dtype=np.int32) if product is None else product
    return LabelledRows(InMemoryRows(x), y, product)


def fit(name, x, y, product=None, names=NAMES, categorical=(CLASS,), stack=SMALL, seed=1, **more):
    task = FitTask(name, labelled(x, y, product), names, categorical, stack, seed, **more)
    return registry.fit(task)


def fitted(name, seed=1, threads=1, stack=SMALL, **more):
    rows = lists(400, 0) if name in RANKERS else table(2000, 0)
    return fit(name, *rows, stack=stack, seed=seed, threads=threads, **more)


def saved(model, path):
    """The bytes of the model's file."""
    model.save(path)
    return path.read_bytes()
