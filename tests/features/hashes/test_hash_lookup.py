"""Label counts of images against a loop over products, and labels that they may not see."""

from collections import Counter
from collections.abc import Iterable
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.catalog import Catalog
from lib.errors import UserError
from lib.features.hashes import hash_lookup, key_kernels
from lib.features.hashes.hash_kernels import ImageLabelCounts
from lib.features.hashes.hash_lookup import ReferenceProducts, lookup_image_sets, lookup_images
from tests.features.toy_catalog import random_catalog as small_catalog
from tests.features.toy_catalog import with_labels

untimed = settings(deadline=None)  # the machine may be busy

K = 3
CLASSES = 14  # more than a placeholder needs
FIELDS = ("classes", "total", "distinct", "entropy", "placeholder")


def random_catalog(
    rng: np.random.Generator, products: int, num_images: int, placeholder: float = 0.0
) -> Catalog:
    return small_catalog(rng, products, num_images, CLASSES, placeholder=placeholder)


def count_images(
    labelled: Catalog, reference: np.ndarray, fold: np.ndarray, query: Catalog, same: bool
) -> ImageLabelCounts:
    images = np.arange(len(query.image_product))
    query_fold = np.full(len(images), -1, np.int8)
    if same:
        query_fold = fold[query.image_product]
    references = ReferenceProducts(labelled, reference, fold)
    return lookup_images(references, query, images, query_fold, K, same)


def count_sets(
    labelled: Catalog, reference: np.ndarray, fold: np.ndarray, query: Catalog, same: bool
) -> ImageLabelCounts:
    products = np.arange(len(query.label))
    query_fold = fold if same else np.full(len(products), -1, np.int8)
    references = ReferenceProducts(labelled, reference, fold)
    return lookup_image_sets(references, query, products, query_fold, same)


def fields_of(result: ImageLabelCounts) -> dict[str, np.ndarray]:
    """All results of each row, with the counts of the listed classes."""
    rows = np.arange(len(result.classes))
    counts = [result.count_of(rows, listed) for listed in result.classes.T]
    return {name: getattr(result, name) for name in FIELDS} | {"counts": np.stack(counts, axis=1)}


def assert_equal(
    one: ImageLabelCounts, other: ImageLabelCounts, rows: np.ndarray | slice | int
) -> None:
    """Both have equal results in these rows."""
    expected = fields_of(other)
    for name, figure in fields_of(one).items():
        np.testing.assert_array_equal(figure[rows], expected[name][rows], err_msg=name)


def expected_counts(
    labelled: Catalog,
    reference: np.ndarray,
    fold: np.ndarray,
    holders: Iterable[int],
    own: int | None,
) -> tuple[Counter, bool]:
    """Class -> products among those that hold an image, and whether it is a placeholder.

    own: the labelled product that asks.
    """
    holder_set = {product for product in holders if reference[product]}
    crowded = len(holder_set) > hash_lookup.CROWD
    fold_left_out = own is not None and crowded and fold[own] >= 0
    if fold_left_out:
        counted = {product for product in holder_set if fold[product] != fold[own]}
    else:
        counted = holder_set - {own}
    counts = Counter(int(labelled.label[product]) for product in counted)
    several = len(counts) >= 10 and max(counts.values()) * 2 <= len(counted)
    honest = own is None or fold_left_out or not reference[own]
    return counts, crowded and several and honest


