"""Layers of boosters: out-of-fold means out-of-fold, and noise stays noise."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, PredefinedSplit, cross_val_predict

from lib.config.schema import RANKERS, Stack
from lib.errors import UserError
from lib.features.table import FeatureTable, Table, score_features, target_encode
from lib.stacking import blend, softmax
from lib.stacking import oof as stack
from lib.stacking.boosters import base, forests, registry
from lib.stacking.boosters.base import FitTask, InMemoryRows, LabelledRows
from tests.stacking.toy_layers import CLASSES, SMALL, candidates, fit, learnable, rankable


class Estimator(ClassifierMixin, BaseEstimator):
    """A booster in scikit-learn's clothes, so that its own splitting can be the reference."""

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
def test_a_layer_equals_cross_val_predict_on_the_same_splits(booster, tmp_path):
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
def test_a_layer_equals_cross_val_predict_with_group_folds(booster, tmp_path):
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
    mixed = np.where(fold == 1, 1 - target, target).astype(np.int8)
    fit(tmp_path / "a", "lightgbm", (tables, target, fold, product))
    fit(tmp_path / "b", "lightgbm", (tables, mixed, fold, product))
    one, two = (np.load(tmp_path / name / "oof.npy") for name in "ab")
    assert np.array_equal(one[fold == 1], two[fold == 1])
    assert not np.array_equal(one[fold != 1], two[fold != 1])


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
    scores = stack.predict_layer(tmp_path, "xgboost", new, product, threads=2)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.mean(each, axis=0), rtol=1e-6)


@pytest.mark.parametrize("booster", RANKERS)
def test_scores_of_a_ranker_are_probabilities_of_its_products(booster, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "CHUNK", 30)  # cuts products in two
    tables, target, fold, product = data = rankable()
    facts = fit(tmp_path, booster, data)
    oof = np.load(tmp_path / "oof.npy")
    new, _, _, _ = rankable(seed=8)
    other = stack.predict_layer(tmp_path, booster, new, product)
    for scores in (oof, other):
        assert scores.dtype == np.float32
        sums = np.add.reduceat(scores.astype(float), np.arange(0, len(product), 4))
        np.testing.assert_allclose(sums, 1, atol=1e-6)
        assert ((scores >= 0) & (scores <= 1)).all()
    assert facts["accuracy"] > 0.4
    temperature = json.loads((tmp_path / "calibration.json").read_text())["temperature"]
    x = np.column_stack([table.values for table in tables])
    margin = np.empty(len(x), np.float32)
    for k in range(4):
        model = registry.load(booster, next(tmp_path.glob(f"fold-{k}.*")))
        margin[fold == k] = model.predict(x[fold == k])
    assert softmax.fit_temperature(margin, product, target) == temperature
    assert np.array_equal(softmax.softmax(margin, product, temperature), oof)
    x = np.column_stack([table.values for table in new])
    each = []
    for k in range(4):
        model = registry.load(booster, next(tmp_path.glob(f"fold-{k}.*")))
        each.append(softmax.softmax(model.predict(x), product, temperature).astype(float))
    np.testing.assert_allclose(other, np.mean(each, axis=0), rtol=1e-6)


@pytest.mark.parametrize("booster", ["xgboost", "xgb_rank", "lightgbm", "catboost", "extra_trees"])
def test_importances_are_shares_by_name_the_highest_first(booster, tmp_path):
    fit(tmp_path, booster, rankable())
    kept = json.loads((tmp_path / "importances.json").read_text())
    assert set(kept) == {"a", "b", "c", "candidate_class", "top_class"}
    assert next(iter(kept)) == "a"
    assert sum(kept.values()) == pytest.approx(1, abs=1e-5)
    assert list(kept.values()) == sorted(kept.values(), reverse=True)
    models = [registry.load(booster, path) for path in tmp_path.glob("fold-*")]
    shares = [model.importances()[0] / model.importances().sum() for model in models]
    assert kept["a"] == pytest.approx(np.mean(shares), abs=1e-6)


def test_facts_say_how_good_the_layer_is(tmp_path):
    tables, _, fold, product = learnable()
    # Two rows of each product are told apart by the first column, so that every one is won.
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


def test_a_fold_with_nothing_to_watch_is_named(tmp_path):
    tables, target, fold, product = rankable()
    target[fold == 2] = 0
    data = tables, target, fold, product
    with pytest.raises(
        UserError, match=r"fold 2 has no true candidate.*stack.early_stopping_rounds = 0"
    ):
        fit(tmp_path, "lambdarank", data, dials=replace(SMALL, early_stopping_rounds=2))
    fit(tmp_path, "lambdarank", data)


def test_other_columns_than_the_fits_are_refused(tmp_path):
    data = learnable()
    fit(tmp_path, "lightgbm", data)
    renamed = FeatureTable(data[0][0].values, ["a", "b", "other"], [])
    with pytest.raises(ValueError, match="not those of the fit: c, other"):
        stack.predict_layer(tmp_path, "lightgbm", [renamed, data[0][1]], data[3])
    with pytest.raises(ValueError, match="the order"):
        stack.predict_layer(tmp_path, "lightgbm", data[0][::-1], data[3])
    with pytest.raises(ValueError, match="799 products of 800 rows"):
        stack.predict_layer(tmp_path, "lightgbm", data[0], data[3][:-1])


# Noise in, noise out. Every product has five candidates and a label drawn among them at random.
# The columns are made the way the features are: counts of labels, with the row's own left out.

