"""Which classes are worth ranking for a product: one row for each (product, class) (C9).

The union, over a product's pictures, of each network's best classes and the classes of the
picture's hash, and if asked for of the classes of the nearest ids. A truth outside the union
stays a miss; no row is added for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lib.catalogue.tables import Catalogue
from lib.errors import UserError
from lib.topk import TopK

CHUNK = 100_000  # products at a time
FALLBACK = 5  # classes of a product that no picture speaks for


@dataclass(frozen=True)
class Queried:
    """Some products and their pictures; a slot is a place in `products`.

    products int64 [Q] ascending rows of the catalogue; images int64 [n] ascending rows of their
    pictures, as in `TopK.image`; start and count int64 [Q]: where in `images` a product's lie.
    """

    products: np.ndarray
    images: np.ndarray
    start: np.ndarray
    count: np.ndarray

    def slot_of_image(self) -> np.ndarray:
        """int64 [n]."""
        return np.repeat(np.arange(len(self.products)), self.count)

    def images_in(self, slots: slice) -> slice:
        """Where in `images` those of some neighbouring slots lie."""
        last = slots.stop - 1
        return slice(int(self.start[slots.start]), int(self.start[last] + self.count[last]))

    def at(self, slot: np.ndarray, position: int) -> np.ndarray:
        """Place in `images` of each slot's picture at a position: int64 [rows], -1 for none."""
        return np.where(position < self.count[slot], self.start[slot] + position, -1)

    def pairs(self, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every row with every picture of its product: (row, place in `images`), both int64."""
        count = self.count[slot]
        row = np.repeat(np.arange(len(slot)), count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        return row, self.start[slot][row] + within


def queried(catalogue: Catalogue, products: np.ndarray) -> Queried:
    """`products`: ascending rows of the catalogue."""
    count = catalogue.image_count[products].astype(np.int64)
    images = catalogue.images_of(products)
    assert len(images) == count.sum(), "image_count disagrees with image_product"
    return Queried(products.astype(np.int64), images, np.cumsum(count) - count, count)


def check_rows(query: Queried, topks: Sequence[TopK], names: Sequence[str]) -> None:
    """Raises UserError unless every dump has exactly the queried pictures."""
    for topk, name in zip(topks, names, strict=True):
        if not np.array_equal(topk.image, query.images):
            raise UserError(
                f"predictions of {name}: their {len(topk.image)} pictures are not the"
                f" {len(query.images)} pictures of the part; run 03_predict_tta.py --rebuild"
            )


def candidates(
    query: Queried,
    image_classes: Sequence[np.ndarray],
    product_classes: Sequence[np.ndarray],
    fallback: np.ndarray,
    class_count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Unique (slot int64 [R], class int16 [R]), ascending by slot, then class.

    image_classes: int16 [n, k] arrays over the pictures; product_classes: int16 [Q, m] arrays over
    the slots; -1 is no class. fallback int16 [Q, f]: classes of the slots that have none otherwise.
    """
    of_image = query.slot_of_image()
    found = []
    for slots in chunks(len(query.products)):
        first, images = slots.start, query.images_in(slots)
        own = np.arange(first, slots.stop)
        keys = [_keys(of_image[images], part[images], class_count) for part in image_classes]
        keys += [_keys(own, part[slots], class_count) for part in product_classes]
        some = np.unique(np.concatenate(keys)) if keys else np.empty(0, np.int64)
        without = np.ones(slots.stop - first, bool)
        without[some // class_count - first] = False
        lost = first + np.flatnonzero(without)
        more = _keys(lost, fallback[lost], class_count)
        found.append(np.union1d(some, more) if len(more) else some)
    combined = np.concatenate(found) if found else np.empty(0, np.int64)
    return combined // class_count, (combined % class_count).astype(np.int16)


def best_listed(
    query: Queried,
    image_classes: Sequence[np.ndarray],
    product_classes: Sequence[np.ndarray],
    slot: np.ndarray,
    cls: np.ndarray,
    cap: int,
    class_count: int,
) -> np.ndarray:
    """Which of the candidates to keep, so that no product has more than `cap`: bool [R].

    By the sum of 1 / place over all lists that name the class, the pictures of a product sharing
    one vote; of equals the smaller class. No booster has a say yet, and a list of no probabilities
    has one like any other. Arguments and rows as in `candidates`.
    """
    of_image = query.slot_of_image()
    bounds = np.searchsorted(slot, np.arange(len(query.products) + 1))
    kept = np.zeros(len(slot), bool)
    for slots in chunks(len(query.products)):
        rows = slice(bounds[slots.start], bounds[slots.stop])
        some, of_class = slot[rows], cls[rows]
        key = some * class_count + of_class
        score = np.zeros(len(key))
        images, own = query.images_in(slots), np.arange(slots.start, slots.stop)
        share = 1 / np.maximum(query.count[of_image[images]], 1)
        lists = [(of_image[images], part[images], share) for part in image_classes]
        lists += [(own, part[slots], np.ones(len(own))) for part in product_classes]
        for of, listed, weight in lists:
            for place in range(listed.shape[1]):
                there = listed[:, place] >= 0
                found = np.searchsorted(key, of[there] * class_count + listed[there, place])
                vote = weight[there] / (1 + place)
                score += np.bincount(found, vote, minlength=len(key))
        order = np.lexsort(
            (of_class, -score.round(9), some)
        )  # sums of thirds differ in the last bit
        first = np.flatnonzero(np.diff(some, prepend=-1))
        place_in_product = np.arange(len(some)) - np.repeat(first, np.diff(first, append=len(some)))
        kept[rows.start + order] = place_in_product < cap
    return kept


def most_frequent(prior: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The FALLBACK most frequent classes seen from each fold [Q] (-1: from all): int16 [Q, f].

    prior: what `priors.global_prior` returns; a fold's own labels do not choose its candidates.
    """
    best = np.argsort(-np.nan_to_num(prior), axis=1, kind="stable")[:, :FALLBACK]
    return best[fold].astype(np.int16)


def chunks(slots: int, size: int = CHUNK) -> Iterator[slice]:
    for first in range(0, slots, size):
        yield slice(first, min(first + size, slots))


def _keys(slot: np.ndarray, classes: np.ndarray, class_count: int) -> np.ndarray:
    """slot * class_count + class of every listed class: int64."""
    keys = slot[:, None] * class_count + classes
    return keys[classes >= 0]
