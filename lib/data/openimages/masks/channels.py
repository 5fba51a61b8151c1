"""The channels of a network that draws masks: which classes it draws, and where one is annotated"""

from collections.abc import Sequence

import numpy as np

from lib.config.inputs.segmentation import Segmentation
from lib.data.openimages.boxes import Boxes, ImageLabels
from lib.data.openimages.hierarchy import Hierarchy
from lib.data.openimages.masks.targets import ChannelBoxes, box_weights, channel_boxes
from lib.errors import UserError


def choose_channels(
    hierarchy: Hierarchy,
    boxes: Boxes,
    settings: Segmentation,
    cluster_names: Sequence[str],
    key: str,
) -> np.ndarray:
    """The classes that a network draws: int64 [channels], ascending rows of the hierarchy.

    boxes: those that may decide, not of the locked part. cluster_names: by class_id. key: of the
    settings, for the error.

    A name in `settings.clusters` is a class, with those below it, or a cluster, with the classes
    that its boxes have. Of these, the classes with enough boxes are drawn; a box counts for its
    class and for those above it. Raises UserError for an unknown name, and if no class is left.
    """
    named = np.zeros(len(hierarchy), bool)
    for name in settings.clusters:
        if name in cluster_names and name not in hierarchy.names:
            named[boxes.class_row[boxes.cluster == list(cluster_names).index(name)]] = True
        else:
            row = hierarchy.find(name, f"{key}.segmentation.clusters")
            named |= hierarchy.is_above[row]
            named[row] = True
    if not settings.clusters:
        named[:] = True
    own = np.bincount(boxes.class_row, minlength=len(hierarchy))
    count = own + hierarchy.is_above @ own
    channels = np.flatnonzero(named & (count >= settings.min_boxes))
    if len(channels) == 0:
        most = int(count[named].max(initial=0))
        raise UserError(
            f"{key}.segmentation.min_boxes = {settings.min_boxes}: no class has as many boxes; the"
            f" most are {most}"
        )
    return channels


def clusters_of_channels(
    hierarchy: Hierarchy,
    boxes: Boxes,
    image_cluster: np.ndarray,
    channels: np.ndarray,
    num_clusters: int,
) -> np.ndarray:
    """In which clusters a channel's class is looked for: bool [channels, num_clusters].

    channels: int64 [channels]. image_cluster: int [images], of the labelled images.
    They are the clusters of the boxes of the class and of those below it; if there are none, those
    of the images that have such a box. A part is looked for where its whole is, too, and so are the
    classes below a part: a wheel where a car is.
    """
    belongs = np.zeros((len(hierarchy), num_clusters), bool)
    known = boxes.cluster >= 0
    belongs[boxes.class_row[known], boxes.cluster[known]] = True
    at_or_below = hierarchy.is_above | np.eye(len(hierarchy), dtype=bool)
    clusters = np.zeros((len(channels), num_clusters), bool)
    for number, channel in enumerate(channels.tolist()):
        clusters[number] = belongs[at_or_below[channel]].any(0)
        if not clusters[number].any():
            holds = at_or_below[channel][boxes.class_row]
            found = image_cluster[boxes.image[holds]]
            clusters[number, found[found >= 0]] = True
        for whole in hierarchy.part_of[at_or_below[:, channel]]:
            if whole >= 0:
                clusters[number] |= belongs[at_or_below[whole]].any(0)
    return clusters


def verified_absent(
    hierarchy: Hierarchy, labels: ImageLabels | None, num_images: int, channels: np.ndarray
) -> np.ndarray:
    """Whether people verified that a class is not in an image: bool [num_images, channels].

    Where a class is absent, so are those below it.
    """
    absent = np.zeros((num_images, len(channels)), bool)
    if labels is None:
        return absent
    no = labels.present == 0
    covers = hierarchy.is_above[:, channels] | (np.arange(len(hierarchy))[:, None] == channels)
    rows, columns = np.nonzero(covers[labels.class_row[no]])
    absent[labels.image[no][rows], columns] = True
    return absent


def boxes_of_channels(
    hierarchy: Hierarchy,
    boxes: Boxes,
    labels: ImageLabels | None,
    channels: np.ndarray,
    settings: Segmentation | None = None,
) -> ChannelBoxes:
    """The boxes of a side for the channels of a network.

    settings: the weights of its boxes; None: all weigh 1, as where masks are scored.
    """
    weight = np.ones(len(boxes), np.float32)
    if settings is not None:
        weight = box_weights(
            boxes.occluded,
            boxes.group,
            boxes.depiction,
            settings.occluded_weight,
            settings.group_weight,
            settings.depiction_weight,
        )
    return channel_boxes(
        boxes.num_images,
        boxes.image,
        boxes.class_row,
        np.stack([boxes.x_min, boxes.x_max, boxes.y_min, boxes.y_max], 1),
        weight,
        channels.tolist(),
        hierarchy.is_above,
        verified_absent(hierarchy, labels, boxes.num_images, channels),
    )


def main_channel(boxes: ChannelBoxes) -> np.ndarray:
    """The channel with the largest box of each image: int16 [n]; -1 for an image of none.

    Of equal boxes that of the lower channel counts.
    """
    rows = np.flatnonzero(boxes.weight > 0)
    image = np.repeat(np.arange(len(boxes.first) - 1), np.diff(boxes.first))[rows]
    box = boxes.box[rows]
    area = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])
    order = np.lexsort((-boxes.channel[rows], area, image))
    channel = np.full(len(boxes.first) - 1, -1, np.int16)
    last = np.flatnonzero(np.append(np.diff(image[order]) != 0, True)[: len(order)])
    channel[image[order[last]]] = boxes.channel[rows[order[last]]]
    return channel
