"""Columns of candidate rows: what the labelled holders of a picture say about the row's class (C7).

Rows as in `lib/features/columns.py`. Names begin with a prefix, "hash" where pictures are the same
byte by byte, so that the columns of another key can stand beside them. Counts are NaN without a
picture; shares and what is made of them also where nobody else holds one.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from lib.data.catalog import Catalog
from lib.features.candidates import Query
from lib.features.columns import POSITIONS, Table, first_rows, placed
from lib.features.hash_kernels import entry_of
from lib.features.hash_lookup import ImageLabelCounts, look_up, look_up_sets

# Of a product, in the order in which `_fill` has them.
SUMS = "count_sum share_sum pictures total classes entropy unanimous l1 placeholders clear_l1"


@dataclass(frozen=True)
class HashFeatures:
    """All that one key says of a part: of its pictures [n], and of its products' sets [Q]."""

    prefix: str
    images: ImageLabelCounts
    sets: ImageLabelCounts

    def columns(self, query: Query, slot: np.ndarray, cls: np.ndarray, raw: bool) -> Table:
        table = hash_columns(query, self.images, slot, cls, self.prefix)
        table |= set_columns(query, self.sets, slot, cls, self.prefix)
        return table | (raw_hash_columns(query, self.images, slot, self.prefix) if raw else {})


def hash_table(
    prefix: str,
    labelled: Catalog,
    reference: np.ndarray,
    reference_fold: np.ndarray,
    query: Catalog,
    asked: Query,
    fold: np.ndarray,
    same: bool,
    hash_k: int,
    class_count: int,
    labelled_key: np.ndarray | None = None,
    query_key: np.ndarray | None = None,
) -> HashFeatures:
    """Look up the products `asked`, of folds int8 [Q]; the others as in `look_up`."""
    known, keys = (labelled, reference, reference_fold, query), (labelled_key, query_key)
    of_image = fold[asked.slot_of_image()]
    images = look_up(*known, asked.images, of_image, same, hash_k, class_count, *keys)
    sets = look_up_sets(*known, asked.products, fold, same, class_count, *keys)
    return HashFeatures(prefix, images, sets)


def hash_columns(
    query: Query, known: ImageLabelCounts, slot: np.ndarray, cls: np.ndarray, prefix: str = "hash"
) -> Table:
    """Counts and shares of the first pictures, and sums over all pictures of the product.

    {prefix}_l1 is the row's class in the pictures' distributions over classes, added up and
    brought to a sum of 1 (T6); {prefix}_unanimous are the pictures whose holders all have the row's
    class; {prefix}_clear_l1 is l1 without placeholders; {prefix}_entropy is a mean in nats.
    """
    of_position = [f"{kind}_{at}" for at in range(POSITIONS) for kind in ("count", "share")]
    names = [f"{prefix}_{name}" for name in (*of_position, *SUMS.split())]
    columns = np.full((len(names), len(slot)), np.nan, np.float32)
    _fill(
        columns,
        (slot, cls, query.start, query.count),
        known.holdings.arrays,
        (known.group, known.own_class, known.total, known.distinct),
        (known.entropy, known.placeholder),
    )
    return dict(zip(names, columns, strict=True))


@njit(cache=True, nogil=True)
def _fill(columns: np.ndarray, asked: tuple, held: tuple, counted: tuple, derived: tuple) -> None:
    """Fill the columns float32 [F, rows], which come as NaN, of the rows that have a picture."""
    slots, classes, start, pictures = asked
    group, own_class, total, distinct = counted
    entropy, placeholder = derived
    entries, held_classes, held_counts = held
    for row in range(len(slots)):
        first = start[slots[row]]
        last = first + pictures[slots[row]]
        if first == last:
            continue
        counts = shares = known = totals = most = nats = unanimous = clear = clear_shares = 0.0
        for image in range(first, last):
            first_entry, end = entries[group[image]], entries[group[image] + 1]
            entry = entry_of(held_classes, first_entry, end, classes[row])
            count = held_counts[entry] - (own_class[image] == classes[row]) if entry >= 0 else 0
            share = _ratio(count, total[image])
            if image < first + POSITIONS:
                columns[2 * (image - first), row] = count
                columns[2 * (image - first) + 1, row] = share
            if total[image] == 0:
                continue
            counts += count
            shares += share
            known += 1
            totals += total[image]
            most = max(most, distinct[image])
            nats += entropy[image]
            unanimous += distinct[image] == 1 and count > 0
            if not placeholder[image]:
                clear += 1
                clear_shares += share
        mean = _ratio(shares, known)
        of_product = (
            counts,
            mean * known,  # NaN where no picture is known
            known,
            totals,
            most,
            _ratio(nats, known),
            unanimous,
            mean,
            known - clear,
            _ratio(clear_shares, clear),
        )
        for place in range(len(of_product)):
            columns[2 * POSITIONS + place, row] = of_product[place]


@njit(cache=True, nogil=True)
def _ratio(count: float, total: float) -> float:
    return count / total if total > 0 else np.nan


def set_columns(
    query: Query, known: ImageLabelCounts, slot: np.ndarray, cls: np.ndarray, prefix: str = "hash"
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
    query: Query, known: ImageLabelCounts, slot: np.ndarray, prefix: str = "hash"
) -> Table:
    """4 x hash_k frequencies and 4 x hash_k classes: the hash half of the 80 raw columns."""
    table: Table = {}
    heads = first_rows(slot)
    rows = np.diff(heads, append=len(slot))  # of each product: they all have the same
    for position in range(POSITIONS):
        image = query.at(slot[heads], position)
        there = image >= 0
        for rank in range(known.classes.shape[1]):
            classes = known.classes[image[there], rank]
            counts = known.count(image[there], classes)
            table[f"{prefix}_freq_{position}_{rank}"] = np.repeat(placed(counts, there), rows)
            table[f"{prefix}_class_{position}_{rank}"] = np.repeat(placed(classes, there, -1), rows)
    return table


def _share(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(count, total, out=np.full(len(count), np.nan), where=total > 0)
