"""Coarse masks of boxes: how much of each cell of a grid the boxes of a class cover, and its weight

A network that segments has channels, and each channel is a class of the hierarchy. A box belongs
to the channel of its class and to those of all classes above it (a car is a vehicle). For the
channels below its class it says nothing: a box of a vehicle may hold a car or a bus. A class with
no box in an image may still be in it where the annotation is not exhaustive.

So every cell of every channel has a target, the covered fraction, and a weight in the loss:

    under a box of the channel    the weight of the box: 1, or lower if occluded, group, depiction
    under a box of a class above  0
    elsewhere                     1 if the channel is annotated in the image, else a set weight
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_LEVEL = 255  # masks are stored as uint8: a fraction or a probability times this
PRESENT = 1  # a flag of a box is 1, 0, or -1 for unknown


@dataclass(frozen=True)
class ChannelBoxes:
    """The boxes of n images, once for every channel that they say something of.

    first: int64 [n + 1]; image i has the entries from first[i] up to first[i + 1].
    row: int64 [m], row of the box in its table. channel: int16 [m].
    box: float32 [m, 4], x_min, x_max, y_min, y_max as fractions of the image.
    weight: float32 [m], weight in the loss of the cells under it; 0: of a class above the channel.
    annotated: bool [n, channels], whether an absent box means an absent class.
    """

    first: np.ndarray
    row: np.ndarray
    channel: np.ndarray
    box: np.ndarray
    weight: np.ndarray
    annotated: np.ndarray

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return self.annotated.shape[1]

    def entries_of(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Entries int64 [k] of images int64 [b], and the position of their image, int64 [k]."""
        counts = self.first[images + 1] - self.first[images]
        position = np.repeat(np.arange(len(images)), counts)
        offset = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.first[images][position] + offset, position


def box_weights(
    occluded: np.ndarray,
    group: np.ndarray,
    depiction: np.ndarray,
    occluded_weight: float,
    group_weight: float,
    depiction_weight: float,
) -> np.ndarray:
    """Weight of each box in the loss, float32 [m]; flags int8 [m].

    The weights of the flags that are 1 are multiplied. An unknown flag (-1) weighs as 0 does, 1.
    """
    weight = np.ones(len(occluded), np.float32)
    flags = ((occluded, occluded_weight), (group, group_weight), (depiction, depiction_weight))
    for flag, factor in flags:
        weight[flag == PRESENT] *= factor
    return weight


def channel_boxes(
    num_images: int,
    image: np.ndarray,
    class_row: np.ndarray,
    box: np.ndarray,
    weight: np.ndarray,
    channels: Sequence[int],
    is_above: np.ndarray,
    annotated: np.ndarray | None = None,
) -> ChannelBoxes:
    """The boxes of all images for the channels of one network.

    image: int [m] ascending. class_row: int [m]. box: float [m, 4]. weight: float [m].
    channels: class of each channel. is_above: bool [classes, classes], as that of a `Hierarchy`.
    annotated: bool [n, channels], classes whose absence was verified; those with a box are added.
    """
    classes = np.asarray(channels, np.int64)
    belongs = is_above[classes].T | (np.arange(len(is_above))[:, None] == classes)
    pair_class, pair_channel = np.nonzero(belongs | is_above[:, classes])
    counts = np.bincount(pair_class, minlength=len(is_above))
    first = np.cumsum(counts) - counts
    entry = np.repeat(np.arange(len(class_row)), counts[class_row])
    place = np.arange(len(entry)) - np.repeat(
        np.cumsum(counts[class_row]) - counts[class_row], counts[class_row]
    )
    channel = pair_channel[first[class_row[entry]] + place]
    positive = belongs[class_row[entry], channel]
    known = np.zeros((num_images, len(classes)), bool) if annotated is None else annotated.copy()
    known[image[entry[positive]], channel[positive]] = True
    return ChannelBoxes(
        np.searchsorted(image[entry], np.arange(num_images + 1)).astype(np.int64),
        entry,
        channel.astype(np.int16),
        box[entry].astype(np.float32),
        np.where(positive, weight[entry], 0).astype(np.float32),
        known,
    )


