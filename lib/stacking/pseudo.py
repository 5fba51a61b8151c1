"""Labels for unlabelled products, good enough to learn from in a second round (C15).

Two sources. A picture that labelled products hold, all of one class, names the class. And the mean
of the first round's networks does, where it is sure enough: the least confidence is the one at
which such answers have the precision that is asked for on labelled products that these networks
never saw.

Whoever later scores products by a network of the second round must not meet their labels again by
this way round: a network that leaves a fold out may only be given labels that were found without
that fold. So all tables and networks here are those that have not seen the products on which the
threshold is chosen, and these are the ones that the second round leaves out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from lib.data.catalog import read_table, write_table
from lib.features import network
from lib.features.query import Query
from lib.inference.topk import TopK
from lib.stacking import calibration

HASH, SURE = 0, 1  # why a product has its label


@dataclass(frozen=True)
class PseudoLabels:
    """product int32 [n] ascending rows of the test catalogue, class int16 [n], why int8 [n]."""

    product: np.ndarray
    cls: np.ndarray
    why: np.ndarray

    def save(self, folder: Path) -> None:
        columns: dict[str, pa.Array | np.ndarray] = {
            "product": self.product.astype(np.int32),
            "class": self.cls.astype(np.int16),
            "why": self.why.astype(np.int8),
        }
        write_table(folder / "pseudo.arrow", columns)


def read(folder: Path) -> PseudoLabels:
    table = read_table(folder / "pseudo.arrow")
    return PseudoLabels(*(table[name].to_numpy() for name in ("product", "class", "why")))


def answers(
    query: Query, topks: Sequence[TopK], weights: Sequence[float], class_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each product the class that the networks' mean puts first, int16 [Q], and the mean of its
    probability over networks and pictures, float32 [Q]; -1 and 0 without pictures."""
    cls = network.best_classes(query, topks, weights, class_count, "arithmetic")
    slot = query.query_row_of_image()
    share = np.asarray(weights) / np.sum(weights)
    total = np.zeros(len(query.products))
    for topk, weight in zip(topks, share, strict=True):
        rows = np.arange(len(slot))
        probs = network.lookup_probs(topk, rows, cls[slot], class_count)
        total += weight * np.bincount(slot, probs, len(total))
    return cls, (total / np.maximum(query.image_count, 1)).astype(np.float32)


def least_confidence(
    answered: tuple[np.ndarray, np.ndarray], truth: np.ndarray, precision: float
) -> float | None:
    """The least confidence whose answers have `precision` on products of known class.

    answered: as `answers` returns it; truth int16 [Q]. None where none can be shown to.
    """
    cls, confidence = answered
    known = (cls >= 0) & (truth >= 0)
    return calibration.threshold(confidence[known], cls[known] == truth[known], precision)


def choose(
    query: Query,
    by_hash: np.ndarray,
    answered: tuple[np.ndarray, np.ndarray],
    least: float | None,
) -> PseudoLabels:
    """The labels of both sources; none where they are sure and disagree.

    by_hash int16 [Q]: the class that all holders of a product's pictures agree on, -1 for none.
    """
    cls, confidence = answered
    sure = (cls >= 0) & (confidence >= least) if least is not None else np.zeros(len(cls), bool)
    held = by_hash >= 0
    kept = (held | sure) & ~(held & sure & (by_hash != cls))
    return PseudoLabels(
        query.products[kept].astype(np.int32),
        np.where(held, by_hash, cls)[kept].astype(np.int16),
        np.where(held, HASH, SURE)[kept].astype(np.int8),
    )
