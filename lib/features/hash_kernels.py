"""How many products of each class hold a picture, or hold it and are not of one fold.

One walk over buckets of keys: the pictures of a bucket are numbered, tabulated and answered for
before the next one's, so that nothing but the answers is as large as the catalogue.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from lib.features.picture_keys import numbered, slot_of

# A placeholder ("no picture yet") is held by a crowd that names no class. Of Cdiscount's 7,772,910
# distinct pictures 114,209 have more than one class, and most of those two or three: whoever
# copies a picture sells a like thing. Ten classes, and none of half the holders, are no likeness.
PLACEHOLDER_CLASSES = 10  # at least
PLACEHOLDER_SHARE = 0.5  # of the holders in their most frequent class, at most
UNITS = 2.0**24  # in a nat: whole numbers, so that what is taken away leaves no rounding
SMALL = np.array([0] + [int(n * np.log(n) * UNITS + 0.5) for n in range(1, 256)])  # of `_unit`
CLASSES, FOLDS = 2**15, 2**8  # a holder is (picture * CLASSES + class) * FOLDS + fold + FOLDS // 2


@dataclass(frozen=True)
class ClassCountTable:
    """How often each group has each class: the holders of a picture, or those not of one fold.

    start int32 [G + 1]: first entry of each group. Group 0 has none: nobody holds the picture.
    classes int16 [E]: of a group by falling count, then class. counts int32 [E]: products.
    """

    start: np.ndarray
    classes: np.ndarray
    counts: np.ndarray
    class_count: int

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.start, self.classes, self.counts


@njit(cache=True, nogil=True)
def entry_of(classes: np.ndarray, first: int, last: int, cls: int) -> int:
    """Which of a group's entries [first, last) is that of a class; -1 for none. Most have one."""
    for entry in range(first, last):
        if classes[entry] == cls:
            return entry
    return -1


@njit(cache=True, nogil=True)
def fill(
    asked: tuple, known: tuple, held: tuple, answers: tuple, crowd: int, always: bool
) -> tuple[int, int]:
    """Answer for all that is asked; returns how many groups and entries were needed.

    asked: keys uint64 [J, 2], the rows of them that ask [n], their folds int8 [n], and the two
    arrays of `dealt`. known: keys uint64 [I, 2], rows of them by bucket, each bucket's first, the
    product of each key, label int16 and fold int8 of each product.
    held: start, classes and counts of a `ClassCountTable`, long enough. answers: arrays of a
    `ImageLabelCounts` that say "nobody"; own_class is taken back where the own product does not
    count. crowd: holders above which a row's fold is left out; always: for every picture.
    """
    asked_key, asked_rows, fold, asked_places, asked_first = asked
    held[0][:2] = 0
    groups = 1
    for bucket in range(len(asked_first) - 1):
        places = asked_places[asked_first[bucket] : asked_first[bucket + 1]]
        if len(places) == 0:
            continue
        picture, keys, table = numbered(asked_key[asked_rows[places]])
        holders, first = _holders(known, bucket, keys, table)
        crowded = np.diff(first) > crowd
        left_out = np.where((crowded | always)[picture], fold[places], -1)
        before = groups
        groups = _group((places, picture, left_out), holders, first, answers, held, groups)
        _answer(places, crowded[picture], answers, held, _rank(held, before, groups), before)
    return groups, held[0][groups]


