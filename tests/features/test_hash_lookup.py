"""Hash counts against a loop over products, and what they may not see."""

from collections import Counter
from collections.abc import Iterable
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.catalog import Catalog
from lib.errors import UserError
from lib.features import hash_lookup, key_kernels
from lib.features.hash_kernels import ImageLabelCounts
from lib.features.hash_lookup import ReferenceProducts, lookup_image_sets, lookup_images
from tests.features.toy_catalog import random_catalog as toy
from tests.features.toy_catalog import with_labels

untimed = settings(deadline=None)  # the machine may be busy

K = 3
CLASSES = 14  # more than a placeholder needs
FIGURES = ("classes", "total", "distinct", "entropy", "placeholder")


def random_catalog(
    rng: np.random.Generator, products: int, pictures: int, placeholder: float = 0.0
) -> Catalog:
    return toy(rng, products, pictures, CLASSES, placeholder=placeholder)


def ask(
    labelled: Catalog, reference: np.ndarray, fold: np.ndarray, query: Catalog, same: bool
) -> ImageLabelCounts:
    images = np.arange(len(query.image_product))
    query_fold = np.full(len(images), -1, np.int8)
    if same:
        query_fold = fold[query.image_product]
    references = ReferenceProducts(labelled, reference, fold)
    return lookup_images(references, query, images, query_fold, K, same)


def ask_sets(
    labelled: Catalog, reference: np.ndarray, fold: np.ndarray, query: Catalog, same: bool
) -> ImageLabelCounts:
    products = np.arange(len(query.label))
    query_fold = fold if same else np.full(len(products), -1, np.int8)
    references = ReferenceProducts(labelled, reference, fold)
    return lookup_image_sets(references, query, products, query_fold, same)


def figures(found: ImageLabelCounts) -> dict[str, np.ndarray]:
    """All that is said of each row, with the counts of the listed classes."""
    rows = np.arange(len(found.classes))
    counts = [found.count_of(rows, listed) for listed in found.classes.T]
    return {name: getattr(found, name) for name in FIGURES} | {"counts": np.stack(counts, axis=1)}


def assert_equal(
    one: ImageLabelCounts, other: ImageLabelCounts, rows: np.ndarray | slice | int
) -> None:
    """Both say the same of these rows."""
    expected = figures(other)
    for name, figure in figures(one).items():
        np.testing.assert_array_equal(figure[rows], expected[name][rows], err_msg=name)


def by_hand(
    labelled: Catalog,
    reference: np.ndarray,
    fold: np.ndarray,
    holders: Iterable[int],
    own: int | None,
) -> tuple[Counter, bool]:
    """Class -> products among those that hold a picture, and whether it is a placeholder.

    own: the labelled product that asks.
    """
    held = {product for product in holders if reference[product]}
    crowded = len(held) > hash_lookup.CROWD
    fold_left_out = own is not None and crowded and fold[own] >= 0
    if fold_left_out:
        counted = {product for product in held if fold[product] != fold[own]}
    else:
        counted = held - {own}
    counts = Counter(int(labelled.label[product]) for product in counted)
    several = len(counts) >= 10 and max(counts.values()) * 2 <= len(counted)
    honest = own is None or fold_left_out or not reference[own]
    return counts, crowded and several and honest


