"""Recall of lists against sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features.candidates import make_query
from lib.features.proposals import Proposals, recall_by_k, recalls
from tests.features.toy_catalog import CLASSES, catalogue

untimed = settings(deadline=None)  # the machine may be busy


def drawn(seed: int):
    rng = np.random.default_rng(seed)
    known = catalogue(rng, 20, 10)
    query = make_query(known, np.flatnonzero(rng.random(20) < 0.8))

    def listed(rows: int, k: int) -> np.ndarray:
        return rng.integers(-1, CLASSES, (rows, k)).astype(np.int16)

    images, products = len(query.images), len(query.products)
    lists = Proposals(
        {"networks": [listed(images, 3), listed(images, 2)], "hash": [listed(images, 2)]},
        {"near": listed(products, 3)},
    )
    truth = rng.integers(-1, CLASSES, products).astype(np.int16)
    return lists, query, truth


def named(lists: Proposals, query, names, k: int) -> list[set[int]]:
    """Classes of each product that the first k of the named sources' lists have."""
    found: list[set[int]] = [set() for _ in query.products]
    owner = query.slot_of_image()
    for name in names:
        for listed in lists.of_images.get(name, []):
            for image, row in enumerate(listed[:, :k].tolist()):
                found[owner[image]] |= set(row)
        if name in lists.of_products:
            for slot, row in enumerate(lists.of_products[name][:, :k].tolist()):
                found[slot] |= set(row)
    return [classes - {-1} for classes in found]


def share(found: list[set[int]], truth: np.ndarray) -> float:
    hits = sum(int(cls) in classes for cls, classes in zip(truth, found, strict=True))
    return hits / max(int((truth >= 0).sum()), 1)


@untimed
@given(st.integers(0, 2**32 - 1))
def test_recall_of_each_source_and_of_all(seed: int) -> None:
    lists, query, truth = drawn(seed)
    facts = recalls(lists, query, truth, CLASSES)
    for name in ("networks", "hash", "near"):
        expected = share(named(lists, query, [name], 9), truth)
        assert facts[f"recall_{name}"] == pytest.approx(expected, abs=1e-6)
    of_all = share(named(lists, query, lists.names, 9), truth)
    assert facts["recall_without_cap"] == pytest.approx(of_all, abs=1e-6)


@untimed
@given(st.integers(0, 2**32 - 1))
def test_recall_by_k_alone_and_beside_what_is_used(seed: int) -> None:
    lists, query, truth = drawn(seed)
    used = lists.first(1)
    table = recall_by_k(lists, used, query, truth, CLASSES, 3)
    assert len(table) == 9
    for row in table:
        own = named(lists, query, [row["source"]], row["k"])
        others = named(lists, query, set(lists.names) - {row["source"]}, 1)
        both = [a | b for a, b in zip(own, others, strict=True)]
        products = max(len(own), 1)
        assert row["recall_alone"] == pytest.approx(share(own, truth))
        assert row["rows_alone"] == pytest.approx(sum(map(len, own)) / products)
        assert row["recall"] == pytest.approx(share(both, truth))
        assert row["rows_per_product"] == pytest.approx(sum(map(len, both)) / products)
