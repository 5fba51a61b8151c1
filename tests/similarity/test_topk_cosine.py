"""The k largest cosines against a sort of all, and unit vectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.similarity import topk_cosine as module
from lib.similarity.topk_cosine import topk_cosine, unit_vectors

DIMS = 6


def units_of(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_references=st.integers(0, 30),
    num_queries=st.integers(0, 9),
    k=st.integers(1, 6),
)
def test_the_largest_cosines_equal_a_sort_of_all(seed, num_references, num_queries, k):
    rng = np.random.default_rng(seed)
    references, queries = (rng.normal(size=(n + 3, DIMS)) for n in (num_references, num_queries))
    scale = rng.uniform(0.5, 2, DIMS).astype(np.float32)
    reference_rows = rng.permutation(len(references))[:num_references]
    query_rows = rng.permutation(len(queries))[:num_queries]
    top, index = topk_cosine(queries, query_rows, references, reference_rows, k, scale=scale)
    cosine = units_of(queries[query_rows] * scale) @ units_of(references[reference_rows] * scale).T
    num_found = min(k, num_references)
    best = np.argsort(-cosine, axis=1)[:, :num_found]
    np.testing.assert_array_equal(index[:, :num_found], best)
    np.testing.assert_allclose(
        top[:, :num_found], np.take_along_axis(cosine, best, 1), rtol=1e-4, atol=1e-5
    )
    assert (index[:, num_found:] == -1).all()
    assert (top[:, num_found:] == -np.inf).all()


def test_equal_images_come_in_their_order():
    images = np.ones((300, DIMS), np.float32)
    _, index = topk_cosine(images, np.arange(2), images, np.arange(300), 5)
    assert index.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_block_sizes_do_not_change_the_neighbors(monkeypatch):
    images = np.random.default_rng(0).normal(size=(50, DIMS)).astype(np.float32)
    rows = np.arange(50)
    whole = topk_cosine(images, rows, images, rows, 4)[1]
    monkeypatch.setattr(module, "ROWS", 3)
    monkeypatch.setattr(module, "COLUMNS", 7)
    np.testing.assert_array_equal(topk_cosine(images, rows, images, rows, 4)[1], whole)


def test_unit_vectors_at_hand_give_the_same_bits(monkeypatch):
    monkeypatch.setattr(module, "COLUMNS", 7)
    rng = np.random.default_rng(0)
    images, scale = (
        rng.normal(size=(50, DIMS)).astype(np.float16),
        np.arange(DIMS, dtype=np.float32),
    )
    rows = rng.permutation(50)[:40]
    units = unit_vectors(images, rows, scale)
    expected = topk_cosine(images, np.arange(3), images, rows, 4, scale=scale)
    found = topk_cosine(images, np.arange(3), images, rows, 4, scale=scale, reference_units=units)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_unit_vectors_have_length_one_after_the_scale(dtype):
    vectors = np.array([[3, 4, 9], [0, 0, 0], [0, 0, 2]], dtype)
    scale = np.array([1, 2, 0], np.float32)
    units = unit_vectors(vectors, slice(None), scale)
    assert units.dtype == np.float32
    np.testing.assert_allclose(
        units, np.array([[3, 8, 0], [0, 0, 0], [0, 0, 0]]) / np.sqrt(73), rtol=1e-6
    )
    np.testing.assert_array_equal(unit_vectors(vectors, np.array([2]), scale), units[2:])
    assert vectors[0].tolist() == [3, 4, 9]
