"""Overlap of coarse masks: areas of intersection and union, image by image and class by class."""

from dataclasses import dataclass
from typing import Self

import numpy as np

TRUE_COVERAGE = 0.5  # of a cell that belongs to the true mask


@dataclass(frozen=True)
class Overlap:
    """Areas as fractions of the image, float64 [n, classes] each.

    The IoU of a class is the sum of its intersections over the sum of its unions: small objects and
    images without the class then count by their area. mean IoU is the mean over the classes.
    truth: area of the true mask. A class that is true nowhere has no IoU.
    """

    intersection: np.ndarray
    union: np.ndarray
    truth: np.ndarray

    @classmethod
    def zeros(cls, num_images: int, num_classes: int) -> Self:
        """No areas yet."""
        shape = num_images, num_classes
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape))

    def iou_by_class(self, weight: np.ndarray | None = None) -> np.ndarray:
        """float64 [classes], or [resamples, classes] for weights [resamples, n]; NaN for none."""
        weight = np.ones((1, len(self.union))) if weight is None else weight
        intersection, union, truth = (
            weight @ area for area in (self.intersection, self.union, self.truth)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(truth > 0, intersection / union, np.nan)
        return iou[0] if len(weight) == 1 else iou


def measure_overlap(
    predicted: np.ndarray, target: np.ndarray, weight: np.ndarray, threshold: float
) -> Overlap:
    """Areas of masks float [n, classes, h, w] each.

    predicted: probabilities; cells of at least `threshold` are the predicted mask. target: covered
    fractions; cells of at least half are the true mask. weight: cells of weight 0 do not count.
    """
    counts = weight > 0
    found, true = (predicted >= threshold) & counts, (target >= TRUE_COVERAGE) & counts
    cells = predicted.shape[2] * predicted.shape[3]
    areas = (found & true, found | true, true)
    return Overlap(*(area.sum((2, 3)) / cells for area in areas))


def mean_iou(iou_by_class: np.ndarray) -> np.ndarray:
    """Mean over the classes, the last axis; NaN where no class has an IoU."""
    known = ~np.isnan(iou_by_class)
    total = np.where(known, iou_by_class, 0).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / known.sum(-1)
