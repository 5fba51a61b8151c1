"""Candidates and their recall against sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features import candidates as module
from lib.features.candidates import (
    Proposals,
    cap_candidates,
    hits_by_source,
    most_frequent_classes,
    recall_by_k,
    unique_candidates,
)
from lib.features.query import make_query
from tests.features.toy_catalog import CLASSES, random_catalog

untimed = settings(deadline=None)  # the machine may be busy

seeds = st.integers(0, 2**32 - 1)


@untimed
@given(seeds, st.integers(0, 25), st.booleans(), st.integers(1, 30))
def test_candidates_equal_the_union_of_sets(
    seed: int, products: int, near: bool, chunk: int
) -> None:
    rng = np.random.default_rng(seed)
    catalog = random_catalog(rng, products, 10, max_images=3)
    query = make_query(catalog, np.flatnonzero(rng.random(products) < 0.7))
    lists = [rng.integers(-1, CLASSES, (len(query.images), k)).astype(np.int16) for k in (3, 2)]
    of_product = rng.integers(-1, CLASSES, (len(query.products), 2)).astype(np.int16)
    fallback = np.tile(np.array([5, 1], np.int16), (len(query.products), 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        query_row, class_id = unique_candidates(
            query, lists, [of_product] if near else [], fallback, CLASSES
        )
    expected = []
    for place, product in enumerate(query.products):
        images = np.flatnonzero(catalog.image_product[query.images] == product)
        some = {int(c) for part in lists for c in part[images].ravel()}
        some |= set(of_product[place].tolist()) if near else set()
        some -= {-1}
        expected += [(place, c) for c in sorted(some or {5, 1})]
    assert list(zip(query_row.tolist(), class_id.tolist(), strict=True)) == expected
    assert class_id.dtype == np.int16


def test_fallback_classes_ignore_the_own_fold() -> None:
    prior = np.array([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    best = most_frequent_classes(prior, np.array([1, 0, -1]))
    assert best[:, 0].tolist() == [0, 1, 2]


@untimed
@given(seeds, st.integers(1, 4))
def test_a_cap_keeps_the_classes_ranked_highest_by_most_lists(seed: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    catalog = random_catalog(rng, 12, 20)
    query = make_query(catalog, np.arange(12))
    lists = [distinct_lists(rng, len(query.images)) for _ in range(2)]
    of_product = distinct_lists(rng, 12)
    fallback = np.zeros((12, 1), np.int16)
    query_row, class_id = unique_candidates(query, lists, [of_product], fallback, CLASSES)
    kept = cap_candidates(query, lists, [of_product], query_row, class_id, cap, CLASSES)
    for place in range(12):
        images = np.flatnonzero(catalog.image_product == place)
        score = dict.fromkeys(class_id[query_row == place].tolist(), 0.0)
        for listed, rows in ((lists[0], images), (lists[1], images), (of_product, [place])):
            for row in rows:
                for rank, one in enumerate(listed[row].tolist()):
                    if one >= 0:
                        score[one] += 1 / (1 + rank) / len(rows)
        best = sorted(score, key=lambda one: (-round(score[one], 9), one))[:cap]
        assert class_id[(query_row == place) & kept].tolist() == sorted(best)


def distinct_lists(rng: np.random.Generator, rows: int) -> np.ndarray:
    """int16 [rows, 3]: distinct classes, some of them -1."""
    listed = np.argsort(rng.random((rows, CLASSES)), axis=1)[:, :3].astype(np.int16)
    listed[rng.random(listed.shape) < 0.2] = -1
    return listed


def random_proposals(seed: int):
    rng = np.random.default_rng(seed)
    catalog = random_catalog(rng, 20, 10)
    query = make_query(catalog, np.flatnonzero(rng.random(20) < 0.8))

    def listed(rows: int, k: int) -> np.ndarray:
        return rng.integers(-1, CLASSES, (rows, k)).astype(np.int16)

    images, products = len(query.images), len(query.products)
    lists = Proposals(
        {"networks": [listed(images, 3), listed(images, 2)], "hash": [listed(images, 2)]},
        {"ids": listed(products, 3)},
    )
    truth = rng.integers(-1, CLASSES, products).astype(np.int16)
    return lists, query, truth


def classes_by_product(lists: Proposals, query, names, k: int) -> list[set[int]]:
    """Classes of each product that the first k of the named sources' lists propose."""
    found: list[set[int]] = [set() for _ in query.products]
    owner = query.query_row_of_image()
    for name in names:
        for listed in lists.by_image.get(name, []):
            for image, row in enumerate(listed[:, :k].tolist()):
                found[owner[image]] |= set(row)
        if name in lists.by_product:
            for query_row, row in enumerate(lists.by_product[name][:, :k].tolist()):
                found[query_row] |= set(row)
    return [classes - {-1} for classes in found]


def expected_recall(found: list[set[int]], truth: np.ndarray) -> float:
    hits = sum(int(class_id) in classes for class_id, classes in zip(truth, found, strict=True))
    return hits / max(int((truth >= 0).sum()), 1)


@untimed
@given(st.integers(0, 2**32 - 1))
def test_recall_of_each_source_and_of_their_union_equals_sets(seed: int) -> None:
    lists, query, truth = random_proposals(seed)
    hits, num_labelled = hits_by_source(lists, query, truth, CLASSES), max((truth >= 0).sum(), 1)
    for name in ("networks", "hash", "ids"):
        expected = expected_recall(classes_by_product(lists, query, [name], 9), truth)
        assert hits[name] / num_labelled == pytest.approx(expected)
    of_all = expected_recall(classes_by_product(lists, query, lists.names, 9), truth)
    assert hits["without_cap"] / num_labelled == pytest.approx(of_all)


@untimed
@given(st.integers(0, 2**32 - 1))
def test_recall_by_k_alone_and_with_the_other_sources_equals_sets(seed: int) -> None:
    lists, query, truth = random_proposals(seed)
    used = lists.head(1)
    table = recall_by_k(lists, used, query, truth, CLASSES, 3)
    assert len(table) == 9
    for row in table:
        own = classes_by_product(lists, query, [row["source"]], row["k"])
        others = classes_by_product(lists, query, set(lists.names) - {row["source"]}, 1)
        both = [a | b for a, b in zip(own, others, strict=True)]
        products = max(len(own), 1)
        assert row["recall_alone"] == pytest.approx(expected_recall(own, truth))
        assert row["rows_alone"] == pytest.approx(sum(map(len, own)) / products)
        assert row["recall"] == pytest.approx(expected_recall(both, truth))
        assert row["rows_per_product"] == pytest.approx(sum(map(len, both)) / products)
