"""Small tables of candidate rows that boosters can learn from, and a booster fitted on them."""

import numpy as np

from lib.config.schema import Stack
from lib.features.table import FeatureTable
from lib.stacking import oof

SMALL = Stack(n_estimators=20, forest_n_estimators=20, num_leaves=8, min_data_in_leaf=5)
CLASSES = 30


def candidates(products, per_product, seed, classes=CLASSES):
    """(product, class_id) of every product with its own candidates, sorted."""
    rng = np.random.default_rng(seed)
    product = np.repeat(np.arange(products, dtype=np.int32), per_product)
    drawn = [np.sort(rng.choice(classes, per_product, replace=False)) for _ in range(products)]
    return product, np.concatenate(drawn).astype(np.int16), rng


def learnable(products=200, folds=4, seed=0):
    """Two tables over the same rows, with a class column, and truth that depends on the first."""
    product, class_id, rng = candidates(products, 4, seed)
    first = rng.normal(size=(len(product), 3)).astype(np.float32)
    first[rng.random(first.shape) < 0.1] = np.nan
    second = np.column_stack([class_id, rng.integers(-1, CLASSES, len(class_id))]).astype(
        np.float32
    )
    odds = 2 * np.nan_to_num(first[:, 0]) - 1
    target = (rng.random(len(product)) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    fold = rng.integers(0, folds, products).astype(np.int8)[product]
    tables = [
        FeatureTable(first, ["a", "b", "c"], []),
        FeatureTable(second, ["candidate_class", "top_class"], ["candidate_class", "top_class"]),
    ]
    return tables, target, fold, product


def rankable(products=200, folds=4, seed=0):
    """The same, but with at most one true class a product; every ninth has none."""
    tables, target, fold, product = learnable(products, folds, seed)
    noise = np.random.default_rng(seed).gumbel(size=(products, 4))
    odds = 3 * np.nan_to_num(tables[0].values[:, 0]).reshape(products, 4) + noise
    target = (np.arange(4) == odds.argmax(axis=1)[:, None]).astype(np.int8)
    target[::9] = 0
    return tables, target.ravel(), fold, product


def fit(folder, booster, data, seed=3, threads=1, stack=SMALL):
    tables, target, fold, product = data
    folder.mkdir(exist_ok=True)
    return oof.fit_oof(folder, booster, tables, target, fold, product, stack, seed, threads)
