from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from lib.models.text import low_rank as module

LR = 0.5


def batch(rows: int, seed: int = 0) -> csr_matrix:
    """Few n-grams a row, of 40; a row without any, and an n-gram without a row."""
    rng = np.random.default_rng(seed)
    dense = rng.random((rows, 40), np.float32) * (rng.random((rows, 40)) < 0.2)
    dense[0], dense[:, 7] = 0, 0
    return csr_matrix(dense)


def weights(rank: int = 5, classes: int = 11) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    embedding = module.first_embedding(rng, 40, rank)
    return embedding, rng.standard_normal((rank + 1, classes), np.float32)


def probabilities(tfidf: np.ndarray, embedding: np.ndarray, weight: np.ndarray) -> np.ndarray:
    logits = tfidf @ embedding @ weight[:-1] + weight[-1]
    exp = np.exp(logits)
    return exp / exp.sum(1, keepdims=True)


@pytest.mark.parametrize("pieces", [3, 1000])
def test_steps_are_those_of_dense_arithmetic(monkeypatch, pieces):
    """In float64, with all gradients before any step; pieces of any size, and two threads."""
    for name in ("ROWS", "CLASSES", "FEATURES"):
        monkeypatch.setattr(module, name, pieces)
    embedding, weight = weights()
    steps = module.LowRankSteps(embedding, weight, ThreadPoolExecutor(2))
    dense = embedding.astype(np.float64), weight.astype(np.float64)
    squares = np.zeros(40), np.zeros_like(dense[1])
    lr = LR * module.SHARE_OF_LR
    for number in range(3):
        tfidf = batch(10, number)
        truth = np.random.default_rng(number).integers(0, 11, 10)
        loss, hits = steps.step(tfidf, truth, LR)
        rows = tfidf.toarray().astype(np.float64)
        probs = probabilities(rows, *dense)
        assert loss == pytest.approx(-np.log(probs[np.arange(10), truth]).sum(), rel=1e-4)
        assert hits == (probs.argmax(1) == truth).sum()
        error = probs - np.eye(11)[truth]
        of_vectors = rows.T @ (error @ dense[1][:-1].T)
        of_weight = np.vstack([(rows @ dense[0]).T @ error, error.sum(0)])
        squares[0][:] += (of_vectors**2).sum(1)
        squares[1][:] += of_weight**2
        dense[0][:] -= lr * of_vectors / np.sqrt(squares[0] + module.TINY)[:, None]
        dense[1][:] -= lr * of_weight / np.sqrt(squares[1] + module.TINY)
        np.testing.assert_allclose(embedding, dense[0], atol=1e-4)
        np.testing.assert_allclose(weight, dense[1], atol=1e-4)


def test_predictions_are_those_of_dense_arithmetic():
    tfidf = batch(150)
    probs = module.predict(tfidf, *weights())
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs, probabilities(tfidf.toarray(), *weights()), atol=1e-5)


def test_any_number_of_threads_gives_the_same_bytes():
    results = []
    for threads in (1, 3):
        embedding, weight = weights(64, 3000)
        steps = module.LowRankSteps(embedding, weight, ThreadPoolExecutor(threads))
        for number in range(2):
            truth = np.random.default_rng(number).integers(0, 3000, 300)
            steps.step(batch(300, number), truth, LR)
        results.append((embedding.tobytes(), weight.tobytes()))
    assert results[0] == results[1]