def assert_says(found: ImageLabelCounts, row: int, counts: Counter, placeholder: bool) -> None:
    k = found.classes.shape[1]
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:k]
    best += [(-1, 0)] * (k - len(best))
    counted = found.count_of(np.full(k, row), found.classes[row])
    assert list(zip(found.classes[row].tolist(), counted.tolist(), strict=True)) == best
    total = sum(counts.values())
    assert found.total[row] == total
    assert found.distinct[row] == len(counts)
    assert found.unanimous[row] == (len(counts) == 1)
    assert found.placeholder[row] == placeholder
    if not counts:
        assert np.isnan(found.entropy[row])
    else:
        entropy = sum(count / total * log(total / count) for count in counts.values())
        assert found.entropy[row] == pytest.approx(entropy, abs=1e-5)
        assert (found.entropy[row] == 0) == (len(counts) == 1)
    looked_up = found.count_of(np.full(CLASSES, row), np.arange(CLASSES))
    assert looked_up.tolist() == [counts[class_id] for class_id in range(CLASSES)]


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 40), st.booleans())
def test_equal_to_a_loop(seed: int, products: int, pictures: int, same: bool) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, products, pictures, placeholder=0.2)
    reference = rng.random(products) < 0.7
    fold = np.where(reference, rng.integers(-1, 3, products), -1).astype(np.int8)
    query = labelled if same else random_catalog(rng, 20, pictures, placeholder=0.2)
    found = ask(labelled, reference, fold, query, same)
    words = [tuple(word) for word in labelled.md5.tolist()]
    for image, asked in enumerate(query.md5.tolist()):
        holders = [
            int(product)
            for product, word in zip(labelled.image_product, words, strict=True)
            if word == tuple(asked)
        ]
        own = int(query.image_product[image]) if same else None
        assert_says(found, image, *by_hand(labelled, reference, fold, holders, own))


def sets_of(known: Catalog) -> list[frozenset]:
    words: list[set] = [set() for _ in known.label]
    for product, word in zip(known.image_product.tolist(), known.md5.tolist(), strict=True):
        words[product].add(tuple(word))
    return [frozenset(some) for some in words]


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.integers(1, 5), st.booleans())
def test_sets_equal_a_loop(seed: int, products: int, pictures: int, same: bool) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, products, pictures, placeholder=0.8)
    reference = rng.random(products) < 0.8
    fold = np.where(reference, rng.integers(-1, 3, products), -1).astype(np.int8)
    query = labelled if same else random_catalog(rng, 20, pictures, placeholder=0.5)
    found = ask_sets(labelled, reference, fold, query, same)
    known = sets_of(labelled)
    for product, asked in enumerate(sets_of(query)):
        holders = [other for other, some in enumerate(known) if some and some == asked]
        own = product if same else None
        assert_says(found, product, *by_hand(labelled, reference, fold, holders, own))


def test_the_toy_reaches_both_sides_of_a_crowd() -> None:
    """Else the comparison above would never see a fold left out."""
    rng = np.random.default_rng(0)
    labelled = random_catalog(rng, 80, 3, placeholder=0.8)
    whole = np.ones(80, bool)
    fold = rng.integers(0, 3, 80).astype(np.int8)
    for found in (
        ask(labelled, whole, fold, labelled, True),
        ask_sets(labelled, whole, fold, labelled, True),
    ):
        assert (found.total > hash_lookup.CROWD).any()
        assert (found.total < hash_lookup.CROWD).any()
        assert found.placeholder.any()
        assert not found.placeholder.all()


@untimed
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 200]))
def test_the_own_label_changes_nothing_of_the_own_rows(seed: int, pictures: int) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, 80, pictures)
    fold = rng.integers(0, 3, 80).astype(np.int8)
    changed = int(rng.integers(80))
    label = labelled.label.copy()
    label[changed] = (label[changed] + 1) % CLASSES
    whole = np.ones(80, bool)
    before = ask(labelled, whole, fold, labelled, same=True)
    other = with_labels(labelled, label)
    after = ask(other, whole, fold, other, same=True)
    own = labelled.image_product == changed
    assert_equal(before, after, own)
    before = ask_sets(labelled, whole, fold, labelled, same=True)
    after = ask_sets(other, whole, fold, other, same=True)
    assert_equal(before, after, changed)


def test_products_of_a_fold_see_the_same_counts_of_a_crowded_picture() -> None:
    """The counts of a placeholder may not differ by the row's own label."""
    products = hash_lookup.CROWD * 4
    rng = np.random.default_rng(3)
    labelled = random_catalog(rng, products, pictures=1)
    fold = (np.arange(products) % 2).astype(np.int8)
    found = ask(labelled, np.ones(products, bool), fold, labelled, same=True)
    for some in (0, 1):
        rows = fold[labelled.image_product] == some
        for figure in figures(found).values():
            assert len(np.unique(figure[rows], axis=0)) == 1
        assert found.placeholder[rows].all()


