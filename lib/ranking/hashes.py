"""Labels of other products that hold the very same picture (C7).

37 % of Cdiscount's train images are copies of another, so the MD5 of a picture often names its
class. A picture may belong to several products and several categories; a product that holds it
twice counts once. A product never counts for itself.

Leaving out the own product alone is not enough for a picture that a crowd holds. Every product
with the same placeholder would see the same counts but for its own label (79,639 against
79,640), and a tree reads the label from the difference. For such pictures the whole fold of the
product is left out, so that all products of a fold see the same numbers. Where the catalogue has
groups (colours of one style, say), whose labels agree, the fold is left out for every picture.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from lib.catalogue.tables import Catalogue

CROWD = 20  # products that hold a picture, above which a row's fold does not count for it
CHUNK = 1_000_000  # images ranked at a time
BUCKET = 4096  # pictures numbered together, about


@dataclass(frozen=True)
class Holdings:
    """How often each group (a picture, or a picture less one fold) has each class.

    keys int64 [E]: group * class_count + class, ascending; counts int32 [E] products.
    start int64 [G + 1]: first entry of each group.
    ranked int64 [E]: entries by group, then falling count, then class.
    """

    keys: np.ndarray
    counts: np.ndarray
    start: np.ndarray
    ranked: np.ndarray
    class_count: int


@dataclass(frozen=True)
class PictureLabels:
    """What the labelled products say about n queried images; arrays share the row.

    classes int16 [n, k]: by falling count, then class; -1 where there are fewer than k.
    counts int32 [n, k]: products of that class, 0 where there is none.
    total int32 [n]: products that hold the picture. distinct int32 [n]: their classes.
    group int64 [n] and own_class int16 [n] (-1: no own label to take away) serve `count`.
    """

    classes: np.ndarray
    counts: np.ndarray
    total: np.ndarray
    distinct: np.ndarray
    group: np.ndarray
    own_class: np.ndarray
    holdings: Holdings

    def count(self, image: np.ndarray, cls: np.ndarray) -> np.ndarray:
        """Products of class `cls` [m] that hold queried image `image` [m]: int32 [m]."""
        held = self.holdings
        key = self.group[image] * held.class_count + cls
        at = np.searchsorted(held.keys, key)
        found = at < len(held.keys)
        found[found] = held.keys[at[found]] == key[found]
        counts = np.zeros(len(key), np.int32)
        counts[found] = held.counts[at[found]]
        return counts - (self.own_class[image] == cls)


def picture_ids(*md5: np.ndarray) -> list[np.ndarray]:
    """Dense int64 numbers for the rows of uint64 [n, 2] arrays, equal where all 16 bytes are."""
    words = np.concatenate(md5)
    bits = max(1, (len(words) // BUCKET).bit_length())
    return np.split(_numbered(words, bits), np.cumsum([len(part) for part in md5])[:-1])


@njit(cache=True, nogil=True)
def _numbered(words: np.ndarray, bits: int) -> np.ndarray:
    """Numbers int64 [n] of the distinct rows of `words`, in the order of their first `bits`.

    Rows are dealt to buckets by these bits, each small enough for its hash table to stay in the
    processor's cache: an MD5 is a hash already.
    """
    shift = np.uint64(64 - bits)
    ends = np.zeros((1 << bits) + 1, np.int64)
    for row in range(len(words)):
        ends[np.int64(words[row, 0] >> shift) + 1] += 1
    ends = np.cumsum(ends)
    rows = np.empty(len(words), np.int64)
    fill = ends.copy()
    for row in range(len(words)):
        bucket = np.int64(words[row, 0] >> shift)
        rows[fill[bucket]] = row
        fill[bucket] += 1
    ids = np.empty(len(words), np.int64)
    found = 0
    for number in range(1 << bits):
        first, last = ends[number], ends[number + 1]
        size = 16
        while size < 2 * (last - first):
            size *= 2
        table = np.full(size, -1, np.int64)
        for place in range(first, last):
            row = rows[place]
            slot = np.int64(words[row, 1] & np.uint64(size - 1))
            while table[slot] >= 0 and (
                words[table[slot], 0] != words[row, 0] or words[table[slot], 1] != words[row, 1]
            ):
                slot = np.int64((slot + 1) & (size - 1))
            if table[slot] < 0:
                table[slot] = row
                ids[row] = found
                found += 1
            else:
                ids[row] = ids[table[slot]]
    return ids


def look_up(
    labelled: Catalogue,
    reference: np.ndarray,
    reference_fold: np.ndarray,
    query: Catalogue,
    images: np.ndarray,
    query_fold: np.ndarray,
    same: bool,
    hash_k: int,
    class_count: int,
) -> PictureLabels:
    """Look up rows `images` int64 [n] of `query` among the reference products of `labelled`.

    reference bool [P]: products whose labels may count. reference_fold int8 [P]: their fold where
    it is a fold of the queried part, else -1. query_fold int8 [n]: fold of each image's product.
    same: `query` is the labelled catalogue itself, so rows leave out their own product.
    """
    rows = np.flatnonzero(reference[labelled.image_product])
    known, asked = picture_ids(labelled.md5[rows], query.md5[images])
    pictures = 1 + max(known.max(initial=-1), asked.max(initial=-1))
    wanted = np.zeros(pictures, bool)
    wanted[asked] = True
    keep = wanted[known]
    picture, product = _distinct_pairs(known[keep], labelled.image_product[rows[keep]])

    most = CROWD if labelled.group is None else 0
    crowd = np.bincount(picture, minlength=pictures) > most
    holdings = _tabulate(
        picture, labelled.label[product], reference_fold[product], query_fold, crowd, class_count
    )
    group = asked.copy()
    by_fold = crowd[asked] & (query_fold >= 0)
    group[by_fold] = _fold_group(crowd, asked[by_fold], query_fold[by_fold])

    own_class = np.full(len(images), -1, np.int16)
    if same:
        own = query.image_product[images]
        counted = reference[own] & ~by_fold  # a group less a fold has lost the own product already
        own_class[counted] = labelled.label[own[counted]]
    return _rank(holdings, group, own_class, hash_k)


def _distinct_pairs(picture: np.ndarray, product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    span = 1 + int(product.max(initial=0))
    pairs = np.sort(picture * span + product)  # numpy's unique hashes, in six times the time
    pairs = pairs[np.diff(pairs, prepend=-1) != 0]
    return pairs // span, pairs % span


def _fold_group(crowd: np.ndarray, picture: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Group of a crowded picture less one fold; groups below len(crowd) are whole pictures."""
    position = np.cumsum(crowd) - 1
    return len(crowd) + fold.astype(np.int64) * crowd.sum() + position[picture]


