"""Rules against exact sums of fractions."""

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
from lib.features.hash_kernels import ImageLabelCounts
from lib.features.hash_lookup import ReferenceProducts, lookup_images
from lib.features.query import Query, make_query
from tests.features.toy_catalog import random_catalog, with_labels

CLASSES = 14

few = settings(max_examples=25, deadline=None)  # the loops are slow


def asked(known: Catalog, fold: np.ndarray, hash_k: int = 2) -> tuple[Query, ImageLabelCounts]:
    """With fewer classes listed than there are: the rules add up all of them."""
    query, whole = make_query(known, np.arange(len(known.label))), np.ones(len(fold), bool)
    of_image = fold[query.query_row_of_image()]
    references = ReferenceProducts(known, whole, fold)
    found = lookup_images(references, known, query.images, of_image, hash_k, True)
    return query, found


def counters(query: Query, known: ImageLabelCounts, query_row: int) -> list[Counter]:
    """Class -> products, of each picture of the product that somebody holds."""
    found = []
    for image in range(
        query.image_start[query_row], query.image_start[query_row] + query.image_count[query_row]
    ):
        counts = known.count_of(np.full(CLASSES, image), np.arange(CLASSES)).tolist()
        if sum(counts):
            found.append(Counter(dict(enumerate(counts))))
    return found


def majority(pictures: list[Counter]) -> int | None:
    return first_of(sum((count for count in pictures), Counter()))


def l1(pictures: list[Counter]) -> int | None:
    score: Counter = Counter()
    for count in pictures:
        for class_id, products in count.items():
            score[class_id] += Fraction(products, count.total())
    return first_of(score)


def unanimous(pictures: list[Counter]) -> int | None:
    classes = {class_id for count in pictures for class_id, products in count.items() if products}
    return classes.pop() if len(classes) == 1 else None


def first_of(score: Counter) -> int | None:
    return min(score, key=lambda class_id: (-score[class_id], class_id)) if score else None


@pytest.mark.parametrize(
    ("rule", "exact"), [(by_majority, majority), (by_l1, l1), (by_unanimous, unanimous)]
)
@few
@given(seed=st.integers(0, 2**32 - 1), pictures=st.sampled_from([4, 25, 150]))
def test_equal_to_exact_sums(rule: Callable, exact: Callable, seed: int, pictures: int) -> None:
    rng = np.random.default_rng(seed)
    known = random_catalog(rng, 60, pictures, CLASSES, placeholder=0.1)
    if seed % 2:  # classes that agree, for the unanimous rule
        word = (known.md5[:, 0] % np.uint64(CLASSES)).astype(np.int16)
        label = known.label.copy()
        label[known.image_product] = word
        known = with_labels(known, label)
    query, found = asked(known, rng.integers(-1, 3, 60).astype(np.int8))
    fallback = rng.integers(0, CLASSES, 60).astype(np.int16)
    before = fallback.copy()
    answer = rule(query, found, fallback)
    assert answer.dtype == np.int16
    np.testing.assert_array_equal(fallback, before)
    for query_row in range(60):
        expected = exact(counters(query, found, query_row))
        assert answer[query_row] == (fallback[query_row] if expected is None else expected)


def held_by(*pictures: list[int]) -> tuple[Query, ImageLabelCounts]:
    """Product 0 has these pictures; each is held by one more product of each listed class."""
    label = np.array([0, *(class_id for classes in pictures for class_id in classes)], np.int16)
    product = np.array([0] * len(pictures) + list(range(1, len(label))), np.int32)
    number = [*range(len(pictures)), *(i for i, held in enumerate(pictures) for _ in held)]
    count = np.bincount(product)
    none = np.zeros(len(product), np.int64)
    known = Catalog(
        path=Path("toy.bson"),
        product_id=np.arange(len(label)),
        label=label,
        first_image=np.cumsum(count) - count,
        image_count=count.astype(np.int16),
        image_product=product,
        image_position=none,
        offset=none,
        length=none,
        md5=np.stack([number, number], axis=1).astype(np.uint64),
    )
    return asked(known, np.full(len(label), -1, np.int8))


def answers(query: Query, found: ImageLabelCounts) -> list[int]:
    """Of product 0 by majority, L1 and unanimity; 13: the rule is silent."""
    fallback = np.full(len(query.products), 13, np.int16)
    return [int(rule(query, found, fallback)[0]) for rule in (by_majority, by_l1, by_unanimous)]


def test_a_placeholder_outvotes_by_counts_and_not_by_shares() -> None:
    assert answers(*held_by([3], [1, 2, 4, 5, 6] * 8)) == [1, 3, 13]


def test_all_agree() -> None:
    assert answers(*held_by([3, 3], [], [3])) == [3, 3, 3]


def test_equal_sums_of_shares_go_to_the_smaller_class() -> None:
    """0.1 + 0.2 is more than 0.3 to a computer."""
    one = [9] + [2] * 3 + [1, 3, 4, 5, 6, 7]
    other = [9] * 2 + [1, 3, 4, 5, 6, 7, 8, 10]
    assert answers(*held_by(one, other))[1] == 2


def test_silent_where_nobody_holds_a_picture() -> None:
    rng = np.random.default_rng(1)
    known = random_catalog(rng, 1, 5)
    query, found = asked(known, np.full(1, -1, np.int8))
    for rule in (by_majority, by_l1, by_unanimous):
        assert rule(query, found, np.array([5], np.int16)).tolist() == [5]
