"""Clusters of aspect ratios, found from the data, and the image sizes of their batches.

An image that is padded or cropped to another aspect ratio loses a fraction of the pixels: half of
them if one ratio is twice the other. The clusters are the exact optimum of this loss: of all ways
to cut the sorted ratios into `num_clusters` pieces and to give each a ratio, the one that loses the
fewest pixels over all images. There are fewer clusters if these already lose next to nothing, and
none holds only a few images, whose batches would repeat them.

Source of the idea: "Solving class imbalance on Google open images" (snakers4, 2018), which sorts
images into 2:1, 1:1 and 1:2.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lib.config.model import Aspect, Model

STEPS = 64  # steps of an octave to which ratios are rounded: 1.1 %
MAX_OCTAVES = 4  # ratios beyond 16:1 count as 16:1
MIN_FRACTION = 0.02  # of the images in each cluster
SMALL_LOSS = 0.01  # fraction of the pixels; clusters that lose less are not divided any more
SIDE_STEP = 8  # pixels; sides are multiples of it where those of `crop` are, as networks halve maps
MIN_SIDE, MAX_SIDE = 16, 4096  # pixels, as of `crop`


class BatchShape(NamedTuple):
    """Sizes (height, width) of the images of a batch: decoded to `resize`, and cut to `crop`."""

    resize: tuple[int, int]
    crop: tuple[int, int]


@dataclass(frozen=True)
class AspectClusters:
    """The aspect clusters of a catalog, from the tallest to the widest.

    borders: float64 [k - 1], ascending, between the clusters. aspects: float64 [k], ascending, the
    ratio of each. Both are log2(width / height).
    num_pixels: float64 [k], median number of pixels of the original images.
    """

    borders: np.ndarray
    aspects: np.ndarray
    num_pixels: np.ndarray

    def assign(self, sizes: np.ndarray) -> np.ndarray:
        """Cluster of each image, int8 [n], by its size int32 [n, 2] (height, width).

        A size that is not known (0, 0) counts as square.
        """
        return np.searchsorted(self.borders, log_aspects(sizes), "right").astype(np.int8)

    def shapes(self, model: Model) -> list[BatchShape]:
        """The sizes of the batches of each cluster, for the settings of a model.

        All have as many pixels as `crop`, or `aspect.scale` of the original's sides. `resize`
        keeps its relation to `crop`.
        """
        pixels = np.full(len(self.aspects), float(model.crop[0] * model.crop[1]))
        if model.aspect.scale:
            pixels = model.aspect.scale**2 * self.num_pixels
        enlargement = np.sqrt(np.prod(model.resize) / np.prod(model.crop))
        step = 1 if any(side % SIDE_STEP for side in model.crop) else SIDE_STEP
        shapes = []
        for aspect, count in zip(2.0**self.aspects, pixels, strict=True):
            crop = _side(np.sqrt(count / aspect), step), _side(np.sqrt(count * aspect), step)
            height, width = (max(side, round(side * float(enlargement))) for side in crop)
            shapes.append(BatchShape((height, width), crop))
        return shapes


def common_shapes(model: Model) -> list[BatchShape]:
    """The sizes of 1:2, 1:1 and 2:1, for a check before any image is seen; with `crop`'s pixels."""
    model = replace(model, aspect=replace(model.aspect, scale=0.0))
    return AspectClusters(np.empty(0), np.array([-1.0, 0.0, 1.0]), np.zeros(3)).shapes(model)


def _side(length: float, step: int) -> int:
    return int(np.clip(step * round(length / step), MIN_SIDE, MAX_SIDE))


def log_aspects(sizes: np.ndarray) -> np.ndarray:
    """log2(width / height) of sizes [n, 2], float64 [n]; rounded, and 0 for unknown sizes."""
    height, width = np.maximum(sizes, 1).astype(np.float64).T
    octaves = np.clip(np.log2(width / height), -MAX_OCTAVES, MAX_OCTAVES)
    return np.round(octaves * STEPS) / STEPS


def find_clusters(sizes: np.ndarray, settings: Aspect) -> AspectClusters:
    """The clusters that lose the fewest pixels, at most `settings.num_clusters`.

    sizes: int32 [n, 2], height and width of the images; (0, 0) if it is not known.
    """
    known = sizes[(sizes > 0).all(axis=1)]
    known = known if len(known) else np.ones((1, 2), np.int32)
    aspects = log_aspects(known)
    values, counts = np.unique(aspects, return_counts=True)
    starts, centers = best_partition(values, counts, settings.num_clusters)
    borders = (values[starts[1:] - 1] + values[starts[1:]]) / 2
    pixels = known.astype(np.float64).prod(axis=1)
    cluster = np.searchsorted(borders, aspects, "right")
    medians = [float(np.median(pixels[cluster == k])) for k in range(len(centers))]
    return AspectClusters(borders, values[centers], np.array(medians))


def best_partition(
    values: np.ndarray, counts: np.ndarray, num_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut ascending ratios into pieces that lose the fewest pixels.

    values: float64 [v], ascending, distinct log2 ratios. counts: int [v], images of each.
    Returns (index of the first value of each piece, index of the value that is its ratio), int64
    [k] each, k at most `num_clusters`. Dynamic programming over the last piece; exact.
    """
    loss, center = _losses_of_pieces(values, counts)
    least, last_starts, best = loss[0][None], [np.zeros(len(values), np.int64)], 0
    for number in range(1, min(num_clusters, len(values))):
        if least[best, -1] <= SMALL_LOSS * counts.sum():
            break
        # [start of the last piece, its end]: what the pieces before it lose, and the piece.
        total = np.vstack([np.full(len(values), np.inf), least[-1][:-1, None] + loss[1:]])
        last_starts.append(total.argmin(axis=0))
        least = np.vstack([least, total.min(axis=0)])
        if least[number, -1] < least[best, -1]:
            best = number
    starts, stop = [], len(values)
    for number in range(best, -1, -1):
        start = int(last_starts[number][stop - 1])
        starts.append((start, int(center[start, stop - 1])))
        stop = start
    first, ratio = np.array(starts[::-1], np.int64).T
    return first, ratio


def _losses_of_pieces(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(pixels that values[i:j + 1] lose with the best ratio, index of that ratio), [v, v] each.

    Infinite for j < i, and for pieces of fewer images than MIN_FRACTION.
    """
    fraction = 1 - 2.0 ** -np.abs(values[:, None] - values[None, :])
    before = np.vstack([np.zeros(len(values)), np.cumsum(counts[:, None] * fraction, axis=0)])
    num_before = np.append(0, np.cumsum(counts))
    loss = np.full((len(values), len(values)), np.inf)
    center = np.zeros(loss.shape, np.int64)
    for start in range(len(values)):
        of_ratio = before[start + 1 :] - before[start]  # [end, ratio]
        center[start, start:] = of_ratio.argmin(axis=1)
        enough = num_before[start + 1 :] - num_before[start] >= MIN_FRACTION * counts.sum()
        loss[start, start:] = np.where(enough, of_ratio.min(axis=1), np.inf)
    return loss, center