def _tabulate(
    picture: np.ndarray,
    label: np.ndarray,
    fold: np.ndarray,
    query_fold: np.ndarray,
    crowd: np.ndarray,
    class_count: int,
) -> Holdings:
    folds = 1 + int(query_fold.max(initial=-1))
    groups, labels = [picture], [label]
    for left_out in range(folds):
        stays = crowd[picture] & (fold != left_out)
        held = picture[stays]
        groups.append(_fold_group(crowd, held, np.full(len(held), left_out)))
        labels.append(label[stays])
    combined = np.concatenate(groups) * class_count + np.concatenate(labels)
    keys, counts = np.unique(combined, return_counts=True)
    group = keys // class_count
    sizes = np.bincount(group, minlength=len(crowd) + folds * int(crowd.sum()))
    return Holdings(
        keys=keys,
        counts=counts.astype(np.int32),
        start=np.concatenate([[0], np.cumsum(sizes)]),
        ranked=np.lexsort((-counts, group)),  # stable, so classes ascend among equal counts
        class_count=class_count,
    )


def _rank(held: Holdings, group: np.ndarray, own_class: np.ndarray, hash_k: int) -> PictureLabels:
    n = len(group)
    classes = np.full((n, hash_k), -1, np.int16)
    counts = np.zeros((n, hash_k), np.int32)
    total = np.zeros(n, np.int32)
    distinct = np.zeros(n, np.int32)
    summed = np.concatenate([[0], np.cumsum(held.counts)])
    held_by_any = np.flatnonzero(held.start[group + 1] > held.start[group])
    for first in range(0, len(held_by_any), CHUNK):
        part = held_by_any[first : first + CHUNK]
        own = own_class[part]
        start, end = held.start[group[part]], held.start[group[part] + 1]
        # The best k less one label lie among the best k + 1, for only that label's class moves.
        top_class, top_count = _first_entries(held, start, end, hash_k + 1)
        top_count = top_count - ((top_class == own[:, None]) & (own[:, None] >= 0))
        top_class[top_count == 0] = -1
        order = np.lexsort((top_class, -top_count), axis=1)[:, :hash_k]
        classes[part] = np.take_along_axis(top_class, order, axis=1)
        counts[part] = np.take_along_axis(top_count, order, axis=1)
        total[part] = summed[end] - summed[start] - (own >= 0)
        distinct[part] = end - start - _alone(held, group[part], own)
    return PictureLabels(classes, counts, total, distinct, group, own_class, held)


def _first_entries(
    held: Holdings, start: np.ndarray, end: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Class int16 and count int32 [n, k] of the first k ranked entries, -1 and 0 beyond them."""
    at = start[:, None] + np.arange(k)
    inside = at < end[:, None]
    entry = held.ranked[at[inside]]
    classes = np.full(at.shape, -1, np.int16)
    counts = np.zeros(at.shape, np.int32)
    classes[inside] = held.keys[entry] % held.class_count
    counts[inside] = held.counts[entry]
    return classes, counts


def _alone(held: Holdings, group: np.ndarray, own: np.ndarray) -> np.ndarray:
    """bool [n]: the own product is the only one of its class in the group."""
    alone = own >= 0
    at = np.searchsorted(held.keys, group[alone] * held.class_count + own[alone])
    alone[alone] = held.counts[at] == 1
    return alone
