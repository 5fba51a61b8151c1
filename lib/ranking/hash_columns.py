"""Columns of candidate rows: what the labelled holders of a picture say about the row's class (C7).

Rows and names as in `lib/ranking/columns.py`.
"""

import numpy as np

from lib.ranking.candidates import Queried
from lib.ranking.columns import POSITIONS, Table, largest, placed
from lib.ranking.hashes import PictureLabels


def hash_columns(query: Queried, known: PictureLabels, slot: np.ndarray, cls: np.ndarray) -> Table:
    table: Table = {}
    row, image = query.pairs(slot)
    count = known.count(image, cls[row])
    share = _share(count, known.total[image])
    seen = known.total[image] > 0
    at = np.cumsum(query.count[slot]) - query.count[slot]  # first pair of each row
    for position in range(POSITIONS):
        there = position < query.count[slot]
        table[f"hash_count_{position}"] = placed(count[at[there] + position], there)
        table[f"hash_share_{position}"] = placed(share[at[there] + position], there)
    rows = len(slot)
    has_picture = np.where(query.count[slot] > 0, 0.0, np.nan)  # added: NaN without a picture
    known_pictures = np.bincount(row, seen, minlength=rows)
    table["hash_count_sum"] = np.bincount(row, count, minlength=rows) + has_picture
    share_sum = np.bincount(row, np.where(seen, share, 0), minlength=rows)
    table["hash_share_sum"] = np.where(known_pictures > 0, share_sum, np.nan)
    table["hash_pictures"] = known_pictures + has_picture
    table["hash_total"] = np.bincount(row, known.total[image], minlength=rows) + has_picture
    table["hash_classes"] = largest(known.distinct[image], row, rows)
    return table


def raw_hash_columns(query: Queried, known: PictureLabels, slot: np.ndarray) -> Table:
    """4 x hash_k frequencies and 4 x hash_k classes: the hash half of the 80 raw columns."""
    table: Table = {}
    for position in range(POSITIONS):
        image = query.at(slot, position)
        there = image >= 0
        for rank in range(known.classes.shape[1]):
            counts, classes = known.counts[image[there], rank], known.classes[image[there], rank]
            table[f"hash_freq_{position}_{rank}"] = placed(counts, there)
            table[f"hash_class_{position}_{rank}"] = placed(classes, there, -1)
    return table


def _share(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(count, total, out=np.full(len(count), np.nan), where=total > 0)
