"""The compiled loop against the trees of scikit-learn."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from lib.stacking.boosters.forests import Forest, QuantileBins


def test_scores_equal_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    y = (np.nan_to_num(x).sum(axis=1) > rng.normal(size=400)).astype(np.int8)
    for leaves in (1, 30):
        trees = RandomForestClassifier(9, min_samples_leaf=leaves, random_state=1)
        model = Pipeline([("bins", QuantileBins()), ("trees", trees)]).fit(x, y)
        expected = model.predict_proba(x)[:, 1].astype(np.float32)
        for threads in (1, 3):
            forest = Forest.from_pipeline(model, threads)
            assert np.array_equal(forest.predict(x), expected)
            assert forest.predict(x[:0]).shape == (0,)
        assert np.array_equal(forest.importances(), trees.feature_importances_)