PRODUCTS, PER_PRODUCT = 1500, 5
NOISE = Stack(n_estimators=40, forest_n_estimators=30, num_leaves=16, min_data_in_leaf=20)


def random_labels(seed):
    """Two halves, trained on and held out, of products whose labels say nothing."""
    product, cls, rng = candidates(PRODUCTS, PER_PRODUCT, seed)
    target = np.zeros(len(product), np.int8)
    target[np.arange(PRODUCTS) * PER_PRODUCT + rng.integers(0, PER_PRODUCT, PRODUCTS)] = 1
    fold = rng.integers(0, 4, PRODUCTS).astype(np.int8)[product]
    return product, cls, target, fold, rng


def honest_columns(cls, target, fold, train_cls, train_target, rng):
    """Noise, a picture group's count without the row's own product, and the prior of other folds.

    fold None: held-out rows, for which all labels of the training rows count.
    """
    counts = np.bincount(train_cls, train_target, CLASSES)
    prior = np.empty(len(cls), np.float32)
    if fold is None:
        prior[:] = counts[cls] / counts.sum()
    else:
        for k in range(4):
            others = np.bincount(cls[fold != k], target[fold != k], CLASSES)
            prior[fold == k] = (others / others.sum())[cls[fold == k]]
    probability = rng.random(len(cls))
    hash_count = rng.poisson(0.3, len(cls))  # labels of other products that share a picture
    values = np.column_stack([cls, prior, probability, hash_count])
    names = ["candidate_class", "global_prior", "probability", "hash_count"]
    return FeatureTable(values.astype(np.float32), names, ["candidate_class"])


def climbed(folder, leak, seed=0):
    """(AUC, accuracy) of L2 and L3, out-of-fold and held out, over labels without any sense."""
    product, cls, target, fold, rng = random_labels(seed)
    other_product, other_cls, other_target, _, _ = random_labels(seed + 1000)
    seen = [honest_columns(cls, target, fold, cls, target, rng)]
    held = [honest_columns(other_cls, None, None, cls, target, rng)]
    if leak:
        # What must never be: a count over all labels less the row's own tells the row's label.
        counts = np.bincount(cls, target, CLASSES)
        for tables, of_class, own in ((seen, cls, target), (held, other_cls, 0)):
            left_out = (counts[of_class] - own).astype(np.float32)
            tables.append(FeatureTable(left_out[:, None], ["leave_one_out"], []))
    measured = {}
    below, other_below = {}, {}
    for booster in ("lightgbm", "random_forest"):
        own = folder / booster
        own.mkdir(parents=True)
        stack.fit_layer(own, booster, seen, target, fold, product, NOISE, 1)
        below[booster] = np.load(own / "oof.npy")
        other_below[booster] = stack.predict_layer(own, booster, held, other_product)
    measured["l2"] = below["lightgbm"], other_below["lightgbm"]
    upper: list[Table] = [
        *(target_encode(table, seen[0], product) for table in seen),
        score_features(below, product),
    ]
    other_upper: list[Table] = [
        *(target_encode(table, held[0], other_product) for table in held),
        score_features(other_below, other_product),
    ]
    (folder / "l3").mkdir()
    stack.fit_layer(folder / "l3", "lgbm_1", upper, target, fold, product, NOISE, 1)
    measured["l3"] = (
        np.load(folder / "l3" / "oof.npy"),
        stack.predict_layer(folder / "l3", "lgbm_1", other_upper, other_product),
    )
    result = {}
    for layer, (oof, other) in measured.items():
        result[layer, "oof"] = _quality(oof, product, target)
        result[layer, "held out"] = _quality(other, other_product, other_target)
    return result


def _quality(score, product, target):
    won = target[blend.rank(score, product) == 0].mean()
    return roc_auc_score(target, score), won


# Means over four draws of 1,500 products; their standard error is 0.004 (AUC), 0.005 (accuracy).
# Rows held out are at chance. Out-of-fold ones are not quite, and the bound says so: over 14 draws
# the AUC was 0.510 after L2 (standard error 0.002) and 0.512 after L3 (0.004). A prior that leaves
# out a fold, and an L2 score made without it, are low where the fold's own labels are many; the
# rows of the other folds teach that. It helps nothing on new rows, so figures come from `locked`.
CHANCE = 1 / PER_PRODUCT
HELD_OUT_SLACK = 0.02
FOLD_SLACK = 0.035


def slack(part):
    return HELD_OUT_SLACK if part == "held out" else FOLD_SLACK


def test_noise_is_scored_at_chance(tmp_path):
    draws = [climbed(tmp_path / str(seed), leak=False, seed=seed) for seed in range(4)]
    for layer, part in draws[0]:
        auc, accuracy = np.mean([draw[layer, part] for draw in draws], axis=0)
        assert abs(auc - 0.5) < slack(part), (layer, part)
        assert abs(accuracy - CHANCE) < slack(part), (layer, part)


def test_the_noise_test_sees_a_leak(tmp_path):
    """Out-of-fold scores soar on a leave-one-out count; on rows held out they must not."""
    measured = climbed(tmp_path, leak=True)
    for layer in ("l2", "l3"):
        auc, accuracy = measured[layer, "oof"]
        assert auc > 0.5 + 2 * FOLD_SLACK
        assert accuracy > CHANCE + 2 * FOLD_SLACK
        assert abs(measured[layer, "held out"][0] - 0.5) < 2 * HELD_OUT_SLACK  # one draw
