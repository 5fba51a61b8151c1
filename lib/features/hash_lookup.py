"""Labels of other products that hold the very same picture, or the same set of them (C7).

37 % of Cdiscount's train images are copies of another, so the MD5 of a picture often names its
class. A picture may belong to several products and several categories; a product that holds it
twice counts once. A product never counts for itself.

Leaving out the own product alone is not enough for a picture that a crowd holds. Every product
with the same placeholder would see the same counts but for its own label (79,639 against
79,640), and a tree reads the label from the difference. For such pictures the whole fold of the
product is left out, so that all products of a fold see the same numbers. Where the catalogue has
groups (colours of one style, say), whose labels agree, the fold is left out for every picture.

Any key may stand for the MD5 (`lib/data/perceptual_hash.py` has one of what a picture looks like).
A
product's whole set of pictures is looked up as if it were one picture more.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from lib.data.catalog import Catalog
from lib.errors import UserError
from lib.features.hash_kernels import ClassCountTable, entry_of, fill
from lib.features.picture_keys import bucket_bits, dealt, first_shown, set_keys, sieved

CROWD = 20  # products that hold a picture, above which a row's fold does not count for it
MOST = 2**31  # pictures, and entries of `ClassCountTable`, that int32 can number


@dataclass(frozen=True)
class ImageLabelCounts:
    """What the labelled products say about n queried images (or sets); arrays share the row.

    classes int16 [n, k]: by falling count, then class; -1 where there are fewer than k.
    total int32 [n]: products that hold the picture. distinct int32 [n]: their classes.
    entropy float32 [n]: of these classes, in nats; 0 for one class, NaN if nobody holds it.
    placeholder bool [n]: held by a crowd that names no class. Never set where a single product is
    left out: at the threshold the flag would tell that product's label.
    group int32 [n] and own_class int16 [n] (-1: no own label to take away) serve `count`.
    """

    group: np.ndarray
    own_class: np.ndarray
    classes: np.ndarray
    total: np.ndarray
    distinct: np.ndarray
    entropy: np.ndarray
    placeholder: np.ndarray
    holdings: ClassCountTable

    @property
    def unanimous(self) -> np.ndarray:
        """bool [n]: somebody holds the picture, and all who do are of one class."""
        return self.distinct == 1

    def count(self, image: np.ndarray, cls: np.ndarray) -> np.ndarray:
        """Products of class `cls` [m] that hold queried image `image` [m]: int32 [m]."""
        held = self.holdings
        return _counted(held.arrays, self.group, self.own_class, image, cls)


@njit(cache=True, nogil=True)
def _counted(
    held: tuple, group: np.ndarray, own_class: np.ndarray, image: np.ndarray, cls: np.ndarray
) -> np.ndarray:
    start, classes, counts = held
    found = np.zeros(len(image), np.int32)
    for row in range(len(image)):
        first = group[image[row]]
        entry = entry_of(classes, start[first], start[first + 1], cls[row])
        if entry >= 0:
            found[row] = counts[entry] - (own_class[image[row]] == cls[row])
    return found


def look_up(
    labelled: Catalog,
    reference: np.ndarray,
    reference_fold: np.ndarray,
    query: Catalog,
    images: np.ndarray,
    query_fold: np.ndarray,
    same: bool,
    hash_k: int,
    class_count: int,
    labelled_key: np.ndarray | None = None,
    query_key: np.ndarray | None = None,
) -> ImageLabelCounts:
    """Look up rows `images` int64 [n] of `query` among the reference products of `labelled`.

    reference bool [P]: products whose labels may count. reference_fold int8 [P]: their fold where
    it is a fold of the queried part, else -1. query_fold int8 [n]: fold of each image's product.
    same: `query` is the labelled catalogue itself, so rows leave out their own product.
    labelled_key and query_key uint64 [I, 2]: what tells pictures apart; None: their MD5s.
    """
    key = labelled.md5 if labelled_key is None else labelled_key
    other = query.md5 if query_key is None else query_key
    holder = labelled.image_product
    counts = first_shown(key, holder)
    counts &= reference[holder]
    owner = query.image_product[images] if same else None
    return _labels(
        labelled,
        reference,
        reference_fold,
        (key, counts, holder),
        (key if same else other, images, owner, query_fold),
        hash_k,
        class_count,
    )


def look_up_sets(
    labelled: Catalog,
    reference: np.ndarray,
    reference_fold: np.ndarray,
    query: Catalog,
    products: np.ndarray,
    query_fold: np.ndarray,
    same: bool,
    class_count: int,
    labelled_key: np.ndarray | None = None,
    query_key: np.ndarray | None = None,
) -> ImageLabelCounts:
    """Look up the whole sets of pictures of `products` int64 [n], rows of `query`.

    query_fold int8 [n]; the others as in `look_up`. The "images" of the result are the sets: row i
    says which other products have exactly the pictures of products[i], however often and in
    whatever order; none where it has no pictures. Of the classes the first is listed.
    """
    known = _sets(labelled, labelled_key)
    counts = reference & (labelled.image_count > 0)
    asked = known if same else _sets(query, query_key)
    return _labels(
        labelled,
        reference,
        reference_fold,
        (known, counts, np.arange(len(known), dtype=np.int32)),
        (asked, products, products if same else None, query_fold),
        1,
        class_count,
    )


def _sets(catalogue: Catalog, key: np.ndarray | None) -> np.ndarray:
    key = catalogue.md5 if key is None else key
    return set_keys(key, catalogue.image_product, len(catalogue.image_count))


def _labels(
    labelled: Catalog,
    reference: np.ndarray,
    reference_fold: np.ndarray,
    known: tuple[np.ndarray, np.ndarray, np.ndarray],
    asked: tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray],
    hash_k: int,
    class_count: int,
) -> ImageLabelCounts:
    """known: keys uint64 [I, 2], which of them count, bool [I], and their products [I].

    asked: keys uint64 [J, 2], the rows of them that ask [n], the labelled products that these
    belong to (None: others), and their folds. Raises UserError for more than int32 can number.
    """
    key, counts, holder = known
    other, rows, owner, query_fold = asked
    n, bits = len(rows), bucket_bits(len(rows))
    groups = 2 + int(query_fold.max(initial=-1))  # of a picture: whole, and less each fold
    if max(n, len(key) * groups) >= MOST:
        raise UserError(
            f"{labelled.path}: {len(key)} pictures are too many to look up who else holds them;"
            " set features.use_md5 = false, features.use_phash = false"
        )
    found = sieved(key, counts, other, rows)
    places, first = dealt(key, found, bits)
    found = found[places]
    del places
    own_class = np.full(n, -1, np.int16)
    if owner is not None:
        own_class = np.where(reference[owner], labelled.label[owner], own_class)
    # As many entries as there could be: what is never written takes no memory.
    most = len(found) * groups
    held = np.empty(n + 2, np.int32), np.empty(most, np.int16), np.empty(most, np.int32)
    answers = (
        np.zeros(n, np.int32),
        own_class,
        np.full((n, hash_k), -1, np.int16),
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
        np.full(n, np.nan, np.float32),
        np.zeros(n, bool),
    )
    groups, entries = fill(
        (other, rows, query_fold, *dealt(other, rows, bits)),
        (key, found, first, holder, labelled.label, reference_fold),
        held,
        answers,
        CROWD,
        labelled.group is not None,
    )
    start, classes, counts = held
    holdings = ClassCountTable(
        start[: groups + 1], classes[:entries], counts[:entries], class_count
    )
    return ImageLabelCounts(*answers, holdings)
