"""Steps of a low-rank softmax regression: n-grams to a short vector, and from that to the classes

All classes of a batch are one dense product of matrices, so that a step costs rank x classes for
each product, not n-grams x classes. Threads share a step by pieces whose sizes are fixed and whose
results do not meet: the bytes are the same with any number of threads.

Source of the form: Joulin et al. 2016 (fastText); of the step sizes: Duchi et al. 2011 (AdaGrad),
one for each n-gram, and one for each weight of a class.
"""

from concurrent.futures import Executor
from functools import cache
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import ThreadpoolController

from lib.utils.chunks import chunks
from lib.utils.compiled import njit

BATCH = 1024  # products of a step
ROWS, CLASSES, FEATURES = 64, 1024, 1 << 14  # of a piece of work
TINY = 1e-8  # of the sums of squares that steps are divided by
SHARE_OF_LR = 0.5  # both factors of a weight move: together as far as one weight at the whole rate
SPREAD = 1.0  # length of the vector of an n-gram before training


class LowRankSteps:
    """Steps of weights that are a product of two thin matrices.

    embedding: float32 [F, R], the vector of each n-gram. weight: float32 [R + 1, C]; the last row
    is the bias. Both are changed here. pool: threads that share the work.
    """

    batch_size = BATCH

    def __init__(self, embedding: np.ndarray, weight: np.ndarray, pool: Executor) -> None:
        self.embedding, self.weight = embedding, weight
        self.of_embedding = np.zeros(len(embedding), np.float32)  # squares of gradients so far
        self.of_weight = np.zeros_like(weight)
        self.pool = pool

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All that changes from step to step."""
        return {name: value for name, value in vars(self).items() if name != "pool"}

    def step(self, batch: csr_matrix, truth: np.ndarray, lr: float) -> tuple[float, int]:
        """Change the weights; the batch's sum of losses, and its hits, before that.

        batch: TF-IDF float32 [b, F]. truth: int [b].
        """
        rate, num_rows, rank = np.float32(SHARE_OF_LR * lr), len(truth), self.embedding.shape[1]
        hidden, of_hidden = np.empty((2, num_rows, rank), np.float32)
        error = np.empty((num_rows, self.weight.shape[1]), np.float32)
        columns = batch.tocsc()

        def forward(rows: slice) -> tuple[float, int]:
            labels = truth[rows]
            places = np.arange(len(labels)), labels
            probs = _predict_rows(batch, self.embedding, self.weight, hidden, error, rows)
            loss = -float(np.log(np.maximum(probs[places], TINY)).sum())
            hits = int((probs.argmax(1) == labels).sum())
            probs[places] -= 1  # from here on the gradient of the logits
            np.matmul(probs, self.weight[:-1].T, out=of_hidden[rows])
            return loss, hits

        def step_classes(classes: slice) -> None:
            of_classes = error[:, classes]
            gradient = np.vstack([hidden.T @ of_classes, of_classes.sum(0)])
            squares = self.of_weight[:, classes]
            squares += np.square(gradient)
            self.weight[:, classes] -= rate * gradient / np.sqrt(squares + np.float32(TINY))

        def step_features(features: slice) -> None:
            _step_vectors(
                (columns.indptr, columns.indices, columns.data),
                of_hidden,
                self.embedding,
                self.of_embedding,
                rate,
                (features.start, features.stop),
            )

        with _one_blas_thread():
            figures = list(self.pool.map(forward, chunks(num_rows, ROWS)))
            tasks = [self.pool.submit(step_classes, c) for c in chunks(error.shape[1], CLASSES)]
            tasks += [
                self.pool.submit(step_features, f) for f in chunks(len(self.embedding), FEATURES)
            ]
            for task in tasks:
                task.result()
        return sum(loss for loss, _ in figures), sum(hits for _, hits in figures)


def first_embedding(rng: np.random.Generator, num_features: int, rank: int) -> np.ndarray:
    """Random vectors float32 [F, R] of length about SPREAD."""
    return rng.standard_normal((num_features, rank), np.float32) * np.float32(SPREAD / rank**0.5)


def predict(tfidf: csr_matrix, embedding: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Probabilities float32 [n, C] by TF-IDF float32 [n, F]; arrays as in `LowRankSteps`."""
    num_rows = tfidf.shape[0]
    hidden = np.empty((num_rows, embedding.shape[1]), np.float32)
    probs = np.empty((num_rows, weight.shape[1]), np.float32)
    with _one_blas_thread():
        for rows in chunks(num_rows, ROWS):
            _predict_rows(tfidf, embedding, weight, hidden, probs, rows)
    return probs


def _predict_rows(
    tfidf: csr_matrix,
    embedding: np.ndarray,
    weight: np.ndarray,
    hidden: np.ndarray,
    probs: np.ndarray,
    rows: slice,
) -> np.ndarray:
    """Fill and return the rows of probs [n, C], and those of hidden [n, R]."""
    some, bounds = probs[rows], (rows.start, rows.stop)
    _embed((tfidf.indptr, tfidf.indices, tfidf.data), embedding, hidden, bounds)
    np.matmul(hidden[rows], weight[:-1], out=some)
    some += weight[-1]
    some -= some.max(axis=1, keepdims=True)
    np.exp(some, out=some)
    some /= some.sum(axis=1, keepdims=True)
    return some


def _one_blas_thread() -> Any:
    """A context in which products of matrices use one thread: their sums depend on the number."""
    return _blas().limit(limits=1, user_api="blas")


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@njit(cache=True, nogil=True)
def _embed(
    tfidf: tuple[np.ndarray, np.ndarray, np.ndarray],
    embedding: np.ndarray,
    hidden: np.ndarray,
    bounds: tuple[int, int],
) -> None:
    """Fill the rows [start, stop) of hidden [n, R]: weighted sums of the vectors of their n-grams.

    tfidf: indptr, indices and data of a csr_matrix [n, F].
    """
    indptr, indices, data = tfidf
    for row in range(bounds[0], bounds[1]):
        total = hidden[row]
        total[:] = 0
        for place in range(indptr[row], indptr[row + 1]):
            value, vector = data[place], embedding[indices[place]]
            for k in range(len(total)):
                total[k] += value * vector[k]


@njit(cache=True, nogil=True)
def _step_vectors(
    columns: tuple[np.ndarray, np.ndarray, np.ndarray],
    of_hidden: np.ndarray,
    embedding: np.ndarray,
    squares: np.ndarray,
    lr: np.float32,
    bounds: tuple[int, int],
) -> None:
    """A step of AdaGrad for the vectors of the n-grams [start, stop), each with one step size.

    columns: indptr, indices and data of TF-IDF as csc_matrix [n, F]. of_hidden: float32 [n, R].
    """
    indptr, indices, data = columns
    gradient = np.empty(embedding.shape[1], np.float32)
    for feature in range(bounds[0], bounds[1]):
        if indptr[feature] == indptr[feature + 1]:
            continue
        gradient[:] = 0
        for place in range(indptr[feature], indptr[feature + 1]):
            value, of_row = data[place], of_hidden[indices[place]]
            for k in range(len(gradient)):
                gradient[k] += value * of_row[k]
        total = np.float32(0)
        for k in range(len(gradient)):
            total += gradient[k] * gradient[k]
        squares[feature] += total
        rate = lr / np.sqrt(squares[feature] + np.float32(TINY))
        vector = embedding[feature]
        for k in range(len(gradient)):
            vector[k] -= rate * gradient[k]
