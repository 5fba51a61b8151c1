"""Labels of test products that are good enough to train on in a second round.

There are two sources. By hash: every labelled product that shares an image with the test product
is of one class. By confidence: the mean prediction of the first round's networks is at least as
confident as predictions must be to reach the required precision on labelled products that these
networks never saw.

Pseudo-labelling does not leak: a network that holds out a fold never receives labels derived from
it. Pseudo-labels for a network that excludes fold k come only from first-round hashes and networks
that also excluded fold k. No pseudo-labeller ever saw the products on which the threshold is
chosen, and these are the ones that the second-round network excludes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from lib.data.catalog import read_table, write_table
from lib.features import network
from lib.features.query import Query
from lib.inference.topk import TopK
from lib.stacking.calibration import fit_threshold

BY_HASH, BY_CONFIDENCE = 0, 1  # the reason of a label


@dataclass(frozen=True)
class PseudoLabels:
    """Labelled products of the test catalog.

    product: int32 [n], ascending rows of the catalog. class_id: int16 [n]. reason: int8 [n],
    BY_HASH or BY_CONFIDENCE.
    """

    product: np.ndarray
    class_id: np.ndarray
    reason: np.ndarray

    def save(self, folder: Path) -> None:
        """Write `pseudo.arrow`."""
        columns: dict[str, pa.Array | np.ndarray] = {
            "product": self.product.astype(np.int32),
            "class_id": self.class_id.astype(np.int16),
            "reason": self.reason.astype(np.int8),
        }
        write_table(folder / "pseudo.arrow", columns)

    @classmethod
    def load(cls, folder: Path) -> "PseudoLabels":
        """Read the file that `save` wrote."""
        table = read_table(folder / "pseudo.arrow", "product", "class_id", "reason")
        return cls(*(table[name].to_numpy() for name in ("product", "class_id", "reason")))


def predict_classes(
    query: Query, topks: Sequence[TopK], weights: Sequence[float], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The class that the networks' mean ranks first for each product, and its confidence.

    query: Q products and their images.
    topks: predictions of each network for the images of `query`.
    weights: of each network.

    Returns class ids int16 [Q], and the mean of their probabilities over networks and images
    float32 [Q]; -1 and 0 for a product without images.
    """
    pictures = [replace(topk, imageless=None) for topk in topks]  # labels are for pictures alone
    class_id = network.best_classes(query, pictures, weights, num_classes, "arithmetic")
    query_row = query.query_row_of_image()
    share = np.asarray(weights) / np.sum(weights)
    total = np.zeros(len(query.products))
    for topk, weight in zip(topks, share, strict=True):
        rows = np.arange(len(query_row))
        probs = network.lookup_probs(topk, rows, class_id[query_row], num_classes)
        total += weight * np.bincount(query_row, probs, len(total))
    return class_id, (total / np.maximum(query.image_count, 1)).astype(np.float32)


def fit_min_confidence(
    class_id: np.ndarray, confidence: np.ndarray, truth: np.ndarray, min_precision: float
) -> float | None:
    """The lowest confidence from which predictions reach `min_precision`.

    class_id: int16 [Q] and confidence: float32 [Q], of `predict_classes` for products that no
        network was trained on.
    truth: int16 [Q], their classes; -1 if unknown.

    Returns None where no confidence can be shown to.
    """
    labelled = (class_id >= 0) & (truth >= 0)
    correct = class_id[labelled] == truth[labelled]
    return fit_threshold(confidence[labelled], correct, min_precision)


def select_labels(
    query: Query,
    hash_class: np.ndarray,
    class_id: np.ndarray,
    confidence: np.ndarray,
    min_confidence: float | None,
) -> PseudoLabels:
    """The labels of both sources; none where both name a class and disagree.

    query: Q test products.
    hash_class: int16 [Q], the class of all labelled products that share an image; -1 for none.
    class_id: int16 [Q] and confidence: float32 [Q], of `predict_classes`.
    min_confidence: of `fit_min_confidence`; None labels nothing by confidence.
    """
    by_hash, by_confidence = hash_class >= 0, np.zeros(len(class_id), bool)
    if min_confidence is not None:
        by_confidence = (class_id >= 0) & (confidence >= min_confidence)
    disagree = by_hash & by_confidence & (hash_class != class_id)
    selected = (by_hash | by_confidence) & ~disagree
    return PseudoLabels(
        query.products[selected].astype(np.int32),
        np.where(by_hash, hash_class, class_id)[selected].astype(np.int16),
        np.where(by_hash, BY_HASH, BY_CONFIDENCE)[selected].astype(np.int8),
    )
