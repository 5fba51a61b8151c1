"""Columns of candidate rows: what a network says about the row's class (C8, C9).

Every function takes rows as (slot int64 [rows] ascending, class int16 [rows]) and returns a table
of named columns [rows]. Columns that end in a position 0-3 are of one picture, the others of all
pictures of the product. NaN: no picture, or nothing known of it; -1: no class.
"""

import numpy as np

from lib.ranking.candidates import Queried
from lib.ranking.means import LEAST, probability
from lib.topk import TopK

POSITIONS = 4  # pictures of a product that have columns of their own; means go over all

Table = dict[str, np.ndarray]


def model_columns(
    query: Queried, topk: TopK, name: str, slot: np.ndarray, cls: np.ndarray, classes: int
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


def raw_model_columns(query: Queried, topk: TopK, name: str, slot: np.ndarray, top_k: int) -> Table:
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
        first = np.flatnonzero(np.diff(row, prepend=-1))
        largest[row[first]] = np.maximum.reduceat(values, first)
    return largest


def rank_within(
    slot: np.ndarray, cls: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank of each row in its product, 0 for the best, and the best score; NaN for no score."""
    order = np.lexsort((cls, -score, slot))
    first = np.flatnonzero(np.diff(slot[order], prepend=-1))
    size = np.diff(first, append=len(slot))
    rank, best = np.empty(len(slot)), np.empty(len(slot))
    rank[order] = np.arange(len(slot)) - np.repeat(first, size)
    best[order] = np.repeat(score[order][first], size)
    rank[np.isnan(score)] = np.nan
    return rank, best
