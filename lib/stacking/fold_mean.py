"""Score other rows with the mean of the fold models of a booster"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.config.schema import RANKERS
from lib.features.table import JoinedTables, Table
from lib.pipeline.reading import read_json
from lib.stacking.boosters import registry
from lib.stacking.boosters.base import Booster
from lib.stacking.calibration import softmax
from lib.stacking.oof import model_paths, predict_rows, run_in_threads

FEW_ROWS = 1000  # that are scored in less time than threads start in


@dataclass(frozen=True)
class FoldMean:
    """The fold models of a booster, in memory.

    folder: written by `fit_oof`. names: of the columns of the fit. models: of all folds.
    temperature: of rankers. threads: that score rows.
    """

    folder: Path
    booster: str
    names: list[str]
    models: list[Booster]
    temperature: float | None
    threads: int

    @classmethod
    def load(cls, folder: Path, booster: str, threads: int = 1) -> "FoldMean":
        """Load what `fit_oof` wrote."""
        paths = model_paths(folder, registry.extension(booster))
        of_each = max(1, threads // min(len(paths), max(threads, 1)))
        temperature = None
        if booster in RANKERS:
            temperature = read_json(folder / "calibration.json", "temperature")["temperature"]
        models = [registry.load(booster, path, of_each) for path in paths]
        names = read_json(folder / "columns.json")
        return cls(folder, booster, names, models, temperature, threads)

    def predict(self, tables: Sequence[Table], product: np.ndarray) -> np.ndarray:
        """Mean over the models of their scores, float32 [R].

        tables: the columns of the fit over R rows, read by chunks: all rows of each product.
        product: int32 [R], ascending.

        Raises ValueError for columns that are not those of the fit, and another number of rows.
        """
        source = JoinedTables(tables)
        if source.names != self.names:
            differing = sorted(set(source.names) ^ set(self.names)) or ["the order"]
            first = ", ".join(differing[:5])
            raise ValueError(f"{self.folder}: columns are not those of the fit: {first}")
        if len(product) != source.rows:
            raise ValueError(f"{len(product)} products of {source.rows} rows")

        def predict_fold(k: int, _threads: int = 1) -> np.ndarray:
            scores = predict_rows(self.models[k], source)
            if self.temperature is None:
                return scores
            return softmax(scores, product, self.temperature)

        count = len(self.models)
        if len(product) <= FEW_ROWS:
            scores = [predict_fold(k) for k in range(count)]
        else:
            scores = run_in_threads(predict_fold, count, self.threads, self.booster)
        return np.asarray(np.mean(scores, axis=0, dtype=np.float64), np.float32)
