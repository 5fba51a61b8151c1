"""Multinomial logistic regression on TF-IDF of hashed n-grams, trained chunk by chunk

Memory holds one chunk of products and the weights, whatever the number of products. All arithmetic
is that of one thread and in an order that the seed decides, so that the bytes are the same on every
run. Source of the step sizes: Duchi et al. 2011 (AdaGrad), here one step size for each n-gram.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix, load_npz, save_npz

from lib.config.inputs.text import Text
from lib.models.text.ngrams import count_ngrams
from lib.pipeline.reading import load_array, map_array, read_json, reading
from lib.utils.chunks import chunks
from lib.utils.files import write_json

CHUNK = 50_000  # products whose n-grams are in memory at a time
CHUNK_OF_PROBS = 1024  # products with the probabilities of all classes in memory
BATCH = 64  # products of a step
TINY = 1e-8  # of the sums of squares that steps are divided by
PRIOR_WEIGHT = 1e-3  # of a product without texts; the rest is spread evenly, which is no vote

FIGURES, ARRAYS = "classifier.json", ("feature", "idf", "weight", "prior")


@dataclass(frozen=True)
class TextClassifier:
    """Features [F] are the hashed n-grams that training products have.

    num_features: of the hashing. feature: int64 [F], ascending. idf: float32 [F].
    weight: float32 [F + 1, C]; the last row is the bias. prior: float32 [C], of the classes.
    """

    num_features: int
    feature: np.ndarray
    idf: np.ndarray
    weight: np.ndarray
    prior: np.ndarray

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.prior)

    def predict(self, texts: pa.Table) -> np.ndarray:
        """Probabilities float32 [n, C] by string columns of n products, null where missing.

        A product without a known n-gram gets nearly the same probability for all classes, with the
        frequent classes first: it has no vote in a mean with other models.
        """
        counts = count_ngrams(texts, self.num_features)
        tfidf = weigh(counts, self.feature, self.idf)
        probs = _softmax(tfidf @ self.weight[:-1] + self.weight[-1])
        even = np.float32((1 - PRIOR_WEIGHT) / self.num_classes)
        probs[np.diff(tfidf.indptr) == 0] = even + np.float32(PRIOR_WEIGHT) * self.prior
        return probs

    def evaluate(self, texts: pa.Table, label: np.ndarray) -> dict[str, float | None]:
        """`valid_loss` and `valid_accuracy` on n products of label int [n]; None without any."""
        if len(label) == 0:
            return {"valid_loss": None, "valid_accuracy": None}
        loss, correct = 0.0, 0
        for some in chunks(len(label), CHUNK_OF_PROBS):
            probs = self.predict(texts.slice(some.start, some.stop - some.start))
            of_truth = probs[np.arange(len(probs)), label[some]]
            loss -= float(np.log(np.maximum(of_truth, TINY)).sum())
            correct += int((probs.argmax(1) == label[some]).sum())
        return {"valid_loss": loss / len(label), "valid_accuracy": correct / len(label)}

    def save(self, folder: Path) -> None:
        """Write `classifier.json` and an array for each field into `folder`."""
        write_json(folder / FIGURES, {"num_features": self.num_features})
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> "TextClassifier":
        """Read what `save` wrote; the weights are mapped, not read."""
        figures = read_json(folder / FIGURES, "num_features")
        feature, idf, prior = (load_array(folder / f"{n}.npy") for n in ("feature", "idf", "prior"))
        weight = map_array(folder / "weight.npy")
        with reading(folder / FIGURES):
            if weight.shape != (len(feature) + 1, len(prior)) or idf.shape != feature.shape:
                raise ValueError("arrays of other classes or features")
        return cls(figures["num_features"], feature, idf, weight, prior)


def weigh(counts: csr_matrix, feature: np.ndarray, idf: np.ndarray) -> csr_matrix:
    """TF-IDF float32 [n, F] of counts [n, num_features]: (1 + log count) * idf, rows of length 1.

    feature: int64 [F], the columns to keep. idf: float32 [F].
    """
    kept = counts[:, feature].tocsr()
    kept.sort_indices()
    values = (1 + np.log(kept.data)) * idf[kept.indices]
    sizes = np.diff(kept.indptr)
    row = np.repeat(np.arange(len(sizes)), sizes)
    norm = np.sqrt(np.bincount(row, values.astype(np.float64) ** 2, len(sizes)))
    data = (values / norm[row]).astype(np.float32)
    return csr_matrix((data, kept.indices, kept.indptr), shape=kept.shape)


def fit(
    scratch: Path,
    texts: pa.Table,
    label: np.ndarray,
    num_classes: int,
    settings: Text,
    seed: int,
) -> Iterator[tuple[TextClassifier, dict[str, Any]]]:
    """Yield the classifier after each epoch, with figures of its steps: loss and accuracy.

    scratch: a folder for n-grams of the chunks. texts: string columns of n products, in an order
    that does not matter. label: int [n]. The same classifier is trained on: copy it to keep it.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(label))
    files, document_count = [], np.zeros(settings.num_features, np.int64)
    for number, some in enumerate(chunks(len(order), CHUNK)):
        counts = count_ngrams(texts.take(pa.array(order[some])), settings.num_features)
        document_count += np.bincount(counts.indices, minlength=settings.num_features)
        files.append(scratch / f"{number:05}.npz")
        save_npz(files[-1], counts, compressed=False)
    feature = np.flatnonzero(document_count)
    idf = (np.log((1 + len(label)) / (1 + document_count[feature])) + 1).astype(np.float32)
    prior = np.bincount(label, minlength=num_classes) / max(len(label), 1)
    weight = np.zeros((len(feature) + 1, num_classes), np.float32)
    model = TextClassifier(settings.num_features, feature, idf, weight, prior.astype(np.float32))
    squares = np.zeros(len(weight), np.float32)
    for _ in range(settings.epochs):
        yield model, _train_epoch(model, squares, files, label[order], settings.lr, rng)


