"""Columns of candidate rows: what a network says about the row's class (C8, C9).

Every function takes rows as (slot int64 [rows] ascending, class int16 [rows]) and returns a table
of named columns [rows]. Columns that end in a position 0-3 are of one picture, the others of all
pictures of the product. NaN: no picture, or nothing known of it; -1: no class.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numba import njit

from lib.features.candidates import Query, chunks
from lib.features.network import LEAST, probability
from lib.inference.topk import TopK

POSITIONS = 4  # pictures of a product that have columns of their own; means go over all

BLOCK = 1024  # rows whose columns are laid side by side at a time

Table = dict[str, np.ndarray]
TableOf = Callable[[np.ndarray, np.ndarray], Table]  # of the rows (slot, cls)


def model_columns(
    query: Query, topk: TopK, name: str, slot: np.ndarray, cls: np.ndarray, classes: int
) -> Table:
    table: Table = {}
    row, image = query.pairs(slot)
    probs = probability(topk, image, cls[row], classes)
    count = query.count[slot]
    at = np.cumsum(count) - count
    for position in range(POSITIONS):
        there = position < count
        table[f"{name}_prob_{position}"] = placed(probs[at[there] + position], there)
    rows = len(slot)
    pictures = np.where(count > 0, count, np.nan)
    average = np.bincount(row, probs, minlength=rows) / pictures
    logs = np.log(np.maximum(probs, LEAST))
    table[f"{name}_mean"] = average
    table[f"{name}_max"] = largest(probs, row, rows)
    table[f"{name}_geometric"] = np.exp(np.bincount(row, logs, minlength=rows) / pictures)
    table[f"{name}_rank"], best = rank_within(slot, cls, average)
    table[f"{name}_of_best"] = average / np.maximum(best, LEAST)
    table[f"{name}_rest"] = np.bincount(row, topk.rest[image], minlength=rows) / pictures
    return table


def raw_model_columns(query: Query, topk: TopK, name: str, slot: np.ndarray, top_k: int) -> Table:
    """4 x top_k probabilities and 4 x top_k classes: the network's half of the 80 raw columns."""
    table: Table = {}
    listed = topk.classes.shape[1]  # fewer than top_k where there are fewer classes
    for position in range(POSITIONS):
        image = query.at(slot, position)
        there = image >= 0
        for rank in range(top_k):
            held = there if rank < listed else np.zeros(len(slot), bool)
            at = (image[held], min(rank, listed - 1))
            table[f"{name}_top_prob_{position}_{rank}"] = placed(topk.probs[at], held)
            table[f"{name}_top_class_{position}_{rank}"] = placed(topk.classes[at], held, -1)
    return table


def is_class(name: str) -> bool:
    return name == "candidate_class" or "hash_class_" in name or "_top_class_" in name


def placed(values: np.ndarray, there: np.ndarray, missing: float = np.nan) -> np.ndarray:
    """float32 [rows]: `values` where `there`, in order, `missing` elsewhere."""
    column = np.full(len(there), missing, np.float32)
    column[there] = values
    return column


def largest(values: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
    """Largest value of each row, NaN for a row without one; `row` ascends."""
    largest = np.full(rows, np.nan)
    if len(row):
        first = first_rows(row)
        largest[row[first]] = np.maximum.reduceat(values, first)
    return largest


def rank_within(
    slot: np.ndarray, cls: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank of each row in its product, 0 for the best, and the best score; NaN for no score.

    Of equal scores the smaller class comes first. Both float64 [rows]; slots ascend.
    """
    bounds = np.append(first_rows(slot), len(slot))
    rank, best = np.full(len(slot), np.nan), np.full(len(slot), np.nan)
    _rank(bounds, cls, score, rank, best)
    return rank, best


def first_rows(slot: np.ndarray) -> np.ndarray:
    """The first row of each slot, int64; slots ascend."""
    return np.flatnonzero(np.diff(slot, prepend=-1))


def write_rows(
    folder: Path,
    slot: np.ndarray,
    cls: np.ndarray,
    table: TableOf,
    products: int,
) -> list[str]:
    """Write `columns.npy` float32 [R, F], some products at a time, and return the F names.

    Memory does not grow with the part: nothing that is written stays mapped.
    """
    names = list(table(slot[:0], cls[:0]))
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(slot), len(names))}
    slots = 1 + int(slot.max(initial=-1))
    bounds = np.searchsorted(slot, np.arange(slots + 1))
    with (folder / "columns.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for some in chunks(slots, products):
            rows = slice(bounds[some.start], bounds[some.stop])
            file.write(side_by_side(list(table(slot[rows], cls[rows]).values())).data)
    return names


def side_by_side(columns: Sequence[np.ndarray]) -> np.ndarray:
    """The columns [rows] as one table float32 [rows, F], by pieces that the cache holds."""
    values = np.empty((len(columns[0]), len(columns)), np.float32)
    for rows in chunks(len(values), BLOCK):
        for place, column in enumerate(columns):
            values[rows, place] = column[rows]
    return values


@njit(cache=True, nogil=True)
def _rank(
    bounds: np.ndarray, cls: np.ndarray, score: np.ndarray, rank: np.ndarray, best: np.ndarray
) -> None:
    """A product has a dozen candidates: comparing each with each is less work than sorting."""
    for product in range(len(bounds) - 1):
        first, last = bounds[product], bounds[product + 1]
        largest = np.nan
        for row in range(first, last):
            if np.isnan(largest) or score[row] > largest:
                largest = score[row]
        for row in range(first, last):
            best[row] = largest
            if not np.isnan(score[row]):
                before = 0
                for other in range(first, last):
                    before += score[other] > score[row] or (
                        score[other] == score[row] and cls[other] < cls[row]
                    )
                rank[row] = before