def test_a_crowd_with_a_class_in_common_is_no_placeholder() -> None:
    rng = np.random.default_rng(3)
    labelled = random_catalog(rng, 100, pictures=1)
    label = labelled.label.copy()
    label[:60] = 5
    labelled = with_labels(labelled, label)
    found = ask(
        labelled, np.ones(100, bool), np.full(100, -1, np.int8), random_catalog(rng, 5, 1), False
    )
    assert (found.distinct >= 10).all()
    assert not found.placeholder.any()


def test_another_key_tells_pictures_apart() -> None:
    """Pairs of pictures with one key are one picture; the MD5s play no part."""
    rng = np.random.default_rng(5)
    labelled, query = random_catalog(rng, 60, 40), random_catalog(rng, 20, 40)
    keys = {
        name: np.stack([known.md5[:, 0], np.zeros(len(known.md5), np.uint64)], axis=1)
        for name, known in (("labelled", labelled), ("query", query))
    }
    whole, fold = np.ones(60, bool), np.full(60, -1, np.int8)
    images, no_fold = np.arange(len(query.md5)), np.full(len(query.md5), -1, np.int8)
    references = ReferenceProducts(labelled, whole, fold)
    keyed_references = ReferenceProducts(labelled, whole, fold, keys["labelled"])
    keyed = lookup_images(keyed_references, query, images, no_fold, K, False, keys["query"])
    plain = lookup_images(references, query, images, no_fold, K, False)
    assert (keyed.total > plain.total).any()
    for image in images.tolist():
        held = labelled.image_product[labelled.md5[:, 0] == query.md5[image, 0]]
        assert keyed.total[image] == len(np.unique(held))
    products, no_fold = np.arange(20), np.full(20, -1, np.int8)
    sets = lookup_image_sets(keyed_references, query, products, no_fold, False, keys["query"])
    plain_sets = lookup_image_sets(references, query, products, no_fold, False)
    assert sets.total.sum() > plain_sets.total.sum()


def test_a_picture_held_twice_counts_once_and_whole_md5_decides() -> None:
    rng = np.random.default_rng(0)
    labelled = random_catalog(rng, 40, pictures=2)
    query = random_catalog(rng, 10, pictures=4)  # 2 and 3 share their second words with 0 and 1
    found = ask(labelled, np.ones(40, bool), np.full(40, -1, np.int8), query, same=False)
    picture = (query.md5[:, 0] - np.uint64(10)) * 2 + query.md5[:, 1] - np.uint64(2**63)
    assert (found.total[picture >= 2] == 0).all()
    assert (found.classes[picture >= 2] == -1).all()
    for wanted in (0, 1):
        held = (labelled.md5[:, 1] - np.uint64(2**63)) == wanted
        products = len(np.unique(labelled.image_product[held]))
        assert (found.total[picture == wanted] == products).all()


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.booleans())
def test_buckets_change_nothing(seed: int, bucket: int, same: bool) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, 60, 30, placeholder=0.3)
    query = labelled if same else random_catalog(rng, 20, 30, placeholder=0.3)
    fold = rng.integers(-1, 3, 60).astype(np.int8)
    images = np.arange(len(query.md5))
    query_fold = fold[query.image_product] if same else np.full(len(images), -1, np.int8)
    # The first words of the toy's keys are small numbers: all would be in the first bucket.
    keys = [known.md5 * key_kernels.ODD for known in (labelled, query)]
    mask, arguments = np.ones(60, bool), (query, images, query_fold, K, same)
    expected = lookup_images(ReferenceProducts(labelled, mask, fold), *arguments)
    references = ReferenceProducts(labelled, mask, fold, keys[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_kernels, "BUCKET_SIZE", bucket)
        assert_equal(lookup_images(references, *arguments, keys[1]), expected, slice(None))


def test_more_pictures_than_can_be_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = random_catalog(np.random.default_rng(0), 40, 9)
    monkeypatch.setattr(hash_lookup, "MAX_COUNT", len(known.md5))
    with pytest.raises(UserError, match=r"toy\.bson.*features\.use_md5 = false"):
        ask(known, np.ones(40, bool), np.full(40, -1, np.int8), known, same=True)