def _train_epoch(
    model: TextClassifier,
    squares: np.ndarray,
    files: Sequence[Path],
    label: np.ndarray,
    lr: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """One pass over all chunks, in random order; label: int [n] of their rows.

    squares: float32 [F + 1], sums of squared gradients of each feature so far; changed here.
    Returns the mean loss and accuracy of its products, each before its step.
    """
    loss, correct, trained = 0.0, 0, 0
    for number in rng.permutation(len(files)).tolist():
        tfidf = weigh(load_npz(files[number]), model.feature, model.idf)
        of_chunk = label[number * CHUNK : number * CHUNK + len(tfidf.indptr) - 1]
        rows = rng.permutation(np.flatnonzero(np.diff(tfidf.indptr)))  # those that have a text
        for some in chunks(len(rows), BATCH):
            truth = of_chunk[rows[some]]
            probs = _step(model.weight, squares, tfidf[rows[some]], truth, lr)
            of_truth = probs[np.arange(len(truth)), truth]
            loss -= float(np.log(np.maximum(of_truth, TINY)).sum())
            correct += int((probs.argmax(1) == truth).sum())
        trained += len(rows)
    return {"loss": loss / max(trained, 1), "accuracy": correct / max(trained, 1)}


def _step(
    weight: np.ndarray, squares: np.ndarray, batch: csr_matrix, truth: np.ndarray, lr: float
) -> np.ndarray:
    """Change the weights of the batch's features; the probabilities float32 [b, C] before that."""
    probs = _softmax(batch @ weight[:-1] + weight[-1])
    error = probs.copy()
    error[np.arange(len(truth)), truth] -= 1
    used, column = np.unique(batch.indices, return_inverse=True)
    shape = (len(truth), len(used))
    of_used = csr_matrix((batch.data, column.astype(np.int32), batch.indptr), shape=shape)
    for rows, gradient in ((used, of_used.T @ error), ([len(weight) - 1], error.sum(0)[None])):
        squares[rows] += np.square(gradient).sum(1)
        rate = np.float32(lr) / np.sqrt(squares[rows] + np.float32(TINY))
        weight[rows] -= rate[:, None] * gradient
    return probs


def _softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)