def cell_coverage(box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Fraction of each cell of a grid (height, width) that each box covers, float32 [m, h, w].

    box: float [m, 4], x_min, x_max, y_min, y_max as fractions of the grid; beyond it is cut off.
    """
    height, width = shape
    across = _overlap(box[:, 0] * width, box[:, 1] * width, width)
    down = _overlap(box[:, 2] * height, box[:, 3] * height, height)
    return (down[:, :, None] * across[:, None, :]).astype(np.float32)


def _overlap(low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    """Length of [low, high] within each of `count` unit intervals, float64 [m, count]."""
    start = np.arange(count)
    ends = np.minimum(high[:, None], start + 1.0) - np.maximum(low[:, None], start)
    return np.clip(ends, 0, 1)


def target_masks(
    boxes: ChannelBoxes,
    images: np.ndarray,
    box: np.ndarray,
    shape: tuple[int, int],
    unannotated_weight: float,
    hard: bool = False,
    core: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and weights of a batch of images: float32 [b, planes, h, w] each.

    images: int64 [b]. box: float [k, 4], the boxes of `boxes.entries_of(images)` where they lie
        now, as fractions of the grid: augmentation moves them with the image.
    core: if above 0, the planes are the masks of all channels, and then the cores of all channels:
        boxes that are as much smaller, around the same middle. Else the masks alone.
    unannotated_weight: of cells where a class is not annotated. hard: targets are 0 or 1, by half
        of a cell.

    Where boxes of a class overlap within a cell, the largest coverage counts; the union may be
    larger. The weight of a cell is that of the heaviest box that touches it.
    """
    entry, position = boxes.entries_of(images)
    count, channels = len(images), boxes.num_channels
    coverage = cell_coverage(box, shape)
    cell = position * channels + boxes.channel[entry]
    positive = boxes.weight[entry] > 0
    target = _max_by(cell[positive], coverage[positive], count * channels)
    touched = (coverage > 0).astype(np.float32)
    heaviest = _max_by(
        cell[positive], (touched * boxes.weight[entry, None, None])[positive], count * channels
    )
    unknown = _max_by(cell[~positive], touched[~positive], count * channels) > 0
    base = np.where(boxes.annotated[images].ravel(), 1.0, unannotated_weight)
    weight = np.where(unknown, 0, base[:, None, None]).astype(np.float32)
    weight = np.where(heaviest > 0, heaviest, weight)
    final = (count, channels, *shape)
    target, weight = target.reshape(final), weight.reshape(final)
    if core:
        inner = cell_coverage(shrink_boxes(box, core), shape)
        cores = _max_by(cell[positive], inner[positive], count * channels).reshape(final)
        target, weight = np.concatenate([target, cores], 1), np.concatenate([weight, weight], 1)
    if hard:
        target = (target >= 0.5).astype(np.float32)
    return target, weight


def shrink_boxes(box: np.ndarray, factor: float) -> np.ndarray:
    """Boxes [m, 4] with sides times `factor`, around the same middle; above 1 they grow."""
    low, high = box[:, ::2], box[:, 1::2]
    middle, half = (low + high) / 2, factor * (high - low) / 2
    return np.stack([middle - half, middle + half], 2).reshape(-1, 4)


def _max_by(group: np.ndarray, values: np.ndarray, num_groups: int) -> np.ndarray:
    """Largest of values float32 [k, h, w] in each group, [num_groups, h, w]; 0 where none is."""
    largest = np.zeros((num_groups, *values.shape[1:]), np.float32)
    if len(group):
        order = np.argsort(group, kind="stable")
        groups, starts = np.unique(group[order], return_index=True)
        largest[groups] = np.maximum.reduceat(values[order], starts, axis=0)
    return largest
