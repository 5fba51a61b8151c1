"""Softmax regression with a weight for every n-gram and class: predictions, and steps of training

Source of the step sizes: Duchi et al. 2011 (AdaGrad), here one step size for each n-gram. All
arithmetic is that of one thread.
"""

import numpy as np
from scipy.sparse import csr_matrix

BATCH = 64  # products of a step
TINY = 1e-8  # of the sums of squares that steps are divided by, and of probabilities


def predict(tfidf: csr_matrix, weight: np.ndarray) -> np.ndarray:
    """Probabilities float32 [n, C] by TF-IDF float32 [n, F]; weight: as in `FullRankSteps`."""
    return _softmax(tfidf @ weight[:-1] + weight[-1])


class FullRankSteps:
    """Steps of weights for every n-gram and class.

    weight: float32 [F + 1, C], changed here; the last row is the bias.
    """

    batch_size = BATCH

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = weight
        self.squares = np.zeros(len(weight), np.float32)  # of the gradients of each n-gram so far

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All that changes from step to step."""
        return {"weight": self.weight, "squares": self.squares}

    def step(self, batch: csr_matrix, truth: np.ndarray, lr: float) -> tuple[float, int]:
        """Change the weights of the batch's n-grams; its sum of losses, and hits, before that."""
        weight, squares = self.weight, self.squares
        probs = predict(batch, weight)
        places = np.arange(len(truth)), truth
        loss = -float(np.log(np.maximum(probs[places], TINY)).sum())
        correct = int((probs.argmax(1) == truth).sum())
        error = probs
        error[places] -= 1
        used, column = np.unique(batch.indices, return_inverse=True)
        shape = (len(truth), len(used))
        of_used = csr_matrix((batch.data, column.astype(np.int32), batch.indptr), shape=shape)
        for rows, gradient in ((used, of_used.T @ error), ([len(weight) - 1], error.sum(0)[None])):
            squares[rows] += np.square(gradient).sum(1)
            rate = np.float32(lr) / np.sqrt(squares[rows] + np.float32(TINY))
            weight[rows] -= rate[:, None] * gradient
        return loss, correct


def _softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)
