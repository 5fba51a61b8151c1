"""k-NN scores, classes and votes against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features.knn import class_knn_scores, knn_classes, vote
from lib.similarity import topk_cosine

CLASSES, DIMS = 5, 6


def case(seed: int, references: int, pairs: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    labelled_embeddings = rng.normal(size=(references + 4, DIMS)).astype(np.float16)
    labelled_embeddings[rng.random(len(labelled_embeddings)) < 0.1] = 0
    labelled_embeddings[rng.random(len(labelled_embeddings)) < 0.2] = labelled_embeddings[0]  # ties
    reference_rows = np.sort(rng.permutation(len(labelled_embeddings))[:references])
    query_embeddings = rng.normal(size=(7, DIMS)).astype(np.float16)
    query_embeddings[0] = 0
    reference_class = rng.integers(0, CLASSES - 1, references).astype(np.int16)  # the last has none
    query_rows, class_id = (
        rng.integers(0, 7, pairs),
        rng.integers(0, CLASSES, pairs).astype(np.int16),
    )
    return (
        labelled_embeddings,
        reference_rows,
        reference_class,
        query_embeddings,
        query_rows,
        class_id,
    )


def expected(
    labelled_embeddings, reference_rows, reference_class, query_embeddings, query_rows, class_id
):
    score, best = np.zeros(len(query_rows)), np.full(len(query_rows), np.nan)

    def unit(vector: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(vector.astype(np.float64))
        return vector / length if length else vector.astype(np.float64)

    for pair in range(len(query_rows)):
        own = unit(query_embeddings[query_rows[pair]])
        cosine = [
            float(own @ unit(labelled_embeddings[row]))
            for row in reference_rows[reference_class == class_id[pair]]
        ]
        five = sorted(cosine, reverse=True)[:5]
        score[pair] = sum(((1 + one) / 2) ** 35 for one in five)
        best[pair] = five[0] if five else np.nan
    return score, best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 30))
def test_class_scores_equal_a_loop(seed: int, references: int, pairs: int) -> None:
    data = case(seed, references, pairs)
    for result, expected_rows in zip(class_knn_scores(*data), expected(*data), strict=True):
        np.testing.assert_allclose(result, expected_rows, rtol=2e-3, atol=1e-5)


def test_block_sizes_do_not_change_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    data = case(1, 60, 80)
    whole = class_knn_scores(*data)
    monkeypatch.setattr(topk_cosine, "ROWS", 3)
    monkeypatch.setattr(topk_cosine, "COLUMNS", 4)
    for result, expected_rows in zip(class_knn_scores(*data), whole, strict=True):
        np.testing.assert_allclose(result, expected_rows, rtol=1e-5)
    assert (whole[0] > 0).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 6))
def test_knn_classes_equal_a_loop(seed: int, references: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    labelled_embeddings, query_embeddings = (
        rng.normal(size=(n, DIMS)).astype(np.float32) for n in (references + 2, 9)
    )
    reference_rows = np.sort(rng.permutation(len(labelled_embeddings))[:references])
    reference_class = rng.integers(0, CLASSES, references).astype(np.int16)
    result, similarity = knn_classes(
        labelled_embeddings, reference_rows, reference_class, query_embeddings, k
    )
    cosine = (query_embeddings / np.linalg.norm(query_embeddings, axis=1, keepdims=True)) @ (
        labelled_embeddings[reference_rows]
        / np.linalg.norm(labelled_embeddings[reference_rows], axis=1, keepdims=True)
    ).T
    for row in range(len(query_embeddings)):
        expected_rows = reference_class[np.argsort(-cosine[row])][:k]
        np.testing.assert_array_equal(result[row, : len(expected_rows)], expected_rows)
        best = ((1 + np.sort(cosine[row])[::-1][:k]) / 2) ** 35
        np.testing.assert_allclose(
            similarity[row, : len(expected_rows)], best, rtol=1e-3, atol=1e-12
        )
        assert (similarity[row, len(expected_rows) :] == 0).all()
        assert (result[row, len(expected_rows) :] == -1).all()


def test_block_sizes_do_not_change_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    _, reference_rows, reference_class, *_ = case(5, 60, 1)
    rng = np.random.default_rng(0)
    labelled_embeddings, query_embeddings = (
        rng.normal(size=(n, DIMS)).astype(np.float32) for n in (64, 9)
    )  # no ties
    whole, _ = knn_classes(
        labelled_embeddings, reference_rows, reference_class, query_embeddings, 4
    )
    monkeypatch.setattr(topk_cosine, "ROWS", 2)
    monkeypatch.setattr(topk_cosine, "COLUMNS", 5)
    result, _ = knn_classes(
        labelled_embeddings, reference_rows, reference_class, query_embeddings, 4
    )
    np.testing.assert_array_equal(result, whole)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(1, 6))
def test_votes_of_a_class_add_up(seed: int, width: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(-1, CLASSES, (6, width)).astype(np.int16)
    votes = rng.integers(0, 4, classes.shape).astype(np.float32)
    result = vote(classes, votes, k)
    for row in range(len(classes)):
        distinct = list(dict.fromkeys(classes[row][classes[row] >= 0].tolist()))
        expected_rows = sorted(distinct, key=lambda one: -votes[row][classes[row] == one].sum())[:k]
        assert result[row].tolist() == expected_rows + [-1] * (k - len(expected_rows))
