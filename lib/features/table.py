"""Feature tables of the same candidate rows: written by chunks, read side by side.

    columns.npy     float32 [R, F]
    columns.json    names of the F columns, which of them hold class codes, and the fraction of
                    missing values of each

Values stay memory-mapped: only the requested rows are read, and what is derived from them (the
prior of a class code) is computed on the way.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from lib.pipeline.reading import map_array, read_json, reading
from lib.utils.chunks import chunks
from lib.utils.compiled import njit
from lib.utils.groups import group_index, group_normalize, group_rank, group_runs
from lib.utils.npy import ArrayWriter

BLOCK = 1024  # rows whose columns are stacked at a time: what a cache holds

Columns = dict[str, np.ndarray]  # named columns [R] of the same rows, in order
ColumnsOf = Callable[[np.ndarray, np.ndarray], Columns]  # of the rows (query_row, class_id)


@dataclass(frozen=True)
class FeatureTable:
    """Columns of candidate rows.

    values: float32 [R, F]; NaN for a missing value, -1 for no class in a categorical column.
    names: of the F columns. categorical: names of the columns that hold class codes.
    """

    values: np.ndarray
    names: list[str]
    categorical: list[str]

    @classmethod
    def load(cls, folder: Path, rows: slice = slice(None)) -> "FeatureTable":
        """Open the table in a folder, or some rows of it; its values are memory-mapped."""
        described = read_json(folder / "columns.json", "names", "categorical")
        names, categorical = described["names"], described["categorical"]
        values = map_array(folder / "columns.npy")
        with reading(folder / "columns.npy"):
            if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] != len(names):
                raise ValueError(f"{values.dtype} {list(values.shape)} for {len(names)} columns")
        return cls(values[rows], names, categorical)

    def save(self, folder: Path) -> None:
        """Write the table into a folder."""
        np.save(folder / "columns.npy", self.values.astype(np.float32, copy=False))
        missing = np.isnan(self.values).sum(axis=0)
        _write_names(folder, self.names, self.categorical, missing, len(self.values))

    def column(self, name: str) -> np.ndarray:
        """A copy of one column: float32 [R]."""
        return np.array(self.values[:, self.names.index(name)])

    def __len__(self) -> int:
        return len(self.values)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows int64 [r] into `out` float32 [r, F]."""
        out[:] = _take_rows(self.values, rows)


@dataclass(frozen=True)
class TargetEncodedTable:
    """A table whose class codes are read as the global prior of that class.

    The codes are replaced when rows are read, so that a large memory-mapped table stays on disk.

    table: the columns with class codes.
    group: int32 [R], index of the row's product among the products of the table.
    group_bounds: int64 [groups + 1], rows of each product.
    class_id: int16 [R], candidate class, ascending within a product.
    prior: float32 [R], of the candidate class, as the row may see it.
    """

    table: FeatureTable
    group: np.ndarray
    group_bounds: np.ndarray
    class_id: np.ndarray
    prior: np.ndarray

    @property
    def names(self) -> list[str]:
        """Names of the columns; that of an encoded one ends in `_prior`."""
        encoded = set(self.table.categorical)
        return [f"{name}_prior" if name in encoded else name for name in self.table.names]

    @property
    def categorical(self) -> list[str]:
        """No column holds class codes any more."""
        return []

    def __len__(self) -> int:
        return len(self.table)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows int64 [r] into `out` float32 [r, F]."""
        self.table.read(rows, out)
        names = self.table.names
        columns = np.array([names.index(name) for name in self.table.categorical], np.int64)
        _codes_to_priors(
            out, columns, self.group[rows], self.group_bounds, self.class_id, self.prior
        )


Table = FeatureTable | TargetEncodedTable


class JoinedTables:
    """Tables of the same rows side by side, which boosters read by chunks.

    rows: number of rows. names: of all columns. categorical: indices of the columns that hold class
    codes, -1 for none.
    Raises ValueError if the tables differ in their number of rows.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        rows = {len(table) for table in tables}
        if len(rows) != 1:
            raise ValueError(f"tables of {sorted(rows)} rows")
        self.tables = tables
        self.rows = rows.pop()
        self.names = [name for table in tables for name in table.names]
        is_categorical = [name in table.categorical for table in tables for name in table.names]
        self.categorical = np.flatnonzero(is_categorical).tolist()

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows int64 [r] of all columns: float32 [r, F]."""
        values = np.empty((len(rows), len(self.names)), np.float32)
        first = 0
        for table in self.tables:
            last = first + len(table.names)
            table.read(rows, values[:, first:last])
            first = last
        return values


def target_encode(
    table: FeatureTable, common: FeatureTable, product: np.ndarray
) -> TargetEncodedTable:
    """Replace each class code of a table by the global prior of that class.

    common: the common columns of the same rows. They hold the prior of every candidate as its row
    may see it (from other folds, where the row is used for training). Every class of the raw
    columns is a candidate of its product, except for a few of the models' mean; those get NaN, like
    code -1.
    product: int32 [R], ascending.
    Raises ValueError if rows are not sorted by (product, class).
    """
    if not len(table) == len(common) == len(product):
        raise ValueError(f"{len(table)}, {len(common)}, {len(product)} rows")
    starts, sizes = group_runs(product)
    class_id = common.column("candidate_class").astype(np.int16)
    if ((np.diff(product) == 0) & (np.diff(class_id.astype(np.int64)) <= 0)).any():
        raise ValueError("rows are not sorted by (product, class)")
    group = group_index(sizes).astype(np.int32)
    bounds = np.append(starts, len(product))
    return TargetEncodedTable(table, group, bounds, class_id, common.column("global_prior"))


def score_features(scores: Mapping[str, np.ndarray], product: np.ndarray) -> FeatureTable:
    """Features of the booster layer below: each booster's score, its share and rank per product.

    scores: float32 [R] by booster, out-of-fold for rows used for training.
    product: int32 [R], ascending.
    Raises ValueError for unscored rows: a NaN would mean that some rows were never predicted.
    """
    values = np.empty((len(product), 3 * len(scores)), np.float32)
    names = []
    for number, (booster, score) in enumerate(scores.items()):
        if np.isnan(score).any():
            raise ValueError(f"{booster}: {int(np.isnan(score).sum())} rows are unscored")
        values[:, 3 * number] = score
        values[:, 3 * number + 1] = group_normalize(score, product)
        values[:, 3 * number + 2] = group_rank(score, product)
        names += [f"{booster}_score", f"{booster}_share", f"{booster}_rank"]
    return FeatureTable(values, names, [])


class TableWriter:
    """Writes the table of a folder some rows at a time; what is written does not stay in memory.

    with TableWriter(folder) as writer:
        writer.append(columns)    # at least once, if only with no rows
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.names = folder, list[str]()
        self._values: ArrayWriter | None = None
        self._missing: np.ndarray = np.zeros(0, np.int64)
        self._files = ExitStack()

    def append(self, columns: Columns) -> None:
        """Write the next rows; the columns are the same each time."""
        if self._values is None:
            self.names = list(columns)
            self._missing = np.zeros(len(columns), np.int64)
            writer = ArrayWriter(self.folder / "columns.npy", np.float32, len(columns))
            self._values = self._files.enter_context(writer)
        if list(columns) != self.names:
            raise ValueError(f"columns {list(columns)} after {self.names}")
        values = stack_columns(list(columns.values()))
        self._missing += np.isnan(values).sum(axis=0)
        self._values.append(values)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.__exit__(kind, error, trace)
        if error is None and self._values is not None:
            categorical = [name for name in self.names if is_categorical(name)]
            rows = self._values.rows
            _write_names(self.folder, self.names, categorical, self._missing, rows)


