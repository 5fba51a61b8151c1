"""Hash rules against exact sums of fractions."""

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.catalog import Catalog
from lib.evaluation.hash_rules import by_l1, by_majority, by_unanimous
from lib.features.hashes.hash_kernels import ImageLabelCounts
from lib.features.hashes.hash_lookup import ReferenceProducts, lookup_images
from lib.features.query import Query, make_query
from tests.features.toy_catalog import random_catalog, with_labels

CLASSES = 14
FALLBACK = 13

few = settings(max_examples=25, deadline=None)  # the loops are slow


def lookup_all(
    catalog: Catalog, fold: np.ndarray, hash_k: int = 2
) -> tuple[Query, ImageLabelCounts]:
    """Look up all images with fewer classes listed than there are: the rules sum all of them."""
    query, mask = make_query(catalog, np.arange(len(catalog.label))), np.ones(len(fold), bool)
    references = ReferenceProducts(catalog, mask, fold)
    image_fold = fold[query.query_row_of_image()]
    return query, lookup_images(references, catalog, query.images, image_fold, hash_k, True)


def counts_by_image(query: Query, counts: ImageLabelCounts, query_row: int) -> list[Counter]:
    """Class -> products, for each image of the product that has holders."""
    first = query.image_start[query_row]
    images = range(first, first + query.image_count[query_row])
    by_image = [counts.count_of(np.full(CLASSES, image), np.arange(CLASSES)) for image in images]
    return [Counter(dict(enumerate(some.tolist()))) for some in by_image if some.sum()]


def exact_majority(images: list[Counter]) -> int | None:
    return first_of(sum(images, Counter()))


def exact_l1(images: list[Counter]) -> int | None:
    score: dict[int, Fraction] = {}
    for counts in images:
        for class_id, count in counts.items():
            score[class_id] = score.get(class_id, Fraction(0)) + Fraction(count, counts.total())
    return first_of(score)


def exact_unanimous(images: list[Counter]) -> int | None:
    classes = {class_id for counts in images for class_id, count in counts.items() if count}
    return classes.pop() if len(classes) == 1 else None


def first_of(score: dict) -> int | None:
    """The smallest class with the highest score; None if there is none."""
    return min(score, key=lambda class_id: (-score[class_id], class_id)) if score else None


@pytest.mark.parametrize(
    ("rule", "exact"),
    [(by_majority, exact_majority), (by_l1, exact_l1), (by_unanimous, exact_unanimous)],
)
@few
@given(seed=st.integers(0, 2**32 - 1), num_images=st.sampled_from([4, 25, 150]))
def test_each_rule_equals_exact_sums(
    rule: Callable, exact: Callable, seed: int, num_images: int
) -> None:
    rng = np.random.default_rng(seed)
    catalog = random_catalog(rng, 60, num_images, CLASSES, placeholder=0.1)
    if seed % 2:  # classes that agree, for the unanimous rule
        label = catalog.label.copy()
        label[catalog.image_product] = catalog.md5[:, 0] % np.uint64(CLASSES)
        catalog = with_labels(catalog, label)
    query, counts = lookup_all(catalog, rng.integers(-1, 3, 60).astype(np.int8))
    fallback = rng.integers(0, CLASSES, 60).astype(np.int16)
    fallback_before = fallback.copy()
    chosen = rule(query, counts, fallback)
    assert chosen.dtype == np.int16
    np.testing.assert_array_equal(fallback, fallback_before)
    for query_row in range(60):
        expected = exact(counts_by_image(query, counts, query_row))
        assert chosen[query_row] == (fallback[query_row] if expected is None else expected)


def catalog_with_holders(*classes_of_image: list[int]) -> Catalog:
    """Product 0 has an image for each list; one more product of each listed class holds it."""
    label = [0, *(class_id for classes in classes_of_image for class_id in classes)]
    num_images = len(classes_of_image)
    product = np.array([0] * num_images + list(range(1, len(label))), np.int32)
    copies = [image for image, classes in enumerate(classes_of_image) for _ in classes]
    image = np.array([*range(num_images), *copies], np.uint64)
    count = np.bincount(product)
    zeros = np.zeros(len(product), np.int64)
    return Catalog(
        path=Path("toy.bson"),
        product_id=np.arange(len(label)),
        label=np.array(label, np.int16),
        first_image=np.cumsum(count) - count,
        image_count=count.astype(np.int16),
        image_product=product,
        image_position=zeros,
        offset=zeros,
        length=zeros,
        md5=np.stack([image, image], axis=1),
    )


def chosen_classes(*classes_of_image: list[int]) -> list[int]:
    """Classes of product 0 by majority, L1 and unanimity."""
    catalog = catalog_with_holders(*classes_of_image)
    query, counts = lookup_all(catalog, np.full(len(catalog.label), -1, np.int8))
    fallback = np.full(len(query.products), FALLBACK, np.int16)
    return [int(rule(query, counts, fallback)[0]) for rule in (by_majority, by_l1, by_unanimous)]


def test_a_placeholder_outvotes_by_counts_and_not_by_shares() -> None:
    assert chosen_classes([3], [1, 2, 4, 5, 6] * 8) == [1, 3, FALLBACK]


def test_all_rules_agree_where_all_holders_do() -> None:
    assert chosen_classes([3, 3], [], [3]) == [3, 3, 3]


def test_equal_sums_of_shares_go_to_the_smaller_class() -> None:
    """0.1 + 0.2 is more than 0.3 in floating point."""
    one = [9] + [2] * 3 + [1, 3, 4, 5, 6, 7]
    other = [9] * 2 + [1, 3, 4, 5, 6, 7, 8, 10]
    assert chosen_classes(one, other)[1] == 2


def test_a_product_without_holders_gets_the_fallback() -> None:
    catalog = random_catalog(np.random.default_rng(1), 1, 5)
    query, counts = lookup_all(catalog, np.full(1, -1, np.int8))
    for rule in (by_majority, by_l1, by_unanimous):
        assert rule(query, counts, np.array([5], np.int16)).tolist() == [5]
