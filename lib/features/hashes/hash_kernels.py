"""Compiled loops that count, for each queried image, the products of each class that hold it.

One pass over buckets of keys: the images of a bucket are numbered, their holders counted and the
results written before the next bucket starts, so that only the results are as large as the catalog.

An image's holders are the reference products that have it. A holder group is all holders of an
image, or those outside one fold.
"""

from typing import NamedTuple

import numpy as np

from lib.features.hashes.key_kernels import factorize, probe
from lib.utils.compiled import njit

# A placeholder ("no image yet") is held by many products of many classes. Of Cdiscount's 7,772,910
# distinct images 114,209 have more than one class, and most of those two or three: sellers copy
# images of similar products. With ten classes, and none of more than half of the holders, the image
# shows no product.
PLACEHOLDER_MIN_CLASSES = 10
PLACEHOLDER_MAX_SHARE = 0.5  # of the holders in their most frequent class
UNITS = 2.0**24  # in a nat: integers, so that subtracting a product leaves no rounding error
# n log n in units for n < 256, as `_n_log_n` returns it.
SMALL = np.array([0] + [int(n * np.log(n) * UNITS + 0.5) for n in range(1, 256)])
CLASSES, FOLDS = 2**15, 2**8  # a holder is (image * CLASSES + class) * FOLDS + fold + FOLDS // 2


class ClassCountTable(NamedTuple):
    """How many products of each class a holder group has.

    start: int32 [G + 1], first entry of each group. Group 0 is empty: no product holds the image.
    classes: int16 [E], of a group by falling count, then class.
    counts: int32 [E], products of the class.
    """

    start: np.ndarray
    classes: np.ndarray
    counts: np.ndarray


class ImageLabelCounts(NamedTuple):
    """Labels of the reference products that hold each of n queried images (or sets of images).

    group: int32 [n], the holder group in `table`.
    own_class: int16 [n], class of the query's own product, to subtract from the group; -1 for none.
    classes: int16 [n, k], by falling count, then class; -1 if there are fewer than k.
    total: int32 [n], products that hold the image.
    distinct: int32 [n], their classes.
    entropy: float32 [n], of these classes, in nats; 0 for one class, NaN if there is no holder.
    placeholder: bool [n], held by many products of many classes. Never set where a single product
        is left out: at the threshold the flag would reveal that product's label.
    table: class counts of all holder groups.
    """

    group: np.ndarray
    own_class: np.ndarray
    classes: np.ndarray
    total: np.ndarray
    distinct: np.ndarray
    entropy: np.ndarray
    placeholder: np.ndarray
    table: ClassCountTable

    @property
    def unanimous(self) -> np.ndarray:
        """Whether an image has holders, all of one class: bool [n]."""
        return self.distinct == 1

    def count_of(self, image: np.ndarray, class_id: np.ndarray) -> np.ndarray:
        """How many products of a class hold an image: int32 [m].

        image: int64 [m], indices of queried images; class_id: int16 [m].
        """
        return _count_of(self, image, class_id)


class QueriedKeys(NamedTuple):
    """The keys that are looked up.

    key: uint64 [J, 2].
    rows: int [n], rows of `key` that are queried.
    fold: int8 [n], fold of each query's product, -1 for none.
    order: int32 [n] and bounds: int64 [B + 1], indices into `rows` by bucket (`partition`).
    """

    key: np.ndarray
    rows: np.ndarray
    fold: np.ndarray
    order: np.ndarray
    bounds: np.ndarray


class ReferenceKeys(NamedTuple):
    """The keys of the reference products.

    key: uint64 [I, 2].
    rows: int32 [m], rows of `key` that count, by bucket; bounds: int64 [B + 1], of each bucket.
    product: int32 [I], product of each key.
    label: int16 [P] and fold: int8 [P], of each product.
    """

    key: np.ndarray
    rows: np.ndarray
    bounds: np.ndarray
    product: np.ndarray
    label: np.ndarray
    fold: np.ndarray