def assert_counts(result: ImageLabelCounts, row: int, counts: Counter, placeholder: bool) -> None:
    k = result.classes.shape[1]
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:k]
    best += [(-1, 0)] * (k - len(best))
    counted = result.count_of(np.full(k, row), result.classes[row])
    assert list(zip(result.classes[row].tolist(), counted.tolist(), strict=True)) == best
    total = sum(counts.values())
    assert result.total[row] == total
    assert result.distinct[row] == len(counts)
    assert result.unanimous[row] == (len(counts) == 1)
    assert result.placeholder[row] == placeholder
    if not counts:
        assert np.isnan(result.entropy[row])
    else:
        entropy = sum(count / total * log(total / count) for count in counts.values())
        assert result.entropy[row] == pytest.approx(entropy, abs=1e-5)
        assert (result.entropy[row] == 0) == (len(counts) == 1)
    looked_up = result.count_of(np.full(CLASSES, row), np.arange(CLASSES))
    assert looked_up.tolist() == [counts[class_id] for class_id in range(CLASSES)]


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 40), st.booleans())
def test_counts_of_images_equal_a_loop(
    seed: int, products: int, num_images: int, same: bool
) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, products, num_images, placeholder=0.2)
    reference = rng.random(products) < 0.7
    fold = np.where(reference, rng.integers(-1, 3, products), -1).astype(np.int8)
    query = labelled if same else random_catalog(rng, 20, num_images, placeholder=0.2)
    result = count_images(labelled, reference, fold, query, same)
    md5s = [tuple(word) for word in labelled.md5.tolist()]
    for image, queried_md5 in enumerate(query.md5.tolist()):
        holders = [
            int(product)
            for product, word in zip(labelled.image_product, md5s, strict=True)
            if word == tuple(queried_md5)
        ]
        own = int(query.image_product[image]) if same else None
        assert_counts(result, image, *expected_counts(labelled, reference, fold, holders, own))


def sets_of(catalog: Catalog) -> list[frozenset]:
    md5s: list[set] = [set() for _ in catalog.label]
    for product, word in zip(catalog.image_product.tolist(), catalog.md5.tolist(), strict=True):
        md5s[product].add(tuple(word))
    return [frozenset(some) for some in md5s]


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.integers(1, 5), st.booleans())
def test_counts_of_sets_equal_a_loop(seed: int, products: int, num_images: int, same: bool) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, products, num_images, placeholder=0.8)
    reference = rng.random(products) < 0.8
    fold = np.where(reference, rng.integers(-1, 3, products), -1).astype(np.int8)
    query = labelled if same else random_catalog(rng, 20, num_images, placeholder=0.5)
    result = count_sets(labelled, reference, fold, query, same)
    sets = sets_of(labelled)
    for product, queried_md5 in enumerate(sets_of(query)):
        holders = [other for other, some in enumerate(sets) if some and some == queried_md5]
        own = product if same else None
        assert_counts(result, product, *expected_counts(labelled, reference, fold, holders, own))


def test_the_cases_have_images_with_few_and_with_many_holders() -> None:
    """Else the comparison above would never see a fold left out."""
    rng = np.random.default_rng(0)
    labelled = random_catalog(rng, 80, 3, placeholder=0.8)
    whole = np.ones(80, bool)
    fold = rng.integers(0, 3, 80).astype(np.int8)
    for result in (
        count_images(labelled, whole, fold, labelled, True),
        count_sets(labelled, whole, fold, labelled, True),
    ):
        assert (result.total > hash_lookup.CROWD).any()
        assert (result.total < hash_lookup.CROWD).any()
        assert result.placeholder.any()
        assert not result.placeholder.all()


@untimed
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 200]))
def test_a_products_label_does_not_change_its_own_counts(seed: int, num_images: int) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, 80, num_images)
    fold = rng.integers(0, 3, 80).astype(np.int8)
    changed = int(rng.integers(80))
    label = labelled.label.copy()
    label[changed] = (label[changed] + 1) % CLASSES
    whole = np.ones(80, bool)
    before = count_images(labelled, whole, fold, labelled, same=True)
    other = with_labels(labelled, label)
    after = count_images(other, whole, fold, other, same=True)
    own = labelled.image_product == changed
    assert_equal(before, after, own)
    before = count_sets(labelled, whole, fold, labelled, same=True)
    after = count_sets(other, whole, fold, other, same=True)
    assert_equal(before, after, changed)


def test_products_of_a_fold_see_equal_counts_of_an_image_with_many_holders() -> None:
    """The counts of a placeholder may not differ by the row's own label."""
    products = hash_lookup.CROWD * 4
    rng = np.random.default_rng(3)
    labelled = random_catalog(rng, products, num_images=1)
    fold = (np.arange(products) % 2).astype(np.int8)
    result = count_images(labelled, np.ones(products, bool), fold, labelled, same=True)
    for some in (0, 1):
        rows = fold[labelled.image_product] == some
        for figure in fields_of(result).values():
            assert len(np.unique(figure[rows], axis=0)) == 1
        assert result.placeholder[rows].all()


