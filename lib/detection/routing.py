"""The decision of the cascade: which classes to look for, by the most probable clusters"""

from typing import NamedTuple

import numpy as np

from lib.detection.components import BoxTable
from lib.inference.topk import TopK


class Routes(NamedTuple):
    """Of n images and the channels of one network.

    image: int64 [n], rows of the catalog, ascending. seen: bool [n, channels], whether the channel
    is used. prob: float32 [n, channels], probability of the clusters that the class belongs to.
    """

    image: np.ndarray
    seen: np.ndarray
    prob: np.ndarray


def route(topk: TopK, clusters: np.ndarray, num_routed: int, min_prob: float) -> Routes:
    """Use a channel where one of the image's `num_routed` most probable clusters has its class.

    topk: of the classifiers. clusters: bool [channels, num_clusters], to which each class belongs.
    min_prob: of the second and further clusters; the most probable one is always among them.
    """
    classes, probs = topk.classes, topk.probs
    chosen = (np.arange(classes.shape[1]) < num_routed) & (probs >= min_prob)
    chosen[:, 0] = True
    seen = np.zeros((len(classes), len(clusters)), bool)
    prob = np.zeros((len(classes), len(clusters)), np.float32)
    for rank in range(classes.shape[1]):
        belongs = clusters[:, classes[:, rank]].T
        seen |= belongs & chosen[:, rank, None]
        prob += belongs * probs[:, rank, None]
    return Routes(topk.image, seen, prob)


def route_everywhere(image: np.ndarray, num_channels: int) -> Routes:
    """Use all channels in all images: what a network does without a cascade."""
    shape = len(image), num_channels
    return Routes(image, np.ones(shape, bool), np.ones(shape, np.float32))


def apply_routes(boxes: BoxTable, channels: np.ndarray, routes: Routes) -> BoxTable:
    """The boxes of channels that are used, their scores times the probability of the clusters.

    channels: int64 [channels] ascending, class of each.
    """
    image = np.searchsorted(routes.image, boxes.image)
    channel = np.searchsorted(channels, boxes.class_row)
    score = boxes.score * routes.prob[image, channel]
    weighted = BoxTable(boxes.image, boxes.class_row, score.astype(np.float32), boxes.box)
    return weighted.take(routes.seen[image, channel]).sort()


def best_boxes(boxes: BoxTable, max_boxes: int) -> BoxTable:
    """At most `max_boxes` of each image, those of highest score; boxes: sorted."""
    starts = np.flatnonzero(np.diff(boxes.image, prepend=-1))
    size = np.diff(np.append(starts, len(boxes)))
    return boxes.take(np.arange(len(boxes)) - np.repeat(starts, size) < max_boxes)
