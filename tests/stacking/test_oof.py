"""Out-of-fold scores equal scikit-learn's, and wrong folds and columns are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GroupKFold, PredefinedSplit, cross_val_predict

from lib.config.schema import RANKERS
from lib.errors import UserError
from lib.features.table import FeatureTable
from lib.stacking.boosters import base, forests, registry
from lib.stacking.boosters.base import FitTask, InMemoryRows, LabelledRows
from lib.stacking.calibration import fit_temperature, softmax
from lib.stacking.fold_mean import FoldMean
from tests.stacking.toy_layers import SMALL, fit, learnable, rankable


class Estimator(ClassifierMixin, BaseEstimator):
    """A booster as a scikit-learn estimator, so that scikit-learn's splitting is the reference."""

    def __init__(self, name="lightgbm"):
        self.name = name

    def fit(self, x, y):
        self.classes_ = np.array([0, 1])
        rows = LabelledRows(InMemoryRows(x), y, np.arange(len(x), dtype=np.int32))
        self.model_ = registry.fit(FitTask(self.name, rows, list("abcde"), [3, 4], SMALL, 3))
        return self

    def predict_proba(self, x):
        positive = self.model_.predict(x)
        return np.column_stack([1 - positive, positive])

    def predict(self, x):
        return self.predict_proba(x).argmax(axis=1)


@pytest.mark.parametrize("booster", ["random_forest", "extra_trees"])
def test_oof_scores_equal_cross_val_predict_on_the_same_splits(booster, tmp_path):
    """The reference is a plain scikit-learn pipeline and knows nothing of this project's folds."""
    tables, target, fold, product = data = learnable()
    x = np.column_stack([table.values for table in tables])
    splits = list(PredefinedSplit(fold).split())
    model = forests.forest(booster, len(x), SMALL, 3)
    expected = cross_val_predict(
        model, x, target, groups=product, cv=splits, method="predict_proba"
    )
    fit(tmp_path, booster, data)
    np.testing.assert_allclose(np.load(tmp_path / "oof.npy"), expected[:, 1], rtol=1e-6)


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm", "catboost"])
def test_oof_scores_equal_cross_val_predict_with_group_folds(booster, tmp_path):
    tables, target, _, product = learnable()
    x = np.column_stack([table.values for table in tables])
    fold = np.empty(len(x), np.int8)
    for k, (_, rows) in enumerate(GroupKFold(3).split(x, groups=product)):
        fold[rows] = k
    expected = cross_val_predict(
        Estimator(booster), x, target, groups=product, cv=GroupKFold(3), method="predict_proba"
    )
    fit(tmp_path, booster, (tables, target, fold, product))
    np.testing.assert_allclose(np.load(tmp_path / "oof.npy"), expected[:, 1], rtol=1e-6)


def test_labels_of_a_fold_do_not_reach_its_own_scores(tmp_path):
    tables, target, fold, product = learnable()
    flipped = np.where(fold == 1, 1 - target, target).astype(np.int8)
    fit(tmp_path / "a", "lightgbm", (tables, target, fold, product))
    fit(tmp_path / "b", "lightgbm", (tables, flipped, fold, product))
    before, after = (np.load(tmp_path / name / "oof.npy") for name in "ab")
    assert np.array_equal(before[fold == 1], after[fold == 1])
    assert not np.array_equal(before[fold != 1], after[fold != 1])


def test_scores_of_new_rows_are_the_mean_of_the_fold_models(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "CHUNK", 100)
    data = learnable(folds=11)  # fold-10 comes before fold-2 by name
    facts = fit(tmp_path, "xgboost", data, threads=2)
    assert facts["folds"] == 11
    new, _, _, product = learnable(seed=5)
    x = np.column_stack([table.values for table in new])
    each = [
        registry.load("xgboost", tmp_path / f"fold-{k}.ubj").predict(x).astype(float)
        for k in range(11)
    ]
    scores = FoldMean.load(tmp_path, "xgboost", threads=2).predict(new, product)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.mean(each, axis=0), rtol=1e-6)


@pytest.mark.parametrize("booster", RANKERS)
def test_scores_of_a_ranker_are_probabilities_of_its_products(booster, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "CHUNK", 30)  # cuts products in two
    tables, target, fold, product = data = rankable()
    facts = fit(tmp_path, booster, data)
    scores_oof = np.load(tmp_path / "oof.npy")
    new, _, _, _ = rankable(seed=8)
    other = FoldMean.load(tmp_path, booster).predict(new, product)
    for scores in (scores_oof, other):
        assert scores.dtype == np.float32
        sums = np.add.reduceat(scores.astype(float), np.arange(0, len(product), 4))
        np.testing.assert_allclose(sums, 1, atol=1e-6)
        assert ((scores >= 0) & (scores <= 1)).all()
    assert facts["accuracy"] > 0.4
    temperature = json.loads((tmp_path / "calibration.json").read_text())["temperature"]
    x = np.column_stack([table.values for table in tables])
    logits = np.empty(len(x), np.float32)
    for k in range(4):
        model = registry.load(booster, next(tmp_path.glob(f"fold-{k}.???")))
        logits[fold == k] = model.predict(x[fold == k])
    assert fit_temperature(logits, product, target) == temperature
    assert np.array_equal(softmax(logits, product, temperature), scores_oof)
    x = np.column_stack([table.values for table in new])
    each = []
    for k in range(4):
        model = registry.load(booster, next(tmp_path.glob(f"fold-{k}.???")))
        each.append(softmax(model.predict(x), product, temperature).astype(float))
    np.testing.assert_allclose(other, np.mean(each, axis=0), rtol=1e-6)


