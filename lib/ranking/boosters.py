"""One interface over the boosters of C10 and C12: fit, predict, save, load.

Each answers "is this candidate the product's class?" with a probability. Bins are few and trees
grow leaf by leaf, because candidate rows are many and this is fitted once for each fold and
source. Saved files carry no thread count, clock or random identity: the same fit gives the same
bytes, so that a rebuild wakes nothing down the chain.

    xgboost                     XGBoost, .ubj
    lightgbm                    LightGBM, .txt; the only one that reads categories as categories
    lgbm_1, lgbm_2, lgbm_3      L3's LightGBMs: deep and slow, random thresholds, shallow
    catboost                    CatBoost, .cbm
    random_forest, extra_trees  scikit-learn, .joblib
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import catboost
import joblib
import lightgbm
import numpy as np
import xgboost
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline

from lib.config import Stack

BINS = 63
BIN_ROWS = 50_000  # rows that the forests' bin edges are taken from
LEAST_TREE_ROWS = 30_000  # rows drawn for a tree of a forest: these, or a share of a larger table
EXTENSIONS = {
    "xgboost": "ubj",
    "lightgbm": "txt",
    "lgbm_1": "txt",
    "lgbm_2": "txt",
    "lgbm_3": "txt",
    "catboost": "cbm",
    "random_forest": "joblib",
    "extra_trees": "joblib",
}

# Through logging, not print: LightGBM warns of every -1 in a categorical column, our "no class",
# which it reads as missing just as it should.
_quiet = logging.getLogger("lightgbm.native")
_quiet.setLevel(logging.ERROR)
lightgbm.register_logger(_quiet)


class Booster(Protocol):
    """A fitted model of candidate rows."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """P(positive), float32 [R], of rows float32 [R, F] in the column order of the fit."""

    def save(self, path: Path) -> None:
        """Write the native format, whatever the ending of `path`."""


def fit(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    categorical: Sequence[int],
    stack: Stack,
    seed: int,
    threads: int = 1,
) -> Booster:
    """Fit one booster; x is left as it is.

    x float32 [R, F], NaN where nothing is known; y int8 [R] of 0 and 1, both present.
    names [F]: of the columns, for whoever looks into the model later. categorical: places of the
    columns that hold class codes, -1 for none.
    The same seed gives the same model on as many threads; on another number of them the sums of
    XGBoost and CatBoost may differ in the last bits.
    Raises ValueError for an unknown name.
    """
    labels = _labels(names)
    if name == "xgboost":
        return _fit_xgboost(x, y, labels, stack, seed, threads)
    if name in _LIGHTGBM:
        return _fit_lightgbm(name, x, y, labels, categorical, stack, seed, threads)
    if name == "catboost":
        return _fit_catboost(x, y, labels, stack, seed, threads)
    pipeline = forest(name, len(x), stack, seed, threads)
    return _Forest(pipeline.fit(x, y), threads)


def load(name: str, path: Path, threads: int = 1) -> Booster:
    """What `save` wrote. A joblib file runs code when read: read only your own."""
    kind = EXTENSIONS[name]
    if kind == "ubj":
        xgb = xgboost.Booster({"nthread": threads})
        xgb.load_model(bytearray(path.read_bytes()))
        return _XGBoost(xgb)
    if kind == "txt":
        return _LightGBM(lightgbm.Booster(model_str=path.read_text()), threads)
    if kind == "cbm":
        cat = catboost.CatBoostClassifier()
        cat.load_model(str(path), format="cbm")
        return _CatBoost(cat, threads)
    return _Forest(joblib.load(path), threads)


def forest(name: str, rows: int, stack: Stack, seed: int, threads: int = 1) -> Pipeline:
    """The scikit-learn pipeline behind `random_forest` and `extra_trees`, not yet fitted.

    Binned values have few ties to break, which makes the exact search of a forest several times
    faster; each tree sees a draw of the rows, which bounds its time at any size of table.
    """
    kinds = {"random_forest": RandomForestClassifier, "extra_trees": ExtraTreesClassifier}
    if name not in kinds:
        raise ValueError(f"no booster named {name}; known: {', '.join(EXTENSIONS)}")
    # Random thresholds cost a third of searched ones, so extra trees can afford more rows.
    share, least = (0.1, LEAST_TREE_ROWS) if name == "random_forest" else (0.3, 3 * LEAST_TREE_ROWS)
    drawn = max(least, int(rows * share))
    trees = kinds[name](
        n_estimators=stack.forest_trees,
        min_samples_leaf=stack.min_leaf,
        max_features="sqrt",
        bootstrap=True,
        max_samples=drawn if drawn < rows else None,
        random_state=seed,
        n_jobs=threads,
    )
    return Pipeline([("bins", QuantileBins()), ("trees", trees)])


class QuantileBins(TransformerMixin, BaseEstimator):
    """Replace each value by the number of its quantile bin, NaN by -1: forests see no NaN."""

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> "QuantileBins":
        step = max(1, len(x) // BIN_ROWS)
        self.edges_ = [_edges(x[::step, column]) for column in range(x.shape[1])]
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        binned = np.empty(x.shape, np.float32)
        for column, edges in enumerate(self.edges_):
            values = x[:, column]
            binned[:, column] = np.searchsorted(edges, values, side="right")
            binned[np.isnan(values), column] = -1
        return binned


def _edges(values: np.ndarray) -> np.ndarray:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return np.empty(0, np.float32)
    distinct = np.unique(known)
    if len(distinct) <= BINS:
        return distinct[1:]
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.unique(np.quantile(known, inner)).astype(np.float32)


def _labels(names: Sequence[str]) -> list[str]:
    """Names that every library takes: unique, without the signs that its formats use."""
    return [f"{place}_{re.sub('[^0-9A-Za-z_]', '_', name)}" for place, name in enumerate(names)]


class _XGBoost:
    def __init__(self, model: xgboost.Booster) -> None:
        self.model = model

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.inplace_predict(x, validate_features=False).astype(np.float32)

    def save(self, path: Path) -> None:
        path.write_bytes(self.model.save_raw("ubj"))


def _fit_xgboost(
    x: np.ndarray, y: np.ndarray, labels: list[str], stack: Stack, seed: int, threads: int
) -> _XGBoost:
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_leaves": stack.leaves,
        "max_bin": BINS + 1,
        "eta": stack.learning_rate,
        # Counts p(1-p) and not rows: with one candidate in eight true, a row weighs about 0.1.
        "min_child_weight": 0.1 * stack.min_leaf,
        "subsample": 0.8,
        "colsample_bytree": 0.5,
        "seed": seed,
        "nthread": threads,
    }
    data = xgboost.QuantileDMatrix(
        x, y, feature_names=labels, max_bin=BINS + 1, nthread=threads, missing=np.nan
    )
    return _XGBoost(xgboost.train(parameters, data, stack.trees))


class _LightGBM:
    def __init__(self, model: lightgbm.Booster, threads: int) -> None:
        self.model, self.threads = model, threads

    def predict(self, x: np.ndarray) -> np.ndarray:
        scores = self.model.predict(x, num_threads=self.threads)
        return np.asarray(scores, np.float32)

    def save(self, path: Path) -> None:
        text = re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", self.model.model_to_string())
        path.write_text(text)


def _deep(stack: Stack) -> dict[str, Any]:
    return {
        "num_leaves": 2 * stack.leaves,
        "learning_rate": 0.5 * stack.learning_rate,
        "feature_fraction": 0.4,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
    }


def _random_thresholds(stack: Stack) -> dict[str, Any]:
    return {"extra_trees": True, "feature_fraction": 0.6, "lambda_l2": 1.0, "path_smooth": 1.0}


def _shallow(stack: Stack) -> dict[str, Any]:
    return {
        "num_leaves": max(4, stack.leaves // 4),
        "max_depth": 4,
        "lambda_l2": 20.0,
        "min_data_in_leaf": 5 * stack.min_leaf,
        "feature_fraction": 0.8,
    }


def _plain(stack: Stack) -> dict[str, Any]:
    return {"feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1}


_LIGHTGBM = {
    "lightgbm": _plain,
    "lgbm_1": _deep,
    "lgbm_2": _random_thresholds,
    "lgbm_3": _shallow,
}


def _fit_lightgbm(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    labels: list[str],
    categorical: Sequence[int],
    stack: Stack,
    seed: int,
    threads: int,
) -> _LightGBM:
    parameters = {
        "objective": "binary",
        "num_leaves": stack.leaves,
        "learning_rate": stack.learning_rate,
        "min_data_in_leaf": stack.min_leaf,
        "max_bin": BINS,
        # Splits on sets of thousands of classes fit noise and take time: small sets, well filled.
        "max_cat_threshold": 16,
        "cat_smooth": 30.0,
        "cat_l2": 30.0,
        "min_data_per_group": 200,
        "deterministic": True,
        "force_col_wise": True,
        "seed": seed,
        "num_threads": threads,
        "verbosity": -1,
        **_LIGHTGBM[name](stack),
    }
    data = lightgbm.Dataset(
        x, y, feature_name=labels, categorical_feature=list(categorical), params=parameters
    )
    return _LightGBM(lightgbm.train(parameters, data, stack.trees), threads)


class _CatBoost:
    def __init__(self, model: catboost.CatBoostClassifier, threads: int) -> None:
        self.model, self.threads = model, threads

    def predict(self, x: np.ndarray) -> np.ndarray:
        scores = self.model.predict_proba(x, thread_count=self.threads)
        return scores[:, 1].astype(np.float32)

    def save(self, path: Path) -> None:
        facts = self.model.get_metadata()
        facts["model_guid"] = facts["train_finish_time"] = ""
        facts["params"] = re.sub(r'"thread_count":\d+', '"thread_count":1', facts["params"])
        self.model.save_model(str(path), format="cbm")


def _fit_catboost(
    x: np.ndarray, y: np.ndarray, labels: list[str], stack: Stack, seed: int, threads: int
) -> _CatBoost:
    model = catboost.CatBoostClassifier(
        iterations=stack.trees,
        depth=min(10, max(1, round(float(np.log2(stack.leaves))) + 1)),
        learning_rate=stack.learning_rate,
        border_count=BINS,
        boosting_type="Plain",
        bootstrap_type="Bernoulli",
        subsample=0.7,
        random_seed=seed,
        thread_count=threads,
        allow_writing_files=False,  # else it leaves a folder catboost_info where it is called
        verbose=False,
    )
    # Without names CatBoost calls the columns 0..F-1 and takes any array of that width later.
    model.fit(catboost.Pool(x, y, feature_names=labels, thread_count=threads))
    return _CatBoost(model, threads)


class _Forest:
    def __init__(self, model: Pipeline, threads: int) -> None:
        self.model, self.threads = model, threads

    def predict(self, x: np.ndarray) -> np.ndarray:
        self.model.set_params(trees__n_jobs=self.threads)
        return self.model.predict_proba(x)[:, 1].astype(np.float32)

    def save(self, path: Path) -> None:
        self.model.set_params(trees__n_jobs=None)
        joblib.dump(self.model, path, compress=3)
