"""Plan of the sample catalog: ids, labels, and which image is a copy of which, as arrays.

The plan behaves like Cdiscount's catalog: a long tail of classes under three levels; 1-4 images
per product; ids that ascend with gaps; runs of neighboring ids with few classes (one seller's
products); images shared by products, some of them of different classes; placeholder images that
say nothing of the product; wrong labels. Ids of test products lie between those of train products.

It takes about a hundred bytes per product. A slot is the n-th image of a product; `source` says
which slot's image it shows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.config.data import Sample

MAX_RUN_CLASSES = 3  # classes in a run of neighboring ids
STRAY_FRACTION = 0.2  # products of a run that are of any class
PLACEHOLDER_FRACTION = 0.006  # of the images, for each placeholder
NEAREST_PROB = 0.3  # that a copy shows the nearest original of its class, by id
MIN_PLACEHOLDER_SLOTS = 4
MAX_SWAP_ROUNDS = 20


@dataclass(frozen=True)
class SyntheticCatalog:
    """All products of both files, by ascending id, and all image slots, by product.

    Products [P]: ids int64; test bool; label int64, as in the files; appearance int64, the class
    that is drawn, which differs from a wrong label.
    Slots [S]: product int64; position int64; source int64: the slot whose image it shows, itself
    for an original, -1 - n for placeholder n.
    """

    ids: np.ndarray
    test: np.ndarray
    label: np.ndarray
    appearance: np.ndarray
    product: np.ndarray
    position: np.ndarray
    source: np.ndarray


def plan_catalog(settings: Sample, seed: int) -> SyntheticCatalog:
    """Draw everything but the pixels."""
    rng = np.random.default_rng([seed, 0])
    count = settings.train_products + settings.test_products
    ids = np.cumsum(rng.integers(1, 6, count))
    test = np.zeros(count, bool)
    test[rng.choice(count, settings.test_products, replace=False)] = True
    appearance = _classes_by_id(count, settings, rng)
    wrong = rng.random(count) < settings.label_noise
    label = np.where(wrong, _zipf_classes(count, settings, rng), appearance)

    weights = np.array(settings.image_count_weights) / sum(settings.image_count_weights)
    num_images = 1 + rng.choice(len(weights), count, p=weights)
    product = np.repeat(np.arange(count), num_images)
    first_slot = np.cumsum(num_images) - num_images
    position = np.arange(len(product)) - np.repeat(first_slot, num_images)
    source = np.arange(len(product))
    conflicting = _share_in_train(source, product, label, test, settings, rng)
    _share_with_test(source, product, label, test, conflicting, settings, rng)
    return SyntheticCatalog(ids, test, label, appearance, product, position, source)


def measure_plan(plan: SyntheticCatalog) -> dict[str, Any]:
    """The fractions that the plan has, under the names of the settings."""
    in_train = ~plan.test[plan.product]
    source, label = plan.source[in_train], plan.label[plan.product[in_train]]
    images = np.unique(source)
    pairs = np.unique(np.stack([source, label]), axis=1)[0]
    num_labels = np.bincount(np.searchsorted(images, pairs))
    test_product, test_source = plan.product[~in_train], plan.source[~in_train]
    row = np.minimum(np.searchsorted(images, test_source), len(images) - 1)
    in_both = images[row] == test_source
    shared = np.unique(test_product[in_both])
    ambiguous = np.unique(test_product[in_both & (num_labels[row] > 1)])
    num_tests = max(int(plan.test.sum()), 1)
    wrong = plan.label != plan.appearance
    return {
        "train_products": int((~plan.test).sum()),
        "test_products": int(plan.test.sum()),
        "train_images": len(source),
        "duplicate_fraction": round(1 - len(images) / len(source), 4),
        "conflict_fraction": round(float((num_labels > 1).mean()), 4),
        "test_shared_fraction": round(len(shared) / num_tests, 4),
        "test_unambiguous_fraction": round((len(shared) - len(ambiguous)) / num_tests, 4),
        "label_noise": round(float(wrong[~plan.test].mean()), 4),
    }


def _zipf_classes(count: int, settings: Sample, rng: np.random.Generator) -> np.ndarray:
    """int64 [count]: classes drawn by a Zipf law; the ranks of the classes are random."""
    weights = np.arange(1, settings.num_classes + 1) ** -float(settings.zipf_exponent)
    weights = np.random.default_rng(settings.num_classes).permutation(weights)
    return rng.choice(settings.num_classes, count, p=weights / weights.sum())


def _classes_by_id(count: int, settings: Sample, rng: np.random.Generator) -> np.ndarray:
    """int64 [count]: class of each product by ascending id: runs of few classes, with strays."""
    mean_length = settings.run_length
    ends = np.cumsum(rng.geometric(1 / mean_length, 2 * count // mean_length + 100))
    run = np.searchsorted(ends, np.arange(count), side="right")
    run_classes = _zipf_classes((run[-1] + 1) * MAX_RUN_CLASSES, settings, rng)
    run_classes = run_classes.reshape(-1, MAX_RUN_CLASSES)
    of_run = run_classes[run, rng.integers(0, MAX_RUN_CLASSES, count)]
    stray = rng.random(count) < STRAY_FRACTION
    return np.where(stray, _zipf_classes(count, settings, rng), of_run)


def _share_in_train(
    source: np.ndarray,
    product: np.ndarray,
    label: np.ndarray,
    test: np.ndarray,
    settings: Sample,
    rng: np.random.Generator,
) -> np.ndarray:
    """Turn train slots into copies, by changing `source`.

    Returns int64 [n], the originals that products of two labels share.
    """
    slots = rng.permutation(np.flatnonzero(~test[product]))
    slot_label = label[product]
    # One original of each label is kept, so that any copy of that label has one.
    _, first = np.unique(slot_label[slots], return_index=True)
    free = np.delete(slots, first)
    num_copies = min(len(free), round(settings.duplicate_fraction * len(slots)))
    copies = free[:num_copies]
    originals = np.concatenate([slots[first], free[num_copies:]])
    num_placeholders, copies = _place_placeholders(
        source, copies, slot_label, len(slots), settings, rng
    )

    num_images = len(originals) + num_placeholders
    num_conflicts = round(settings.conflict_fraction * num_images) - num_placeholders
    num_conflicts = max(0, min(num_conflicts, len(copies), len(originals)))
    conflicting = _share_across_labels(source, copies[:num_conflicts], originals, slot_label, rng)
    copies = copies[num_conflicts:]
    source[copies] = _nearby_of_same_label(copies, originals, product, slot_label, rng)
    return conflicting


def _place_placeholders(
    source: np.ndarray,
    copies: np.ndarray,
    slot_label: np.ndarray,
    num_slots: int,
    settings: Sample,
    rng: np.random.Generator,
) -> tuple[int, np.ndarray]:
    """Let some of the copies show placeholders; (number of placeholders, the remaining copies)."""
    size = max(MIN_PLACEHOLDER_SLOTS, round(PLACEHOLDER_FRACTION * num_slots))
    count = min(settings.num_placeholders, len(copies) // (4 * size))
    by_turns = _alternate_labels(copies, slot_label)
    for number in range(count):
        source[by_turns[number * size : (number + 1) * size]] = -1 - number
    return count, rng.permutation(by_turns[count * size :])


def _share_across_labels(
    source: np.ndarray,
    copies: np.ndarray,
    originals: np.ndarray,
    slot_label: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Let each copy show an original of another label, mostly; returns these originals."""
    chosen = rng.choice(originals, len(copies), replace=False)
    for _ in range(MAX_SWAP_ROUNDS):
        same = np.flatnonzero(slot_label[chosen] == slot_label[copies])
        if len(same) == 0:
            break
        partners = rng.integers(0, len(copies), len(same))
        for i, j in zip(same, partners, strict=True):
            chosen[[i, j]] = chosen[[j, i]]
    source[copies] = chosen
    return chosen


