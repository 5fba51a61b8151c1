"""One interface over the boosters of C10 and C12: fit, predict, cut, save, load.

Each answers "is this candidate the product's class?" with a probability; a ranker answers with a
score that only compares candidates of one product. Bins are few and trees grow leaf by leaf,
because candidate rows are many and this is fitted once for each fold and source. Saved files
carry no thread count, device, clock or random identity: the same fit gives the same bytes, so
that a rebuild wakes nothing down the chain.

    xgboost                     XGBoost, .ubj; streamed; class codes as numbers, or on request
                                as categories
    xgb_rank                    its ranker, by the gain in NDCG of a swap
    lightgbm                    LightGBM, .txt; streamed; class codes always as categories
    lgbm_1, lgbm_2, lgbm_3      L3's LightGBMs: deep and slow, random thresholds, shallow
    lambdarank                  its ranker
    catboost                    CatBoost, .cbm; rows in memory, a bounded draw; codes as numbers
    random_forest, extra_trees  scikit-learn, .joblib; likewise
"""

from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from lib.runtime.gpu import has_nvidia_gpu
from lib.stacking.boosters import catboost_booster, forests, lightgbm_booster, xgboost_booster
from lib.stacking.boosters.base import FitTask

EXTENSIONS = {
    "xgboost": "ubj",
    "xgb_rank": "ubj",
    **dict.fromkeys(lightgbm_booster.KINDS, "txt"),
    "catboost": "cbm",
    **dict.fromkeys(forests.KINDS, "joblib"),
}
_LIBRARIES: dict[str, ModuleType] = {
    "ubj": xgboost_booster,
    "txt": lightgbm_booster,
    "cbm": catboost_booster,
    "joblib": forests,
}


class Booster(Protocol):
    """A fitted model of candidate rows. curve: loss on the watched rows after each round."""

    curve: tuple[float, ...]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """P(positive), of a ranker any real score, float32 [R].

        x float32 [R, F] in the column order of the fit; it is left as it is.
        """

    def importances(self) -> np.ndarray:
        """What each column added, float64 [F] of at least 0, in a unit of the library's own."""

    def cut(self, rounds: int) -> "Booster":
        """The model as it was after its first rounds."""

    def save(self, path: Path) -> None:
        """Write the native format, whatever the ending of `path`."""


def fit(task: FitTask) -> Booster:
    """Fit one booster on rows with both targets present.

    The same seed gives the same model on as many threads; on another number of them the sums of
    XGBoost and CatBoost may differ in the last bits. Rankers leave out the products without their
    truth. Forests grow no rounds: they watch nothing.
    Raises ValueError for an unknown name.
    """
    if task.booster not in EXTENSIONS:
        raise ValueError(f"no booster named {task.booster}; known: {', '.join(EXTENSIONS)}")
    return _library(task.booster).fit(task.teachable())


def load(name: str, path: Path, threads: int = 1) -> Booster:
    """What `save` wrote. A joblib file runs code when read: read only your own."""
    return _library(name).load(path, threads)


def has_rounds(name: str) -> bool:
    """Whether the model grows by rounds and can be cut after some of them."""
    return name not in forests.KINDS


def uses_gpu(name: str) -> bool:
    """Whether a fit takes the GPU: there is one, and the library works on it."""
    kind = EXTENSIONS[name]
    return has_nvidia_gpu() and (kind == "cbm" or (kind == "ubj" and xgboost_booster.has_cuda()))


def _library(name: str) -> ModuleType:
    return _LIBRARIES[EXTENSIONS[name]]