@njit(cache=True, nogil=True)
def find_class(classes: np.ndarray, first: int, last: int, class_id: int) -> int:
    """The entry of a class among the entries [first, last) of a holder group; -1 if none.

    classes: int16 [E], of a `ClassCountTable`. Most groups have one entry.
    """
    for entry in range(first, last):
        if classes[entry] == class_id:
            return entry
    return -1


@njit(cache=True, nogil=True)
def count_holders(
    queries: QueriedKeys,
    references: ReferenceKeys,
    result: ImageLabelCounts,
    crowd: int,
    always_leave_out: bool,
) -> tuple[int, int]:
    """Fill `result`; returns how many holder groups and entries of its table are used.

    result: as for images without holders, and own_class the label of the query's own product. The
        table must be long enough. own_class becomes -1 where the own product does not count anyway.
    crowd: number of holders above which the query's fold is left out.
    always_leave_out: leave out the query's fold for every image.
    """
    start = result.table.start
    start[:2] = 0
    num_groups = 1
    for bucket in range(len(queries.bounds) - 1):
        indices = queries.order[queries.bounds[bucket] : queries.bounds[bucket + 1]]
        if len(indices) == 0:
            continue
        image, distinct, table = factorize(queries.key[queries.rows[indices]])
        holders, bounds = _holders(references, bucket, distinct, table)
        # By hand: compiling np.diff, np.where and indices by arrays takes 10 s of a first run.
        crowded = bounds[1:] - bounds[:-1] > crowd
        leave_out = np.full(len(indices), -1, np.int8)
        for i in range(len(indices)):
            if always_leave_out or crowded[image[i]]:
                leave_out[i] = queries.fold[indices[i]]
        first_group = num_groups
        num_groups = _make_groups(indices, image, leave_out, holders, bounds, result, num_groups)
        products, units = _sort_entries(result.table, first_group, num_groups)
        _write_results(indices, image, crowded, result, products, units, first_group)
    return num_groups, start[num_groups]


@njit(cache=True, nogil=True)
def _count_of(result: ImageLabelCounts, image: np.ndarray, class_id: np.ndarray) -> np.ndarray:
    start, classes, counts = result.table
    own_class = result.own_class
    count = np.zeros(len(image), np.int32)
    for row in range(len(image)):
        group = result.group[image[row]]
        entry = find_class(classes, start[group], start[group + 1], class_id[row])
        if entry >= 0:
            count[row] = counts[entry] - (own_class[image[row]] == class_id[row])
    return count


