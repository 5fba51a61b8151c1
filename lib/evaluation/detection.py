"""Mean IoU of coarse masks and mAP of boxes at IoU 0.5, with bootstrap intervals over images."""

from collections.abc import Iterator

import numpy as np

from lib.detection.average_precision import Matched, average_precision
from lib.detection.overlap import Overlap, mean_iou
from lib.evaluation.metrics import LEVEL, Estimate

RESAMPLES = 1000
CHUNK = 20  # resamples at a time: their weights are a matrix


def mean_iou_estimate(overlap: Overlap, seed: int = 0) -> Estimate:
    """Mean over the classes of the IoU of their masks. Images are resampled."""
    value = float(mean_iou(overlap.iou_by_class()))
    draws = [mean_iou(overlap.iou_by_class(weight)) for weight in _weights(overlap, seed)]
    return _estimate(value, draws, len(overlap.union))


def mean_iou_gain(overlap: Overlap, baseline: Overlap, seed: int = 0) -> Estimate:
    """Mean IoU less that of a baseline on the same images, which are resampled together."""
    value = float(mean_iou(overlap.iou_by_class()) - mean_iou(baseline.iou_by_class()))
    draws = [
        mean_iou(overlap.iou_by_class(weight)) - mean_iou(baseline.iou_by_class(weight))
        for weight in _weights(overlap, seed)
    ]
    return _estimate(value, draws, len(overlap.union))


def mean_ap_estimate(matched: Matched, num_images: int, seed: int = 0) -> Estimate:
    """mAP at IoU 0.5; the value is that of pycocotools. Images are resampled."""
    draws = [_mean_ap(matched, weight) for weight in _draw_weights(num_images, seed)]
    return _estimate(matched.mean_ap, draws, num_images)


def mean_ap_gain(matched: Matched, baseline: Matched, num_images: int, seed: int = 0) -> Estimate:
    """mAP less that of a baseline on the same images, which are resampled together."""
    draws = [
        _mean_ap(matched, weight) - _mean_ap(baseline, weight)
        for weight in _draw_weights(num_images, seed)
    ]
    return _estimate(matched.mean_ap - baseline.mean_ap, draws, num_images)


def _mean_ap(matched: Matched, weight: np.ndarray) -> np.ndarray:
    """Mean over the classes with true boxes in a resample, float64 [resamples]."""
    by_class = [average_precision(matches, weight) for matches in matched.by_class.values()]
    return mean_iou(np.stack(by_class, 1)) if by_class else np.full(len(weight), np.nan)


def _weights(overlap: Overlap, seed: int) -> Iterator[np.ndarray]:
    return _draw_weights(len(overlap.union), seed)


def _draw_weights(num_images: int, seed: int) -> Iterator[np.ndarray]:
    """How often each resample draws each image: float64 [CHUNK, n] of each chunk."""
    rng = np.random.default_rng(seed)
    share = np.full(num_images, 1 / max(num_images, 1))
    for _ in range(RESAMPLES // CHUNK):
        yield rng.multinomial(num_images, share, CHUNK).astype(np.float64)


def _estimate(value: float, draws: list[np.ndarray], n: int) -> Estimate:
    known = np.concatenate(draws)
    known = known[~np.isnan(known)]
    if len(known) == 0:  # no image has any class
        return Estimate(value, float("nan"), float("nan"), n)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), n)