def _alternate_labels(slots: np.ndarray, slot_label: np.ndarray) -> np.ndarray:
    """The slots, ordered so that labels take turns: any first part has very many labels."""
    by_label = slots[np.argsort(slot_label[slots], kind="stable")]
    labels = slot_label[by_label]
    turn = np.arange(len(labels)) - np.searchsorted(labels, labels)
    return by_label[np.argsort(turn, kind="stable")]


def _nearby_of_same_label(
    copies: np.ndarray,
    originals: np.ndarray,
    product: np.ndarray,
    slot_label: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """An original of the same label for each copy, of a product with a nearby id.

    Variants and offers of one seller share images, so image hashes and ids carry much the same
    information.
    """
    span = 1 + int(product[-1])
    order = originals[np.lexsort((product[originals], slot_label[originals]))]
    start = np.searchsorted(slot_label[order], slot_label[copies])
    size = np.searchsorted(slot_label[order], slot_label[copies], side="right") - start
    keys = slot_label[order] * span + product[order]
    nearest = np.searchsorted(keys, slot_label[copies] * span + product[copies]) - start
    distance = rng.geometric(NEAREST_PROB, len(copies)) * rng.choice([-1, 1], len(copies))
    rank = (nearest + distance) % size
    same_product = product[order[start + rank]] == product[copies]
    rank[same_product] = (rank[same_product] + 1) % size[same_product]  # if there is another
    return order[start + rank]


def _share_with_test(
    source: np.ndarray,
    product: np.ndarray,
    label: np.ndarray,
    test: np.ndarray,
    conflicting: np.ndarray,
    settings: Sample,
    rng: np.random.Generator,
) -> None:
    """Let one image of some test products show an image of the train products, in `source`.

    conflicting: int64 [n], originals that are shared by two labels.
    """
    slot_label = label[product]
    originals = np.flatnonzero(~test[product] & (source >= 0))
    originals = originals[~np.isin(source[originals], conflicting)]
    originals = originals[source[originals] == originals]
    first_slot = np.searchsorted(product, np.flatnonzero(test))
    slots = rng.permutation(first_slot)
    slots = slots[np.isin(slot_label[slots], slot_label[originals])]

    num_unambiguous = round(settings.test_unambiguous_fraction * len(first_slot))
    num_shared = round(settings.test_shared_fraction * len(first_slot))
    unambiguous, ambiguous = slots[:num_unambiguous], slots[num_unambiguous:num_shared]
    source[unambiguous] = _nearby_of_same_label(unambiguous, originals, product, slot_label, rng)

    placeholders = np.unique(source[source < 0])
    count = round(PLACEHOLDER_FRACTION * len(first_slot) * len(placeholders))
    count = min(len(ambiguous), count)
    if count:
        source[ambiguous[:count]] = rng.choice(placeholders, count)
    ambiguous = ambiguous[count:]
    if len(conflicting) and len(ambiguous):
        in_conflict = np.flatnonzero(np.isin(source, conflicting) & ~test[product])
        _show_conflicting(source, ambiguous, conflicting, in_conflict, product, slot_label, rng)


def _show_conflicting(
    source: np.ndarray,
    slots: np.ndarray,
    conflicting: np.ndarray,
    in_conflict: np.ndarray,
    product: np.ndarray,
    slot_label: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Let the slots show images of two labels, one of them the slot's own if there is such.

    in_conflict: int64 [n], train slots that show one of the originals `conflicting`.
    """
    has_own = np.isin(slot_label[slots], slot_label[in_conflict])
    source[slots[~has_own]] = rng.choice(conflicting, int((~has_own).sum()))
    chosen = _nearby_of_same_label(slots[has_own], in_conflict, product, slot_label, rng)
    source[slots[has_own]] = source[chosen]
