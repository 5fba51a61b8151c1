"""Similarity of the products with the nearest ids against a loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features import similar_ids as module
from lib.features.id_priors import build_id_index
from lib.features.similar_ids import (
    IdQueries,
    IdReferences,
    ProductEmbeddings,
    similarity_by_class,
)

CLASSES, DIMS = 4, 6


def random_embeddings(rng: np.random.Generator, products: int) -> ProductEmbeddings:
    count = rng.integers(0, 4, products)
    embeddings = rng.normal(size=(int(count.sum()), DIMS)).astype(np.float16)
    embeddings[rng.random(len(embeddings)) < 0.1] = 0
    return ProductEmbeddings(embeddings, np.cumsum(count) - count, count)


def case(seed: int, references: int, num_queries: int) -> dict:
    rng = np.random.default_rng(seed)
    num_known = references + 3
    rows = rng.choice(num_known, references, replace=False)
    ids = rng.permutation(3 * references + 5)[:references]  # no id twice, as in a catalog
    labels = rng.integers(0, CLASSES, references).astype(np.int16)
    by_id = np.argsort(ids, kind="stable")
    sizes = rng.integers(1, CLASSES + 1, num_queries)
    class_id = [np.sort(rng.permutation(CLASSES)[:size]) for size in sizes]
    return {
        "order": build_id_index(ids, labels),
        "reference": rows[by_id],
        "known": random_embeddings(rng, num_known),
        "ids": rng.integers(0, 3 * references + 5, num_queries),
        "asked": rng.permutation(num_queries + 2)[:num_queries],
        "query": random_embeddings(rng, num_queries + 2),
        "bounds": np.concatenate([[0], np.cumsum(sizes)]),
        "cls": np.concatenate([np.empty(0, int), *class_id]).astype(np.int16),
        "window": int(rng.integers(1, 8)),
    }


def similarities(c: dict) -> np.ndarray:
    references = IdReferences(c["order"], c["reference"], c["known"])
    queries = IdQueries(c["ids"], c["asked"], c["query"], c["bounds"], c["cls"])
    return similarity_by_class(references, queries, c["window"])


def unit(vector: np.ndarray) -> np.ndarray:
    vector = vector.astype(np.float64)
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def unit_vectors(of: ProductEmbeddings, product: int) -> list[np.ndarray]:
    rows = range(of.first_image[product], of.first_image[product] + of.image_count[product])
    return [unit(of.embeddings[row]) for row in rows]


def expected(c: dict) -> np.ndarray:
    found = np.full((len(c["cls"]), 4), np.nan)
    for i in range(len(c["ids"])):
        own = unit_vectors(c["query"], c["asked"][i])
        if not own:
            continue
        gap = np.abs(c["order"].ids - c["ids"][i])
        near = np.lexsort((c["order"].ids, gap))[: c["window"]]
        best = {}
        for place in near:
            near_images = unit_vectors(c["known"], c["reference"][place])
            if near_images:
                best[place] = max(float(a @ b) for a in own for b in near_images)
        for row in range(c["bounds"][i], c["bounds"][i + 1]):
            of_class = [p for p in best if c["order"].labels[p] == c["cls"][row]]
            found[row, 0] = max((best[p] for p in of_class), default=np.nan)
            sharp, soft = (
                {p: ((1 + b) / 2) ** power for p, b in best.items()} for power in (35, 8)
            )
            found[row, 1] = sum(sharp[p] for p in of_class)
            for column, similarity in ((2, soft), (3, sharp)):
                total = sum(similarity.values())
                if total > 0:
                    found[row, column] = sum(similarity[p] for p in of_class) / total
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.integers(1, 8))
def test_similarity_by_class_equals_a_loop(seed: int, references: int, num_queries: int) -> None:
    c = case(seed, references, num_queries)
    np.testing.assert_allclose(similarities(c), expected(c), rtol=2e-3, atol=1e-5)


def test_chunk_sizes_do_not_change_the_similarity(monkeypatch: pytest.MonkeyPatch) -> None:
    c = case(3, 40, 30)
    whole = similarities(c)
    assert np.isfinite(whole).any(axis=0).all()
    monkeypatch.setattr(module, "CHUNK", 4)
    np.testing.assert_array_equal(similarities(c), whole)


def test_no_queries_have_no_rows() -> None:
    c = case(1, 5, 1)
    none = np.empty(0, np.int64)
    c |= {"ids": none, "asked": none, "bounds": np.zeros(1, np.int64), "cls": c["cls"][:0]}
    assert similarities(c).shape == (0, 4)