@njit(cache=True, nogil=True)
def _holders(
    known: tuple, bucket: int, keys: np.ndarray, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Holders int64 of a bucket's pictures, ascending, and each picture's first: int64 [D + 1]."""
    key, known_rows, known_first, product, label, fold = known
    rows = known_rows[known_first[bucket] : known_first[bucket + 1]]
    words = key[rows]  # at once: reads from memory overlap where nothing hangs on them
    holders = np.empty(len(rows), np.int64)
    found = 0
    for at in range(len(rows)):
        picture = int(table[slot_of(table, keys, words[at, 0], words[at, 1])])
        holder = product[rows[at]]
        holders[found] = (picture * CLASSES + label[holder]) * FOLDS + fold[holder] + FOLDS // 2
        found += picture >= 0
    holders = holders[:found]
    holders.sort()
    return holders, np.searchsorted(holders, np.arange(len(keys) + 1) * (CLASSES * FOLDS))


@njit(cache=True, nogil=True)
def _group(
    asks: tuple, holders: np.ndarray, first: np.ndarray, answers: tuple, held: tuple, groups: int
) -> int:
    """Give each place its group, and each new group its entries; returns how many there are then.

    asks: the places, the picture of each, and the fold that does not count for it (-1: all do).
    """
    places, picture, left_out = asks
    start, classes, counts = held
    group, own_class = answers[0], answers[1]
    group_of = np.full((len(first) - 1, 2 + left_out.max()), -1, np.int32)
    for at in range(len(places)):
        number, fold = picture[at], left_out[at]
        if first[number] == first[number + 1]:
            own_class[places[at]] = -1
            continue
        if fold >= 0:  # a group less a fold has lost the own product
            own_class[places[at]] = -1
        if group_of[number, fold + 1] < 0:
            group_of[number, fold + 1] = groups
            entry, last = start[groups], -1
            for holder in holders[first[number] : first[number + 1]]:
                if fold >= 0 and holder % FOLDS - FOLDS // 2 == fold:
                    continue
                cls = holder // FOLDS % CLASSES
                if cls != last:
                    classes[entry], counts[entry] = cls, 0
                    last = cls
                    entry += 1
                counts[entry - 1] += 1
            groups += 1
            start[groups] = entry
        group[places[at]] = group_of[number, fold + 1]
    return groups


@njit(cache=True, nogil=True)
def _rank(held: tuple, before: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Bring the entries of the groups from `before` on, which are by class, into their order.

    Returns each group's products and the `_unit`s of its entries, added up: int64.
    """
    start, classes, counts = held
    products = np.zeros(groups - before, np.int64)
    units = np.zeros(groups - before, np.int64)
    for number in range(groups - before):
        first = start[before + number]
        for entry in range(first, start[before + number + 1]):
            cls, count = classes[entry], counts[entry]
            products[number] += count
            units[number] += _unit(count)
            while entry > first and counts[entry - 1] < count:
                classes[entry], counts[entry] = classes[entry - 1], counts[entry - 1]
                entry -= 1
            classes[entry], counts[entry] = cls, count
    return products, units


@njit(cache=True, nogil=True)
def _answer(
    places: np.ndarray, crowded: np.ndarray, answers: tuple, held: tuple, ranked: tuple, before: int
) -> None:
    """Fill the answers of a bucket: what is known of each place's group, less the own product."""
    start, held_classes, held_counts = held
    group, own_class, classes, all_total, all_distinct, entropy, placeholder = answers
    products, of_entries = ranked
    k = classes.shape[1]
    for at in range(len(places)):
        place = places[at]
        number, own = group[place] - before, own_class[place]
        first, last = start[group[place]], start[group[place] + 1]
        if first == last:
            continue
        total, distinct, units = products[number], last - first, of_entries[number]
        for rank in range(min(k, last - first)):
            classes[place, rank] = held_classes[first + rank]
        if own >= 0:
            entry = entry_of(held_classes, first, last, own)
            count = held_counts[entry]
            total -= 1
            distinct -= count == 1
            units += _unit(count - 1) - _unit(count)
            rank = entry - first
            while rank < k and first + rank + 1 < last:  # who is now before it in the list?
                next_class, more = held_classes[first + rank + 1], held_counts[first + rank + 1]
                if more < count - 1 or (more == count - 1 and next_class > own):
                    break
                classes[place, rank] = next_class
                rank += 1
            if rank < k:
                classes[place, rank] = own if count > 1 else -1
        if total == 0:
            continue
        all_total[place], all_distinct[place] = total, distinct
        entropy[place] = (_unit(total) - units) / (total * UNITS)
        placeholder[place] = (
            own < 0
            and crowded[at]
            and distinct >= PLACEHOLDER_CLASSES
            and held_counts[first] <= PLACEHOLDER_SHARE * total
        )


@njit(cache=True, nogil=True)
def _unit(count: int) -> int:
    """n log n in units: the entropy of n products is log n less the mean of these."""
    return SMALL[count] if count < len(SMALL) else int(count * np.log(count) * UNITS + 0.5)