def test_an_image_whose_many_holders_share_a_class_is_no_placeholder() -> None:
    rng = np.random.default_rng(3)
    labelled = random_catalog(rng, 100, num_images=1)
    label = labelled.label.copy()
    label[:60] = 5
    labelled = with_labels(labelled, label)
    result = count_images(
        labelled, np.ones(100, bool), np.full(100, -1, np.int8), random_catalog(rng, 5, 1), False
    )
    assert (result.distinct >= 10).all()
    assert not result.placeholder.any()


def test_another_key_replaces_the_md5() -> None:
    """Images with equal keys count as one image, whatever their MD5s."""
    rng = np.random.default_rng(5)
    labelled, query = random_catalog(rng, 60, 40), random_catalog(rng, 20, 40)
    keys = {
        name: np.stack([catalog.md5[:, 0], np.zeros(len(catalog.md5), np.uint64)], axis=1)
        for name, catalog in (("labelled", labelled), ("query", query))
    }
    whole, fold = np.ones(60, bool), np.full(60, -1, np.int8)
    images, no_fold = np.arange(len(query.md5)), np.full(len(query.md5), -1, np.int8)
    references = ReferenceProducts(labelled, whole, fold)
    keyed_references = ReferenceProducts(labelled, whole, fold, keys["labelled"])
    keyed = lookup_images(keyed_references, query, images, no_fold, K, False, keys["query"])
    plain = lookup_images(references, query, images, no_fold, K, False)
    assert (keyed.total > plain.total).any()
    for image in images.tolist():
        holder_set = labelled.image_product[labelled.md5[:, 0] == query.md5[image, 0]]
        assert keyed.total[image] == len(np.unique(holder_set))
    products, no_fold = np.arange(20), np.full(20, -1, np.int8)
    sets = lookup_image_sets(keyed_references, query, products, no_fold, False, keys["query"])
    plain_sets = lookup_image_sets(references, query, products, no_fold, False)
    assert sets.total.sum() > plain_sets.total.sum()


def test_an_image_held_twice_counts_once_and_the_whole_md5_is_compared() -> None:
    rng = np.random.default_rng(0)
    labelled = random_catalog(rng, 40, num_images=2)
    query = random_catalog(rng, 10, num_images=4)  # 2 and 3 share their second words with 0 and 1
    result = count_images(labelled, np.ones(40, bool), np.full(40, -1, np.int8), query, same=False)
    image_id = (query.md5[:, 0] - np.uint64(10)) * 2 + query.md5[:, 1] - np.uint64(2**63)
    assert (result.total[image_id >= 2] == 0).all()
    assert (result.classes[image_id >= 2] == -1).all()
    for image_of_both in (0, 1):
        holder_set = (labelled.md5[:, 1] - np.uint64(2**63)) == image_of_both
        products = len(np.unique(labelled.image_product[holder_set]))
        assert (result.total[image_id == image_of_both] == products).all()


@untimed
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.booleans())
def test_bucket_sizes_do_not_change_the_counts(seed: int, bucket: int, same: bool) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, 60, 30, placeholder=0.3)
    query = labelled if same else random_catalog(rng, 20, 30, placeholder=0.3)
    fold = rng.integers(-1, 3, 60).astype(np.int8)
    images = np.arange(len(query.md5))
    query_fold = fold[query.image_product] if same else np.full(len(images), -1, np.int8)
    # The first words of the random keys are small: all would be in the first bucket.
    keys = [catalog.md5 * key_kernels.ODD for catalog in (labelled, query)]
    mask, arguments = np.ones(60, bool), (query, images, query_fold, K, same)
    expected = lookup_images(ReferenceProducts(labelled, mask, fold), *arguments)
    references = ReferenceProducts(labelled, mask, fold, keys[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_kernels, "BUCKET_SIZE", bucket)
        assert_equal(lookup_images(references, *arguments, keys[1]), expected, slice(None))


def test_more_images_than_int32_can_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = random_catalog(np.random.default_rng(0), 40, 9)
    monkeypatch.setattr(hash_lookup, "MAX_COUNT", len(catalog.md5))
    with pytest.raises(UserError, match=r"toy\.bson.*features\.use_md5 = false"):
        count_images(catalog, np.ones(40, bool), np.full(40, -1, np.int8), catalog, same=True)
