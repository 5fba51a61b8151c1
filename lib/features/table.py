"""Tables of columns over the same candidate rows, read side by side and by chunks.

Their values stay memory-mapped: only the rows asked for are read, and what is derived from them
(a class code's prior) is made on the way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from lib.features.build import Columns
from lib.stacking import blend


@dataclass(frozen=True)
class PriorColumns:
    """Columns whose class codes are read as the global prior of that class (L3, C12).

    The codes are replaced when rows are read, so that a large memory-mapped table stays on disk.
    run int32 [R]: number of the row's product; first int64 [runs + 1]: its first row; cls int16
    [R]: candidate class, ascending in a run; prior float32 [R]: of that class, as the row may see
    it.
    """

    coded: Columns
    run: np.ndarray
    first: np.ndarray
    cls: np.ndarray
    prior: np.ndarray

    @property
    def names(self) -> list[str]:
        of_class = set(self.coded.categorical)
        return [f"{name}_prior" if name in of_class else name for name in self.coded.names]

    @property
    def categorical(self) -> list[str]:
        return []

    def __len__(self) -> int:
        return len(self.coded.values)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows int64 [r] into `out` float32 [r, F]."""
        out[:] = _rows(self.coded.values, rows)
        places = np.array([self.coded.names.index(n) for n in self.coded.categorical], np.int64)
        _replace(out, places, self.run[rows], self.first, self.cls, self.prior)


Table = Columns | PriorColumns


class Joined:
    """Tables side by side, as a `task.RowSource`.

    names: of all columns; categorical: places of those that hold class codes, -1 for none.
    Raises ValueError where the tables differ in rows.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        rows = {len(table.values) if isinstance(table, Columns) else len(table) for table in tables}
        if len(rows) != 1:
            raise ValueError(f"tables of {sorted(rows)} rows")
        self.tables = tables
        self.rows = rows.pop()
        self.names = [name for table in tables for name in table.names]
        of_class = [name in table.categorical for table in tables for name in table.names]
        self.categorical = [place for place, is_class in enumerate(of_class) if is_class]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows int64 [r], float32 [r, F]."""
        x = np.empty((len(rows), len(self.names)), np.float32)
        at = 0
        for table in self.tables:
            own = x[:, at : at + len(table.names)]
            if isinstance(table, PriorColumns):
                table.read(rows, own)
            else:
                own[:] = _rows(table.values, rows)
            at += len(table.names)
        return x


def categories_as_priors(columns: Columns, common: Columns, product: np.ndarray) -> PriorColumns:
    """`columns` with each class code replaced by the global prior of that class (C12).

    common: the candidates' own columns over the same rows; they hold the prior of every candidate
    as that row may see it (other folds only, where the row trains), and every class of the raw
    columns is a candidate of its product, but for a few of the mean's, which get NaN, like -1.
    product int32 [R]. Raises ValueError for rows that are not sorted by (product, class).
    """
    if not len(columns.values) == len(common.values) == len(product):
        raise ValueError(f"{len(columns.values)}, {len(common.values)}, {len(product)} rows")
    first, size = blend.runs(product)
    cls = _column(common, "candidate_class").astype(np.int16)
    if ((np.diff(product) == 0) & (np.diff(cls.astype(np.int64)) <= 0)).any():
        raise ValueError("rows are not sorted by (product, class)")
    run = np.repeat(np.arange(len(size), dtype=np.int32), size)
    bounds = np.append(first, len(product))
    return PriorColumns(columns, run, bounds, cls, _column(common, "global_prior"))


def layer_columns(scores: Mapping[str, np.ndarray], product: np.ndarray) -> Columns:
    """What L3 sees of the layer below: each booster's score, its share and rank in the product.

    scores: float32 [R] by booster, out-of-fold where they train. Raises ValueError for unscored
    rows: a NaN there would mean that some rows were never predicted.
    """
    values = np.empty((len(product), 3 * len(scores)), np.float32)
    names = []
    for place, (booster, score) in enumerate(scores.items()):
        if np.isnan(score).any():
            raise ValueError(f"{booster}: {int(np.isnan(score).sum())} rows are unscored")
        values[:, 3 * place] = score
        values[:, 3 * place + 1] = blend.normalise(score, product)
        values[:, 3 * place + 2] = blend.rank(score, product)
        names += [f"{booster}_score", f"{booster}_share", f"{booster}_rank"]
    return Columns(values, names, [])


def _rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows of a mapped table, without a copy where they lie side by side."""
    if len(rows) and (np.diff(rows) == 1).all():
        return values[rows[0] : rows[-1] + 1]
    return values[rows]


def _column(columns: Columns, name: str) -> np.ndarray:
    return np.array(columns.values[:, columns.names.index(name)])


@njit(cache=True, nogil=True)
def _replace(
    out: np.ndarray,
    places: np.ndarray,
    run: np.ndarray,
    first: np.ndarray,
    cls: np.ndarray,
    prior: np.ndarray,
) -> None:
    """A search from front to back: a product has a dozen candidates, side by side in memory."""
    for at in range(len(run)):
        start, end = first[run[at]], first[run[at] + 1]
        for place in places:
            code, found = out[at, place], np.float32(np.nan)
            for row in range(start, end):
                if cls[row] == code:
                    found = prior[row]
                    break
            out[at, place] = found
