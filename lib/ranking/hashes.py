"""Labels of other products that hold the very same picture, or the same set of them (C7).

37 % of Cdiscount's train images are copies of another, so the MD5 of a picture often names its
class. A picture may belong to several products and several categories; a product that holds it
twice counts once. A product never counts for itself.

Leaving out the own product alone is not enough for a picture that a crowd holds. Every product
with the same placeholder would see the same counts but for its own label (79,639 against
79,640), and a tree reads the label from the difference. For such pictures the whole fold of the
product is left out, so that all products of a fold see the same numbers. Where the catalogue has
groups (colours of one style, say), whose labels agree, the fold is left out for every picture.

Any key may stand for the MD5 (`lib/catalogue/alike.py` has one of what a picture looks like). A
product's whole set of pictures is looked up as if it were one picture more.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from lib.catalogue.tables import Catalogue
from lib.ranking.holdings import Holdings, fold_group, tabulate
from lib.ranking.picture_keys import first_shown, picture_ids, set_keys

CROWD = 20  # products that hold a picture, above which a row's fold does not count for it
# A placeholder ("no picture yet") is held by a crowd that names no class. Of Cdiscount's 7,772,910
# distinct pictures 114,209 have more than one class, and most of those two or three: whoever
# copies a picture sells a like thing. Ten classes, and none of half the holders, are no likeness.
PLACEHOLDER_CLASSES = 10  # at least
PLACEHOLDER_SHARE = 0.5  # of the holders in their most frequent class, at most
UNITS = 2.0**24  # in a nat: whole numbers, so that what is taken away leaves no rounding


@dataclass(frozen=True)
class PictureLabels:
    """What the labelled products say about n queried images (or sets); arrays share the row.

    classes int16 [n, k]: by falling count, then class; -1 where there are fewer than k.
    counts int32 [n, k]: products of that class, 0 where there is none.
    total int32 [n]: products that hold the picture. distinct int32 [n]: their classes.
    entropy float32 [n]: of these classes, in nats; 0 for one class, NaN if nobody holds it.
    placeholder bool [n]: held by a crowd that names no class. Never set where a single product is
    left out: at the threshold the flag would tell that product's label.
    group int64 [n] and own_class int16 [n] (-1: no own label to take away) serve `count`.
    """

    classes: np.ndarray
    counts: np.ndarray
    total: np.ndarray
    distinct: np.ndarray
    entropy: np.ndarray
    placeholder: np.ndarray
    group: np.ndarray
    own_class: np.ndarray
    holdings: Holdings

    @property
    def unanimous(self) -> np.ndarray:
        """bool [n]: somebody holds the picture, and all who do are of one class."""
        return self.distinct == 1

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
    labelled_key: np.ndarray | None = None,
    query_key: np.ndarray | None = None,
) -> PictureLabels:
    """Look up rows `images` int64 [n] of `query` among the reference products of `labelled`.

    reference bool [P]: products whose labels may count. reference_fold int8 [P]: their fold where
    it is a fold of the queried part, else -1. query_fold int8 [n]: fold of each image's product.
    same: `query` is the labelled catalogue itself, so rows leave out their own product.
    labelled_key and query_key uint64 [I, 2]: what tells pictures apart; None: their MD5s.
    """
    key = labelled.md5 if labelled_key is None else labelled_key
    rows = np.flatnonzero(
        reference[labelled.image_product] & first_shown(key, labelled.image_product)
    )
    if same:
        ids = picture_ids(key)[0]
        known, asked = ids[rows], ids[images]
        del ids
    else:
        other = query.md5 if query_key is None else query_key
        known, asked = picture_ids(key[rows], other[images])
    owner = query.image_product[images] if same else None
    return _labels(
        labelled,
        reference,
        reference_fold,
        (known, labelled.image_product[rows]),
        (asked, owner, query_fold),
        hash_k,
        class_count,
    )


def look_up_sets(
    labelled: Catalogue,
    reference: np.ndarray,
    reference_fold: np.ndarray,
    query: Catalogue,
    products: np.ndarray,
    query_fold: np.ndarray,
    same: bool,
    class_count: int,
    labelled_key: np.ndarray | None = None,
    query_key: np.ndarray | None = None,
) -> PictureLabels:
    """Look up the whole sets of pictures of `products` int64 [n], rows of `query`.

    query_fold int8 [n]; the others as in `look_up`. The "images" of the result are the sets: row i
    says which other products have exactly the pictures of products[i], however often and in
    whatever order; none where it has no pictures. Of the classes the first is listed.
    """
    known_set = _sets(labelled, labelled_key)
    rows = np.flatnonzero(reference & (labelled.image_count > 0))
    asked_set = known_set if same else _sets(query, query_key)
    known, asked = picture_ids(known_set[rows], asked_set[products])
    nobody = 1 + max(known.max(initial=-1), asked.max(initial=-1))
    asked = np.where(query.image_count[products] > 0, asked, nobody)
    return _labels(
        labelled,
        reference,
        reference_fold,
        (known, rows),
        (asked, products if same else None, query_fold),
        1,
        class_count,
    )


def _sets(catalogue: Catalogue, key: np.ndarray | None) -> np.ndarray:
    key = catalogue.md5 if key is None else key
    return set_keys(key, catalogue.image_product, len(catalogue.image_count))


def _labels(
    labelled: Catalogue,
    reference: np.ndarray,
    reference_fold: np.ndarray,
    known: tuple[np.ndarray, np.ndarray],
    asked: tuple[np.ndarray, np.ndarray | None, np.ndarray],
    hash_k: int,
    class_count: int,
) -> PictureLabels:
    """known: pictures int64 [E] and the reference product that holds each, no pair twice.

    asked: pictures int64 [n], the labelled products that ask (None: others), and their folds.
    """
    picture, holder = known
    wanted, owner, query_fold = asked
    pictures = 1 + max(picture.max(initial=-1), wanted.max(initial=-1))
    is_wanted = np.zeros(pictures, bool)
    is_wanted[wanted] = True
    keep = is_wanted[picture]
    picture, holder = picture[keep], holder[keep]
    held = np.bincount(picture, minlength=pictures)
    crowded = held > CROWD
    crowd = crowded if labelled.group is None else held > 0
    label, fold = labelled.label[holder], reference_fold[holder]
    holdings = tabulate(picture, label, fold, query_fold, crowded, crowd, class_count)
    group = wanted.copy()
    by_fold = crowd[wanted] & (query_fold >= 0)
    group[by_fold] = fold_group(crowd, wanted[by_fold], query_fold[by_fold])
    own_class = np.full(len(wanted), -1, np.int16)
    if owner is not None:
        # A group less a fold has lost the own product; a set of no pictures never had it.
        counted = reference[owner] & ~by_fold & (held[wanted] > 0)
        own_class[counted] = labelled.label[owner[counted]]
    return _rank(holdings, group, own_class, hash_k)


def _rank(held: Holdings, group: np.ndarray, own_class: np.ndarray, hash_k: int) -> PictureLabels:
    n = len(group)
    found = PictureLabels(
        classes=np.full((n, hash_k), -1, np.int16),
        counts=np.zeros((n, hash_k), np.int32),
        total=np.zeros(n, np.int32),
        distinct=np.zeros(n, np.int32),
        entropy=np.full(n, np.nan, np.float32),
        placeholder=np.zeros(n, bool),
        group=group,
        own_class=own_class,
        holdings=held,
    )
    _fill(
        (held.keys, held.counts, held.start, held.ranked, held.crowded, held.class_count),
        np.append(0, np.cumsum(held.counts, dtype=np.int64)),
        np.append(0, np.cumsum(_units(held.counts.astype(np.int64)))),
        group,
        own_class,
        (found.classes, found.counts, found.total, found.distinct),
        (found.entropy, found.placeholder),
    )
    return found


@njit(cache=True, nogil=True)
def _fill(
    held: tuple,
    summed: np.ndarray,
    units: np.ndarray,
    group: np.ndarray,
    own_class: np.ndarray,
    counted: tuple,
    derived: tuple,
) -> None:
    """Fill the arrays of a `PictureLabels`.

    summed and units int64 [E + 1]: running sums of the entries' counts and of `_units` of them.
    """
    keys, counts, start, ranked, crowded, class_count = held
    all_classes, all_counts, all_total, all_distinct = counted
    entropy, placeholder = derived
    k = all_classes.shape[1]
    best_class, best_count = np.empty(k + 1, np.int16), np.empty(k + 1, np.int32)
    for row in range(len(group)):
        base = group[row] * class_count
        first, last = start[group[row]], start[group[row] + 1]
        own = own_class[row]
        total, distinct, nats = (
            summed[last] - summed[first],
            last - first,
            units[last] - units[first],
        )
        if own >= 0:
            entry = first + np.searchsorted(keys[first:last], base + own)
            of_own = int(counts[entry])
            total -= 1
            distinct -= of_own == 1
            nats += _unit(of_own - 1) - _unit(of_own)
        if total == 0:
            continue
        # The best k less one label lie among the best k + 1, for only that label's class moves.
        listed = 0
        for at in range(first, min(last, first + k + 1)):
            cls, count = keys[ranked[at]] - base, counts[ranked[at]]
            count -= cls == own
            place = listed
            while place > 0 and (
                best_count[place - 1] < count
                or (best_count[place - 1] == count and best_class[place - 1] > cls)
            ):
                best_class[place], best_count[place] = best_class[place - 1], best_count[place - 1]
                place -= 1
            best_class[place], best_count[place] = cls, count
            listed += 1
        for place in range(min(listed, k)):
            if best_count[place] > 0:
                all_classes[row, place], all_counts[row, place] = (
                    best_class[place],
                    best_count[place],
                )
        all_total[row], all_distinct[row] = total, distinct
        entropy[row] = (_unit(total) - nats) / (total * UNITS)
        placeholder[row] = (
            own < 0
            and crowded[group[row]]
            and distinct >= PLACEHOLDER_CLASSES
            and best_count[0] <= PLACEHOLDER_SHARE * total
        )


@njit(cache=True, nogil=True)
def _units(counts: np.ndarray) -> np.ndarray:
    units = np.empty(len(counts), np.int64)
    for row in range(len(counts)):
        units[row] = _unit(counts[row])
    return units


@njit(cache=True, nogil=True)
def _unit(count: int) -> int:
    """n log n in units: the entropy of n products is log n less the mean of these."""
    return int(count * np.log(max(count, 1)) * UNITS + 0.5)