def is_categorical(name: str) -> bool:
    """Whether the column of this name holds class codes."""
    return name == "candidate_class" or "hash_class_" in name or "_top_class_" in name


def write_columns(folder: Path, columns: Columns) -> None:
    """Write columns that are in memory as one table, in their order; none holds class codes."""
    FeatureTable(stack_columns(list(columns.values())), list(columns), []).save(folder)


def write_by_chunks(
    folder: Path,
    query_row: np.ndarray,
    class_id: np.ndarray,
    columns_of: ColumnsOf,
    num_products: int,
) -> int:
    """Compute and write a table some products at a time; returns its number of columns.

    query_row: int64 [R], ascending; class_id: int16 [R].
    columns_of: computes the columns of some rows, given their query_row and class_id.
    num_products: products of a chunk.
    """
    num_query_rows = 1 + int(query_row.max(initial=-1))
    bounds = np.searchsorted(query_row, np.arange(num_query_rows + 1))
    with TableWriter(folder) as writer:
        for some in list(chunks(num_query_rows, num_products)) or [slice(0, 0)]:
            rows = slice(bounds[some.start], bounds[some.stop])
            writer.append(columns_of(query_row[rows], class_id[rows]))
    return len(writer.names)


def stack_columns(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Columns [R] as one table float32 [R, F], in blocks of rows that a cache holds."""
    values = np.empty((len(columns[0]), len(columns)), np.float32)
    for rows in chunks(len(values), BLOCK):
        for number, column in enumerate(columns):
            values[rows, number] = column[rows]
    return values


def scatter(values: np.ndarray, mask: np.ndarray, missing: float = np.nan) -> np.ndarray:
    """A column float32 [R] with `values` in order where `mask` is set, `missing` elsewhere.

    values: [m]; mask: bool [R], with m set.
    """
    column = np.full(len(mask), missing, np.float32)
    column[mask] = values
    return column


def missing_shares(folder: Path) -> dict[str, float]:
    """The fraction of missing values of each column of the table in a folder."""
    path = folder / "columns.json"
    described = read_json(path, "names", "missing")
    with reading(path):
        return dict(zip(described["names"], described["missing"], strict=True))


def _write_names(
    folder: Path, names: list[str], categorical: list[str], missing: np.ndarray, num_rows: int
) -> None:
    """missing: int64 [F], number of missing values."""
    shares = [round(count / max(num_rows, 1), 6) for count in missing.tolist()]
    described = {"names": names, "categorical": categorical, "missing": shares}
    (folder / "columns.json").write_text(json.dumps(described, indent=1))


def _take_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows of a memory-mapped table, without a copy if they are consecutive."""
    if len(rows) and (np.diff(rows) == 1).all():
        return values[rows[0] : rows[-1] + 1]
    return values[rows]


@njit(cache=True, nogil=True)
def _codes_to_priors(
    out: np.ndarray,
    columns: np.ndarray,
    group: np.ndarray,
    group_bounds: np.ndarray,
    class_id: np.ndarray,
    prior: np.ndarray,
) -> None:
    """Replace class codes by priors in the `columns` int64 [c] of `out` float32 [r, F].

    group: int32 [r], of each row of `out`; group_bounds, class_id, prior: as in
    `TargetEncodedTable`. A linear search: a product has a dozen candidates, neighbors in memory.
    """
    for i in range(len(group)):
        start, end = group_bounds[group[i]], group_bounds[group[i] + 1]
        for column in columns:
            code, value = out[i, column], np.float32(np.nan)
            for row in range(start, end):
                if class_id[row] == code:
                    value = prior[row]
                    break
            out[i, column] = value
