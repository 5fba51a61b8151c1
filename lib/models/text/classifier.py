"""A linear classifier of texts on TF-IDF of hashed n-grams: its arrays, predictions and files"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from lib.models.text import full_rank, low_rank
from lib.models.text.ngrams import count_ngrams
from lib.pipeline.reading import load_array, map_array, read_json, reading
from lib.utils.chunks import chunks
from lib.utils.files import write_json

CHUNK_OF_PROBS = 1024  # products with the probabilities of all classes in memory
TINY = 1e-8  # the smallest probability whose logarithm counts in a loss
PRIOR_WEIGHT = 1e-3  # of a product without texts; the rest is spread evenly, which is no vote

FIGURES, ARRAYS = "classifier.json", ("feature", "idf", "weight", "prior")
EMBEDDING = "embedding.npy"  # of low-rank weights alone


@dataclass(frozen=True)
class TextClassifier:
    """Features [F] are the hashed n-grams that training products have.

    num_features: of the hashing. feature: int64 [F], ascending. idf: float32 [F].
    weight: float32 [F + 1, C]; the last row is the bias. prior: float32 [C], of the classes.
    embedding: float32 [F, R], the vector of each n-gram, or None; weight is [R + 1, C] with it.
    """

    num_features: int
    feature: np.ndarray
    idf: np.ndarray
    weight: np.ndarray
    prior: np.ndarray
    embedding: np.ndarray | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.prior)

    def predict(self, texts: pa.Table) -> np.ndarray:
        """Probabilities float32 [n, C] by string columns of n products, null where missing.

        A product without a known n-gram gets nearly the same probability for all classes, with the
        frequent classes first: it has no vote in a mean with other models.
        """
        return self.predict_counts(count_ngrams(texts, self.num_features))

    def predict_counts(self, counts: csr_matrix) -> np.ndarray:
        """The same by the counts [n, num_features] of `count_ngrams`."""
        tfidf = weigh(counts, self.feature, self.idf)
        if self.embedding is None:
            probs = full_rank.predict(tfidf, self.weight)
        else:
            probs = low_rank.predict(tfidf, self.embedding, self.weight)
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
        if self.embedding is not None:
            np.save(folder / EMBEDDING, self.embedding)

    @classmethod
    def load(cls, folder: Path) -> "TextClassifier":
        """Read what `save` wrote; the weights are mapped, not read."""
        figures = read_json(folder / FIGURES, "num_features")
        feature, idf, prior = (load_array(folder / f"{n}.npy") for n in ("feature", "idf", "prior"))
        weight = map_array(folder / "weight.npy")
        embedding = load_array(folder / EMBEDDING) if (folder / EMBEDDING).exists() else None
        with reading(folder / FIGURES):
            inputs, vectors = len(feature), feature
            if embedding is not None:
                inputs, vectors = embedding.shape[1], embedding
            sizes = {len(feature), len(idf), len(vectors)}
            if weight.shape != (inputs + 1, len(prior)) or len(sizes) > 1:
                raise ValueError("arrays of other classes or features")
        return cls(figures["num_features"], feature, idf, weight, prior, embedding)


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
