"""Columns of candidate rows: what the labelled holders of a picture say about the row's class (C7).

Rows as in `lib/ranking/columns.py`. Names begin with a prefix, "hash" where pictures are the same
byte by byte, so that the columns of another key can stand beside them. Counts are NaN without a
picture; shares and what is made of them also where nobody else holds one.
"""

from dataclasses import dataclass

import numpy as np

from lib.catalogue.tables import Catalogue
from lib.ranking.candidates import Queried
from lib.ranking.columns import POSITIONS, Table, largest, placed
from lib.ranking.hashes import PictureLabels, look_up, look_up_sets


@dataclass(frozen=True)
class HashTable:
    """All that one key says of a part: of its pictures [n], and of its products' sets [Q]."""

    prefix: str
    images: PictureLabels
    sets: PictureLabels

    def columns(self, query: Queried, slot: np.ndarray, cls: np.ndarray, raw: bool) -> Table:
        table = hash_columns(query, self.images, slot, cls, self.prefix)
        table |= set_columns(query, self.sets, slot, cls, self.prefix)
        return table | (raw_hash_columns(query, self.images, slot, self.prefix) if raw else {})


def hash_table(
    prefix: str,
    labelled: Catalogue,
    reference: np.ndarray,
    reference_fold: np.ndarray,
    query: Catalogue,
    asked: Queried,
    fold: np.ndarray,
    same: bool,
    hash_k: int,
    class_count: int,
    labelled_key: np.ndarray | None = None,
    query_key: np.ndarray | None = None,
) -> HashTable:
    """Look up the products `asked`, of folds int8 [Q]; the others as in `look_up`."""
    known, keys = (labelled, reference, reference_fold, query), (labelled_key, query_key)
    of_image = fold[asked.slot_of_image()]
    images = look_up(*known, asked.images, of_image, same, hash_k, class_count, *keys)
    sets = look_up_sets(*known, asked.products, fold, same, class_count, *keys)
    return HashTable(prefix, images, sets)


def hash_columns(
    query: Queried, known: PictureLabels, slot: np.ndarray, cls: np.ndarray, prefix: str = "hash"
) -> Table:
    """Counts and shares of the first pictures, and sums over all pictures of the product.

    {prefix}_l1 is the row's class in the pictures' distributions over classes, added up and
    brought to a sum of 1 (T6); {prefix}_unanimous are the pictures whose holders all have the row's
    class; {prefix}_clear_l1 is l1 without placeholders; {prefix}_entropy is a mean in nats.
    """
    table: Table = {}
    row, image = query.pairs(slot)
    count = known.count(image, cls[row])
    share = _share(count, known.total[image])
    seen = known.total[image] > 0
    at = np.cumsum(query.count[slot]) - query.count[slot]  # first pair of each row
    for position in range(POSITIONS):
        there = position < query.count[slot]
        table[f"count_{position}"] = placed(count[at[there] + position], there)
        table[f"share_{position}"] = placed(share[at[there] + position], there)
    rows = len(slot)
    has_picture = np.where(query.count[slot] > 0, 0.0, np.nan)  # added: NaN without a picture

    def added(values: np.ndarray, where: np.ndarray) -> np.ndarray:
        return np.bincount(row[where], values[where], minlength=rows)

    known_pictures = added(seen, seen)
    clear = seen & ~known.placeholder[image]
    unanimous = known.unanimous[image] & (count > 0)
    table["count_sum"] = added(count, seen) + has_picture
    table["share_sum"] = np.where(known_pictures > 0, added(share, seen), np.nan)
    table["pictures"] = known_pictures + has_picture
    table["total"] = added(known.total[image], seen) + has_picture
    table["classes"] = largest(known.distinct[image], row, rows)
    table["entropy"] = _share(added(known.entropy[image], seen), known_pictures)
    table["unanimous"] = added(unanimous, seen) + has_picture
    table["l1"] = _share(added(share, seen), known_pictures)
    table["placeholders"] = known_pictures - added(clear, seen) + has_picture
    table["clear_l1"] = _share(added(share, clear), added(clear, seen))
    return {f"{prefix}_{name}": column for name, column in table.items()}


def set_columns(
    query: Queried, known: PictureLabels, slot: np.ndarray, cls: np.ndarray, prefix: str = "hash"
) -> Table:
    """Of the other products with exactly the product's pictures: of its class, share, in all.

    known: what `look_up_sets` says of the slots.
    """
    has_picture = np.where(query.count[slot] > 0, 0.0, np.nan)
    count, total = known.count(slot, cls), known.total[slot]
    return {
        f"{prefix}_set_count": count + has_picture,
        f"{prefix}_set_share": _share(count, total),
        f"{prefix}_set_total": total + has_picture,
    }


def raw_hash_columns(
    query: Queried, known: PictureLabels, slot: np.ndarray, prefix: str = "hash"
) -> Table:
    """4 x hash_k frequencies and 4 x hash_k classes: the hash half of the 80 raw columns."""
    table: Table = {}
    for position in range(POSITIONS):
        image = query.at(slot, position)
        there = image >= 0
        for rank in range(known.classes.shape[1]):
            counts, classes = known.counts[image[there], rank], known.classes[image[there], rank]
            table[f"{prefix}_freq_{position}_{rank}"] = placed(counts, there)
            table[f"{prefix}_class_{position}_{rank}"] = placed(classes, there, -1)
    return table


def _share(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(count, total, out=np.full(len(count), np.nan), where=total > 0)
