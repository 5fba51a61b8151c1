"""Class probabilities of products by their texts, averaged over fold models, by batches"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch

from lib.inference.predictor import BatchProbs
from lib.models.text.classifier import TextClassifier
from lib.models.text.ngrams import count_ngrams

BATCH_SIZE = 1024  # products; of the largest number of classes, 128 MB of probabilities


class TextPredictor:
    """Classifies products by their texts; a `Predictor` whose rows are products.

    classifiers: one for each fold model. texts: string columns; a row is a product.
    row_of_image: int [I], the product of each image.
    """

    def __init__(
        self, classifiers: Sequence[TextClassifier], texts: pa.Table, row_of_image: np.ndarray
    ) -> None:
        self.classifiers, self.texts, self.row_of_image = classifiers, texts, row_of_image
        self.num_models, self.num_classes = len(classifiers), classifiers[0].num_classes
        self.num_features = classifiers[0].num_features  # of all, which have the same settings
        self.multi_label = False
        self.group_of_row: np.ndarray | None = None
        self.corrupt = np.zeros(len(row_of_image), bool)  # of images, which it does not read

    def batch_order(self, rows: np.ndarray) -> np.ndarray:
        """Positions int64 [n] of `rows`, as they are."""
        return np.arange(len(rows))

    def predict_batches(self, rows: np.ndarray, models: Sequence[int]) -> Iterator[BatchProbs]:
        """Mean over fold models number `models`, by batches of rows int64 [n] in order."""
        for start in range(0, len(rows), BATCH_SIZE):
            texts = self.texts.take(pa.array(rows[start : start + BATCH_SIZE]))
            counts = count_ngrams(texts, self.num_features)
            probs = [self.classifiers[model].predict_counts(counts) for model in models]
            mean = torch.from_numpy(np.mean(probs, axis=0, dtype=np.float32))
            yield BatchProbs(mean, mean)
