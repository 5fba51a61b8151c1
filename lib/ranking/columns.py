"""Columns of candidate rows: what a hash or a network says about the row's class (C7-C9).

Every function takes rows as (slot int64 [rows] ascending, class int16 [rows]) and returns a table
of named columns [rows]. Columns that end in a position 0-3 are of one picture, the others of all
pictures of the product. NaN: no picture, or nothing known of it; -1: no class.
"""

import numpy as np

from lib.ranking.candidates import Queried
from lib.ranking.hashes import PictureLabels
from lib.ranking.means import LEAST, probability
from lib.topk import TopK

POSITIONS = 4  # pictures of a product that have columns of their own; means go over all

Table = dict[str, np.ndarray]


def hash_columns(query: Queried, known: PictureLabels, slot: np.ndarray, cls: np.ndarray) -> Table:
    table: Table = {}
    row, image = query.pairs(slot)
    count = known.count(image, cls[row])
    share = _share(count, known.total[image])
    seen = known.total[image] > 0
    at = np.cumsum(query.count[slot]) - query.count[slot]  # first pair of each row
    for position in range(POSITIONS):
        there = position < query.count[slot]
        table[f"hash_count_{position}"] = _placed(count[at[there] + position], there)
        table[f"hash_share_{position}"] = _placed(share[at[there] + position], there)
    rows = len(slot)
    has_picture = np.where(query.count[slot] > 0, 0.0, np.nan)  # added: NaN without a picture
    known_pictures = np.bincount(row, seen, minlength=rows)
    table["hash_count_sum"] = np.bincount(row, count, minlength=rows) + has_picture
    share_sum = np.bincount(row, np.where(seen, share, 0), minlength=rows)
    table["hash_share_sum"] = np.where(known_pictures > 0, share_sum, np.nan)
    table["hash_pictures"] = known_pictures + has_picture
    table["hash_total"] = np.bincount(row, known.total[image], minlength=rows) + has_picture
    table["hash_classes"] = _largest(known.distinct[image], row, rows)
    return table


def raw_hash_columns(query: Queried, known: PictureLabels, slot: np.ndarray) -> Table:
    """4 x hash_k frequencies and 4 x hash_k classes: the hash half of the 80 raw columns."""
    table: Table = {}
    for position in range(POSITIONS):
        image = query.at(slot, position)
        there = image >= 0
        for rank in range(known.classes.shape[1]):
            counts, classes = known.counts[image[there], rank], known.classes[image[there], rank]
            table[f"hash_freq_{position}_{rank}"] = _placed(counts, there)
            table[f"hash_class_{position}_{rank}"] = _placed(classes, there, -1)
    return table


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
        table[f"{name}_prob_{position}"] = _placed(probs[at[there] + position], there)
    rows = len(slot)
    pictures = np.where(count > 0, count, np.nan)
    average = np.bincount(row, probs, minlength=rows) / pictures
    logs = np.log(np.maximum(probs, LEAST))
    table[f"{name}_mean"] = average
    table[f"{name}_max"] = _largest(probs, row, rows)
    table[f"{name}_geometric"] = np.exp(np.bincount(row, logs, minlength=rows) / pictures)
    table[f"{name}_rank"], best = _rank_within(slot, cls, average)
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
            table[f"{name}_top_prob_{position}_{rank}"] = _placed(topk.probs[at], held)
            table[f"{name}_top_class_{position}_{rank}"] = _placed(topk.classes[at], held, -1)
    return table


def is_class(name: str) -> bool:
    return name == "candidate_class" or "hash_class_" in name or "_top_class_" in name


def _share(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(count, total, out=np.full(len(count), np.nan), where=total > 0)


def _placed(values: np.ndarray, there: np.ndarray, missing: float = np.nan) -> np.ndarray:
    """float32 [rows]: `values` where `there`, in order, `missing` elsewhere."""
    column = np.full(len(there), missing, np.float32)
    column[there] = values
    return column


def _largest(values: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
    """Largest value of each row, NaN for a row without one; `row` ascends."""
    largest = np.full(rows, np.nan)
    if len(row):
        first = np.flatnonzero(np.diff(row, prepend=-1))
        largest[row[first]] = np.maximum.reduceat(values, first)
    return largest


def _rank_within(
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
