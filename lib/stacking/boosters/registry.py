"""One interface over all boosters: fit and load by name.

Each booster estimates the probability that a candidate is the product's class; a ranker's score
only compares the candidates of one product. Bins are few and trees grow leaf by leaf, because
candidate rows are many and a booster is fitted once for each fold and source. Saved files carry no
thread count, device, time or random identity: the same fit gives the same bytes, so that a rebuild
does not make later artifacts stale.

    xgboost                     XGBoost, .ubj; streamed; class ids as numbers, or as categories with
                                `stack.native_categories`
    xgb_rank                    XGBoost's ranker: a pair of candidates weighs by its change of NDCG
    lightgbm                    LightGBM, .txt; streamed; class ids always as categories
    lgbm_deep, lgbm_extra,      LightGBM: deep trees, a low rate; random thresholds; shallow trees
      lgbm_shallow                (lgbm_1, lgbm_2 and lgbm_3 of the Cdiscount 5th-place write-up)
    lambdarank                  LightGBM's ranker
    catboost                    CatBoost, .cbm; a bounded draw of rows in memory; class ids as
                                numbers
    random_forest, extra_trees  scikit-learn, .npz; a bounded draw of rows in memory

To add a booster, write its module, add it to `_MODULES` and `module_of`, and its name to
`BoosterName` in lib/config/schema.py. No default layer changes.
"""

from pathlib import Path
from typing import Protocol

from lib.config.schema import BOOSTERS
from lib.errors import UserError
from lib.pipeline.reading import reading
from lib.runtime.gpu import has_nvidia_gpu
from lib.runtime.workers import is_out_of_memory
from lib.stacking.boosters import model_file
from lib.stacking.boosters.base import Booster, FitTask
from lib.utils.kept import kept


class BoosterModule(Protocol):
    """What the module of a library provides. HAS_ROUNDS: its models grow by rounds."""

    EXTENSION: str
    HAS_ROUNDS: bool

    def fit(self, task: FitTask) -> Booster:
        """Fit one booster."""

    def load(self, data: bytes, threads: int) -> Booster:
        """The model of the bytes that `Booster.save` wrote."""

    def supports_gpu(self) -> bool:
        """Whether the installed library can fit on a GPU."""


_MODULES = {
    "xgboost": "xgboost_booster",
    "xgb_rank": "xgboost_booster",
    "lightgbm": "lightgbm_booster",
    "lgbm_deep": "lightgbm_booster",
    "lgbm_extra": "lightgbm_booster",
    "lgbm_shallow": "lightgbm_booster",
    "lambdarank": "lightgbm_booster",
    "catboost": "catboost_booster",
    "random_forest": "forests",
    "extra_trees": "forests",
}
if set(_MODULES) != set(BOOSTERS):
    raise ImportError(f"boosters without a module or a setting: {set(_MODULES) ^ set(BOOSTERS)}")


def module_of(name: str) -> BoosterModule:
    """The module of a booster, imported here: each library takes up to a second to import."""
    module = _MODULES[name]
    if module == "xgboost_booster":
        from lib.stacking.boosters import xgboost_booster

        return xgboost_booster
    if module == "lightgbm_booster":
        from lib.stacking.boosters import lightgbm_booster

        return lightgbm_booster
    if module == "catboost_booster":
        from lib.stacking.boosters import catboost_booster

        return catboost_booster
    from lib.stacking.boosters import forests

    return forests


def fit(task: FitTask) -> Booster:
    """Fit one booster on rows with both targets present.

    The same seed and number of threads give the same model; with another number of threads the
    sums of XGBoost and CatBoost may differ in the last bits. Rankers leave out products without
    their true class. Forests have no rounds and ignore `task.valid`.
    Raises ValueError for an unknown name, UserError if memory runs out.
    """
    if task.booster not in _MODULES:
        raise ValueError(f"no booster named {task.booster}; choose from {', '.join(_MODULES)}")
    try:
        return module_of(task.booster).fit(task.rankable())
    except Exception as error:  # each library raises its own class
        if not is_out_of_memory(error):
            raise
        raise UserError(_out_of_memory_message(task)) from None


def save(model: Booster, path: Path) -> None:
    """Write a model so that its file is complete or absent, and its digest beside it."""
    model_file.save(path, model.save)


@kept
def load(name: str, path: Path, threads: int = 1) -> Booster:
    """Read what `save` wrote. No format runs code when it is read.

    Raises UserError for bytes that are not those that were written, before a library parses them.
    """
    data = model_file.load(path)
    with reading(path):
        return module_of(name).load(data, threads)


def extension(name: str) -> str:
    """Suffix of the booster's files, without the dot."""
    return module_of(name).EXTENSION


def has_rounds(name: str) -> bool:
    """Whether the model grows by rounds and can be trimmed to the first of them."""
    return module_of(name).HAS_ROUNDS


def uses_gpu(name: str) -> bool:
    """Whether a fit can use a GPU: there is one, and the library supports it."""
    return has_nvidia_gpu() and module_of(name).supports_gpu()


def _out_of_memory_message(task: FitTask) -> str:
    rows = f"{task.train.source.rows:,} rows of {len(task.column_names)} columns"
    if task.use_gpu:
        return (
            f"{task.booster}: out of GPU memory on {rows}; fit it on the CPU"
            " (--set run.device=cpu), or lower stack.num_leaves"
        )
    remedy = "lower run.threads (fewer folds are fitted at once), or features.top_k (fewer rows)"
    return f"{task.booster}: out of memory on {rows}; {remedy}"