@njit(cache=True, nogil=True)
def _holders(
    references: ReferenceKeys, bucket: int, distinct: np.ndarray, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Holders of a bucket's images: int64 [h] ascending, and int64 [D + 1], bounds of each image.

    distinct: uint64 [D, 2] and table: int32, as `factorize` returns them.
    """
    product, label, fold = references.product, references.label, references.fold
    rows = references.rows[references.bounds[bucket] : references.bounds[bucket + 1]]
    keys = references.key[rows]  # at once, so that independent reads from memory overlap
    holders = np.empty(len(rows), np.int64)
    num_holders = 0
    for i in range(len(rows)):
        image = int(table[probe(table, distinct, keys[i, 0], keys[i, 1])])
        holder = product[rows[i]]
        holders[num_holders] = (image * CLASSES + label[holder]) * FOLDS + fold[holder] + FOLDS // 2
        num_holders += image >= 0
    holders = holders[:num_holders]
    holders.sort()
    return holders, np.searchsorted(holders, np.arange(len(distinct) + 1) * (CLASSES * FOLDS))


@njit(cache=True, nogil=True)
def _make_groups(
    indices: np.ndarray,
    image: np.ndarray,
    leave_out: np.ndarray,
    holders: np.ndarray,
    bounds: np.ndarray,
    result: ImageLabelCounts,
    num_groups: int,
) -> int:
    """Give each query of a bucket its holder group; returns how many groups there are then.

    indices: int32 [b], of the queries; image: int32 [b], of each query; leave_out: int8 [b], fold
    of the holders that do not count, -1 if all count. holders, bounds: as `_holders` returns them.
    """
    start, classes, counts = result.table
    group, own_class = result.group, result.own_class
    group_of = np.full((len(bounds) - 1, 2 + leave_out.max()), -1, np.int32)
    for i in range(len(indices)):
        number, fold = image[i], leave_out[i]
        if bounds[number] == bounds[number + 1]:
            own_class[indices[i]] = -1
            continue
        if fold >= 0:  # a group without a fold does not have the own product
            own_class[indices[i]] = -1
        if group_of[number, fold + 1] < 0:
            group_of[number, fold + 1] = num_groups
            entry, last_class = start[num_groups], -1
            for holder in holders[bounds[number] : bounds[number + 1]]:
                if fold >= 0 and holder % FOLDS - FOLDS // 2 == fold:
                    continue
                class_id = holder // FOLDS % CLASSES
                if class_id != last_class:
                    classes[entry], counts[entry] = class_id, 0
                    last_class = class_id
                    entry += 1
                counts[entry - 1] += 1
            num_groups += 1
            start[num_groups] = entry
        group[indices[i]] = group_of[number, fold + 1]
    return num_groups


@njit(cache=True, nogil=True)
def _sort_entries(
    table: ClassCountTable, first_group: int, num_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sort the entries of the groups from `first_group` on, which are by class, by falling count.

    Returns int64 [g], the products of each group, and int64 [g], the sum of `_n_log_n` of its
    entries.
    """
    start, classes, counts = table
    products = np.zeros(num_groups - first_group, np.int64)
    units = np.zeros(num_groups - first_group, np.int64)
    for number in range(num_groups - first_group):
        first = start[first_group + number]
        for entry in range(first, start[first_group + number + 1]):
            class_id, count = classes[entry], counts[entry]
            products[number] += count
            units[number] += _n_log_n(count)
            while entry > first and counts[entry - 1] < count:
                classes[entry], counts[entry] = classes[entry - 1], counts[entry - 1]
                entry -= 1
            classes[entry], counts[entry] = class_id, count
    return products, units


@njit(cache=True, nogil=True)
def _write_results(
    indices: np.ndarray,
    image: np.ndarray,
    crowded: np.ndarray,
    result: ImageLabelCounts,
    products: np.ndarray,
    units: np.ndarray,
    first_group: int,
) -> None:
    """Write the figures of a bucket's queries: those of their groups without the own product.

    indices: int32 [b], of the queries; image: int32 [b], of each query; crowded: bool [D], of each
    image; products, units: as `_sort_entries` returns them for the groups from `first_group` on.
    """
    start, table_classes, table_counts = result.table
    classes, k = result.classes, result.classes.shape[1]
    for i in range(len(indices)):
        query = indices[i]
        group, own_class = result.group[query], result.own_class[query]
        first, last = start[group], start[group + 1]
        if first == last:
            continue
        total, distinct = products[group - first_group], last - first
        entry_units = units[group - first_group]
        for rank in range(min(k, last - first)):
            classes[query, rank] = table_classes[first + rank]
        if own_class >= 0:
            entry = find_class(table_classes, first, last, own_class)
            count = table_counts[entry]
            total -= 1
            distinct -= count == 1
            entry_units += _n_log_n(count - 1) - _n_log_n(count)
            rank = entry - first
            while rank < k and first + rank + 1 < last:  # classes that now come before the own one
                next_class = table_classes[first + rank + 1]
                next_count = table_counts[first + rank + 1]
                if next_count < count - 1 or (next_count == count - 1 and next_class > own_class):
                    break
                classes[query, rank] = next_class
                rank += 1
            if rank < k:
                classes[query, rank] = own_class if count > 1 else -1
        if total == 0:
            continue
        result.total[query], result.distinct[query] = total, distinct
        result.entropy[query] = (_n_log_n(total) - entry_units) / (total * UNITS)
        result.placeholder[query] = (
            own_class < 0
            and crowded[image[i]]
            and distinct >= PLACEHOLDER_MIN_CLASSES
            and table_counts[first] <= PLACEHOLDER_MAX_SHARE * total
        )


@njit(cache=True, nogil=True)
def _n_log_n(count: int) -> int:
    """n log n in units: the entropy of n products is log n minus the mean of these over classes."""
    return SMALL[count] if count < len(SMALL) else int(count * np.log(count) * UNITS + 0.5)