@pytest.mark.parametrize("booster", ["xgboost", "xgb_rank", "lightgbm", "catboost", "extra_trees"])
def test_importances_are_shares_by_name_the_highest_first(booster, tmp_path):
    fit(tmp_path, booster, rankable())
    kept = json.loads((tmp_path / "importances.json").read_text())
    assert set(kept) == {"a", "b", "c", "candidate_class", "top_class"}
    assert next(iter(kept)) == "a"
    assert sum(kept.values()) == pytest.approx(1, abs=1e-5)
    assert list(kept.values()) == sorted(kept.values(), reverse=True)
    models = [registry.load(booster, path) for path in tmp_path.glob("fold-?.???")]
    shares = [model.importances()[0] / model.importances().sum() for model in models]
    assert kept["a"] == pytest.approx(np.mean(shares), abs=1e-6)


def test_the_facts_hold_accuracy_and_log_loss(tmp_path):
    tables, _, fold, product = learnable()
    # Two rows of each product are told apart by the first column, so that every product is won.
    target = (np.arange(len(product)) % 4 == 2).astype(np.int8)
    tables[0].values[:, 0] = target
    facts = fit(tmp_path, "lightgbm", (tables, target, fold, product))
    assert facts["accuracy"] == 1
    assert facts["rows"] == len(product)
    assert facts["columns"] == 5
    assert facts["log_loss"] < 0.1


def test_a_product_in_two_folds_is_refused(tmp_path):
    tables, target, fold, product = learnable()
    fold[0] = (fold[1] + 1) % 4
    with pytest.raises(ValueError, match="a product is in two folds"):
        fit(tmp_path, "lightgbm", (tables, target, fold, product))


def test_rows_without_a_fold_are_refused(tmp_path):
    tables, target, fold, product = learnable()
    fold[product == 7] = -1
    with pytest.raises(ValueError, match="no fold"):
        fit(tmp_path, "lightgbm", (tables, target, fold, product))


def test_tables_of_other_rows_are_refused(tmp_path):
    tables, target, fold, product = learnable()
    short = FeatureTable(tables[1].values[:-1], tables[1].names, tables[1].categorical)
    with pytest.raises(ValueError, match="tables of"):
        fit(tmp_path, "lightgbm", ([tables[0], short], target, fold, product))


@pytest.mark.parametrize("broken", ["all true", "all false", "empty fold"])
def test_folds_that_cannot_be_fitted_are_named(broken, tmp_path):
    tables, target, fold, product = learnable()
    if broken == "empty fold":
        fold[fold == 2] = 3
    else:
        target[:] = broken == "all true"
    with pytest.raises(UserError, match=r"fold \d .*fewer split.n_folds"):
        fit(tmp_path, "catboost", (tables, target, fold, product))


def test_leaves_that_leave_no_tree_a_split_are_refused(tmp_path):
    data = learnable()
    fold = data[2]
    most = min((fold != k).sum() for k in range(4)) // 2
    with pytest.raises(UserError, match=rf"min_data_in_leaf = {most + 1}: at most {most} here"):
        fit(tmp_path, "lightgbm", data, stack=replace(SMALL, min_data_in_leaf=int(most) + 1))
    fit(tmp_path, "lightgbm", data, stack=replace(SMALL, min_data_in_leaf=int(most)))


def test_a_fold_without_a_true_candidate_cannot_stop_early(tmp_path):
    tables, target, fold, product = rankable()
    target[fold == 2] = 0
    data = tables, target, fold, product
    with pytest.raises(
        UserError, match=r"fold 2 has no true candidate.*stack.early_stopping_rounds = 0"
    ):
        fit(tmp_path, "lambdarank", data, stack=replace(SMALL, early_stopping_rounds=2))
    fit(tmp_path, "lambdarank", data)


def test_other_columns_than_those_of_the_fit_are_refused(tmp_path):
    data = learnable()
    fit(tmp_path, "lightgbm", data)
    renamed = FeatureTable(data[0][0].values, ["a", "b", "other"], [])
    models = FoldMean.load(tmp_path, "lightgbm")
    with pytest.raises(ValueError, match="not those of the fit: c, other"):
        models.predict([renamed, data[0][1]], data[3])
    with pytest.raises(ValueError, match="the order"):
        models.predict(data[0][::-1], data[3])
    with pytest.raises(ValueError, match="799 products of 800 rows"):
        models.predict(data[0], data[3][:-1])
