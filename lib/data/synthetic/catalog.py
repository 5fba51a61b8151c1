"""A catalogue that draws itself, in Cdiscount's exact BSON: the pipeline's embedded default.

    generate(folder, Sample(train_products=4000), seed=1)

All structure (ids, labels, which picture is a copy of which) is decided with arrays first, about
a hundred bytes a product; then the files are written product by product, and a copied picture is
drawn again from the seed of its original. So memory does not grow with the pictures, and the same
seed gives the same bytes.

What makes it behave like the real one: a long tail of classes under three levels; 1-4 pictures a
product; ids that run on with gaps, where sellers' batches of neighbouring ids hold few classes;
pictures shared between products, a few of them between categories; placeholders that say nothing;
wrong labels. Its test products lie between the train products all along the ids.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import numpy as np
from tqdm import tqdm

from lib.config.schema import Sample
from lib.data.synthetic import images
from lib.errors import UserError

LEAVES_PER_NODE = 4  # of a level-2 node, and level-2 nodes of a level-1 node
BATCH_CLASSES = 3  # classes that a seller's batch holds, at most
STRAYS = 0.2  # products of a batch that are of any class
PLACEHOLDER_SHARE = 0.006  # of the pictures, for each placeholder
NEARNESS = 0.3  # of a copy's original: the chance that it is the very next of its label by id
FIRST_CATEGORY = 1_000_000_000


@dataclass(frozen=True)
class SyntheticCatalog:
    """Every product of both files, by ascending id, and every picture slot, by product.

    Products [P]: ids int64, test bool, label int64 (as filed), looks int64 (the class that is
    drawn; other than the label where the label is wrong), slots int64 (pictures).
    Slots [S]: product int64, position int64, source int64 (the slot whose picture it shows, itself
    where it is an original; -1-n for placeholder n).
    """

    ids: np.ndarray
    test: np.ndarray
    label: np.ndarray
    looks: np.ndarray
    product: np.ndarray
    position: np.ndarray
    source: np.ndarray


def generate(folder: Path, dials: Sample, seed: int) -> dict[str, Any]:
    """Write `train.bson`, `test.bson`, `category_names.csv` and `test_labels.csv` into `folder`.

    Returns the shares that came out, under the names of the dials. Raises UserError for dials
    that cannot be.
    """
    _check(dials)
    made = plan(dials, seed)
    categories = _write_categories(folder / "category_names.csv", dials, seed)
    _write_products(folder, made, categories, dials, seed)
    _write_labels(folder / "test_labels.csv", made, categories)
    return shares(made)


def plan(dials: Sample, seed: int) -> SyntheticCatalog:
    """Decide everything but the pixels."""
    rng = np.random.default_rng([seed, 0])
    count = dials.train_products + dials.test_products
    ids = np.cumsum(rng.integers(1, 6, count))
    test = np.zeros(count, bool)
    test[rng.choice(count, dials.test_products, replace=False)] = True
    looks = _batches(count, dials, rng)
    wrong = rng.random(count) < dials.label_noise
    label = np.where(wrong, _popular(count, dials, rng), looks)

    weights = np.array(dials.image_count_weights) / sum(dials.image_count_weights)
    slots = 1 + rng.choice(len(weights), count, p=weights)
    product = np.repeat(np.arange(count), slots)
    position = np.arange(len(product)) - np.repeat(np.cumsum(slots) - slots, slots)
    source = np.arange(len(product))
    conflicting = _share_in_train(source, product, label, test, dials, rng)
    _share_with_test(source, product, label, test, conflicting, dials, rng)
    return SyntheticCatalog(ids, test, label, looks, product, position, source)


def shares(made: SyntheticCatalog) -> dict[str, Any]:
    """What came out of the dials, counted on the plan."""
    in_train = ~made.test[made.product]
    shown, label = made.source[in_train], made.label[made.product[in_train]]
    pictures = np.unique(shown)
    pairs = np.unique(np.stack([shown, label]), axis=1)[0]
    distinct_labels = np.bincount(np.searchsorted(pictures, pairs))
    asked, held = made.product[~in_train], made.source[~in_train]
    at = np.minimum(np.searchsorted(pictures, held), len(pictures) - 1)
    known = pictures[at] == held
    shared = np.unique(asked[known])
    ambiguous = np.unique(asked[known & (distinct_labels[at] > 1)])
    tests = max(int(made.test.sum()), 1)
    return {
        "train_products": int((~made.test).sum()),
        "test_products": int(made.test.sum()),
        "train_images": len(shown),
        "duplicate_fraction": round(1 - len(pictures) / len(shown), 4),
        "conflict_fraction": round(float((distinct_labels > 1).mean()), 4),
        "test_shared_fraction": round(len(shared) / tests, 4),
        "test_unambiguous_fraction": round((len(shared) - len(ambiguous)) / tests, 4),
        "label_noise": round(float((made.label != made.looks)[~made.test].mean()), 4),
    }


def _check(dials: Sample) -> None:
    for name in (
        "duplicate_fraction",
        "conflict_fraction",
        "test_shared_fraction",
        "test_unambiguous_fraction",
        "label_noise",
    ):
        if not 0 <= getattr(dials, name) < 1:
            raise UserError(f"sample.{name} = {getattr(dials, name)}: a share from 0 to below 1")
    if (
        min(dials.train_products, dials.num_classes, dials.run_length) < 2
        or dials.test_products < 1
    ):
        raise UserError(
            "sample: needs two train products, two classes, a run length of two, a test one"
        )
    if dials.test_unambiguous_fraction > dials.test_shared_fraction:
        raise UserError(
            "sample.test_unambiguous_fraction is a part of sample.test_shared_fraction; lower it"
        )
    if dials.image_size < 16:
        raise UserError(f"sample.image_size = {dials.image_size}: at least 16 pixels")
    if (
        not dials.image_count_weights
        or min(dials.image_count_weights) < 0
        or not sum(dials.image_count_weights)
    ):
        raise UserError("sample.image_count_weights: weights of at least 0, not all of them 0")


def _popular(count: int, dials: Sample, rng: np.random.Generator) -> np.ndarray:
    """Classes of `count` products by a Zipf law; which class is large is a matter of chance."""
    weights = np.arange(1, dials.num_classes + 1) ** -float(dials.zipf_exponent)
    weights = np.random.default_rng(dials.num_classes).permutation(weights)
    return rng.choice(dials.num_classes, count, p=weights / weights.sum())


def _batches(count: int, dials: Sample, rng: np.random.Generator) -> np.ndarray:
    """Class of each product in the order of ids: runs of few classes, with strays."""
    ends = np.cumsum(rng.geometric(1 / dials.run_length, 2 * count // dials.run_length + 100))
    batch = np.searchsorted(ends, np.arange(count), side="right")
    few = _popular((batch[-1] + 1) * BATCH_CLASSES, dials, rng).reshape(-1, BATCH_CLASSES)
    of_batch = few[batch, rng.integers(0, BATCH_CLASSES, count)]
    return np.where(rng.random(count) < STRAYS, _popular(count, dials, rng), of_batch)


def _share_in_train(
    source: np.ndarray,
    product: np.ndarray,
    label: np.ndarray,
    test: np.ndarray,
    dials: Sample,
    rng: np.random.Generator,
) -> np.ndarray:
    """Turn train slots into copies, in place; the originals [n] that two labels share."""
    slots = rng.permutation(np.flatnonzero(~test[product]))
    label_of = label[product]
    # One original of each label stays whatever is drawn, so that copies of it find one.
    _, first = np.unique(label_of[slots], return_index=True)
    free = np.delete(slots, first)
    wanted = min(len(free), round(dials.duplicate_fraction * len(slots)))
    copies, originals = free[:wanted], np.concatenate([slots[first], free[wanted:]])

    held = max(4, round(PLACEHOLDER_SHARE * len(slots)))
    blank = min(dials.num_placeholders, len(copies) // (4 * held))
    spread = _round_robin(copies, label_of)
    for number in range(blank):
        source[spread[number * held : (number + 1) * held]] = -1 - number
    copies = rng.permutation(spread[blank * held :])

    quarrels = round(dials.conflict_fraction * (len(originals) + blank)) - blank
    quarrels = max(0, min(quarrels, len(copies), len(originals)))
    shown = rng.choice(originals, quarrels, replace=False)
    for _ in range(20):  # deal anew where both sides happen to have the same label
        same = np.flatnonzero(label_of[shown] == label_of[copies[:quarrels]])
        if len(same) == 0:
            break
        other = rng.integers(0, quarrels, len(same))
        for one, two in zip(same, other, strict=True):
            shown[[one, two]] = shown[[two, one]]
    source[copies[:quarrels]] = shown

    copies = copies[quarrels:]
    source[copies] = _same_label(copies, originals, product, label_of, rng)
    return shown


def _round_robin(slots: np.ndarray, label_of: np.ndarray) -> np.ndarray:
    """The slots so that labels take turns: whatever comes first is of very many classes."""
    by_label = slots[np.argsort(label_of[slots], kind="stable")]
    labels = label_of[by_label]
    turn = np.arange(len(labels)) - np.searchsorted(labels, labels)
    return by_label[np.argsort(turn, kind="stable")]


def _same_label(
    copies: np.ndarray,
    originals: np.ndarray,
    product: np.ndarray,
    label_of: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """An original of the same label for each slot, of a product not far away by id.

    Variants and offers of one seller share their pictures, so hashes and ids tell much the same.
    """
    span = 1 + int(product[-1])
    order = originals[np.lexsort((product[originals], label_of[originals]))]
    start = np.searchsorted(label_of[order], label_of[copies])
    size = np.searchsorted(label_of[order], label_of[copies], side="right") - start
    keys = label_of[order] * span + product[order]
    nearest = np.searchsorted(keys, label_of[copies] * span + product[copies]) - start
    away = rng.geometric(NEARNESS, len(copies)) * rng.choice([-1, 1], len(copies))
    place = (nearest + away) % size
    own = product[order[start + place]] == product[copies]
    place[own] = (place[own] + 1) % size[own]  # of another product, where there is one
    return order[start + place]


def _share_with_test(
    source: np.ndarray,
    product: np.ndarray,
    label: np.ndarray,
    test: np.ndarray,
    conflicting: np.ndarray,
    dials: Sample,
    rng: np.random.Generator,
) -> None:
    """Let one picture of some test products show what a train product shows, in place."""
    label_of = label[product]
    in_train = np.flatnonzero(~test[product] & (source >= 0))
    clean = in_train[~np.isin(source[in_train], conflicting)]
    clean = clean[source[clean] == clean]
    first_slot = np.searchsorted(product, np.flatnonzero(test))
    slots = rng.permutation(first_slot)
    slots = slots[np.isin(label_of[slots], label_of[clean])]

    plain = round(dials.test_unambiguous_fraction * len(first_slot))
    odd = round(dials.test_shared_fraction * len(first_slot)) - plain
    alike, unlike = slots[:plain], slots[plain : plain + odd]
    source[alike] = _same_label(alike, clean, product, label_of, rng)

    blanks = np.unique(source[source < 0])
    held = min(len(unlike), round(PLACEHOLDER_SHARE * len(first_slot) * len(blanks)))
    if held:
        source[unlike[:held]] = rng.choice(blanks, held)
    unlike = unlike[held:]
    if len(conflicting) == 0 or len(unlike) == 0:
        return
    # Of the pictures with two labels, one that has the product's own where there is one.
    quarrels = np.flatnonzero(np.isin(source, conflicting) & ~test[product])
    fitting = np.isin(label_of[unlike], label_of[quarrels])
    source[unlike[~fitting]] = rng.choice(conflicting, int((~fitting).sum()))
    chosen = _same_label(unlike[fitting], quarrels, product, label_of, rng)
    source[unlike[fitting]] = source[chosen]


def _write_categories(path: Path, dials: Sample, seed: int) -> np.ndarray:
    """category_id int64 [classes], ascending; writes the table of the three levels."""
    rng = np.random.default_rng([seed, 9])
    numbers = rng.choice(max(30_000, 2 * dials.num_classes), dials.num_classes, replace=False)
    categories = FIRST_CATEGORY + np.sort(numbers)
    family = np.arange(dials.num_classes) // LEAVES_PER_NODE
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["category_id", *(f"category_level{i}" for i in (1, 2, 3))])
        for leaf, category in enumerate(categories.tolist()):
            top = family[leaf] // LEAVES_PER_NODE
            names = [f"DEPARTMENT {top + 1}", f"FAMILY {family[leaf] + 1}", f"LEAF {leaf + 1}"]
            rows.writerow([category, *names])
    return categories


def _write_products(
    folder: Path, made: SyntheticCatalog, categories: np.ndarray, dials: Sample, seed: int
) -> None:
    family = np.arange(dials.num_classes) // LEAVES_PER_NODE
    recipes = images.recipes(family // LEAVES_PER_NODE, family, seed)
    bounds = np.searchsorted(made.product, np.arange(len(made.ids) + 1))
    order = np.random.default_rng([seed, 8]).permutation(len(made.ids))  # files are not sorted
    with (
        (folder / "train.bson").open("wb") as train,
        (folder / "test.bson").open("wb") as test,
        tqdm(total=len(order), unit=" products", desc="drawing", disable=None) as bar,
    ):
        for product in order.tolist():
            slots = range(bounds[product], bounds[product + 1])
            pictures = [_picture(made, slot, recipes, dials, seed) for slot in slots]
            record: dict[str, Any] = {
                "_id": int(made.ids[product]),
                "imgs": [{"picture": picture} for picture in pictures],
            }
            if not made.test[product]:
                record["category_id"] = int(categories[made.label[product]])
            (test if made.test[product] else train).write(bson.encode(record))
            bar.update()


def _picture(
    made: SyntheticCatalog,
    slot: int,
    recipes: Sequence[images.Appearance],
    dials: Sample,
    seed: int,
) -> bytes:
    source = int(made.source[slot])
    if source < 0:
        return images.encode(images.draw_placeholder(-1 - source, dials.image_size))
    product = int(made.product[source])
    picture = images.draw(
        recipes[made.looks[product]],
        np.random.default_rng([seed, 4, product]),
        np.random.default_rng([seed, 5, source]),
        int(made.position[source]),
        dials.image_size,
        dials.difficulty,
    )
    return images.encode(picture)


def _write_labels(path: Path, made: SyntheticCatalog, categories: np.ndarray) -> None:
    """The truth of the test products, which no stage reads."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["_id", "category_id"])
        tests = np.flatnonzero(made.test)
        known = categories[made.label[tests]].tolist()
        rows.writerows(zip(made.ids[tests].tolist(), known, strict=True))
