"""Average precision of boxes at IoU 0.5, matched by pycocotools

pycocotools says which box is a hit. The average precision is then a function of hits and scores
alone, so an interval needs no second matching: an image that a resample draws twice counts twice.
Boxes around groups are crowds: a box within one is neither hit nor miss.
"""

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.detection.components import BoxTable

IOU = 0.5
MAX_BOXES = 100  # of an image and class that are matched, as in COCO
RECALLS = np.linspace(0, 1, 101)  # as in COCO


@dataclass(frozen=True)
class Matches:
    """The matched boxes of one class, by falling score.

    image: int64 [m], position of the image among the n images. hit: bool [m].
    num_true: int64 [n], true boxes of each image, without groups.
    """

    image: np.ndarray
    hit: np.ndarray
    num_true: np.ndarray


@dataclass(frozen=True)
class Matched:
    """Matches by class (row of the hierarchy), and the mAP that pycocotools itself computes.

    mean_ap: NaN if no class has a true box.
    """

    by_class: dict[int, Matches]
    mean_ap: float


def match_boxes(truth: BoxTable, is_group: np.ndarray, found: BoxTable, num_images: int) -> Matched:
    """Match found boxes with true ones of their image and class.

    truth, found: `image` is a position below num_images. is_group: bool [true boxes].
    """
    from pycocotools.cocoeval import COCOeval

    classes = np.unique(truth.class_row).tolist()
    if not classes:
        return Matched({}, float("nan"))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _dataset(truth, classes, num_images, is_group),
            _dataset(found, classes, num_images, np.zeros(len(found), bool)),
            "bbox",
        )
        params: Any = evaluation.params
        params.iouThrs, params.areaRng, params.areaRngLbl = [IOU], [[0, 1e10]], ["all"]
        params.maxDets = [MAX_BOXES]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 0]  # [recalls, classes]
    known = precision[:, precision.max(0) > -1]
    by_class = {}
    for number, class_row in enumerate(classes):
        images = evaluation.evalImgs[number * num_images : (number + 1) * num_images]
        by_class[class_row] = _matches(images, num_images)
    return Matched(by_class, float(known.mean()) if known.size else float("nan"))


def average_precision(matches: Matches, weight: np.ndarray) -> np.ndarray:
    """Average precision of a class in each resample, float64 [resamples]; NaN without true boxes.

    weight: float [resamples, n], how often each image counts.
    """
    num_true = weight @ matches.num_true
    drawn = weight[:, matches.image]
    hits, misses = (np.cumsum(drawn * kind, 1) for kind in (matches.hit, ~matches.hit))
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits / num_true[:, None]
        precision = hits / (hits + misses)
    # A box of no drawn image changes neither; before the first drawn one precision is 0 / 0.
    precision = np.where(np.isnan(precision), 0, precision)
    precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    padded = np.hstack([precision, np.zeros((len(weight), 1))])
    reached = np.stack([np.searchsorted(row, RECALLS) for row in recall])
    mean = np.take_along_axis(padded, reached, 1).mean(1)
    return np.where(num_true > 0, mean, np.nan)


def _dataset(boxes: BoxTable, classes: list[int], num_images: int, crowd: np.ndarray) -> Any:
    """A dataset of pycocotools in memory; ids of images are positions + 1 (0 is none)."""
    from pycocotools.coco import COCO

    width = boxes.box[:, 1] - boxes.box[:, 0]
    height = boxes.box[:, 3] - boxes.box[:, 2]
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": i + 1} for i in range(num_images)],
        "categories": [{"id": class_row} for class_row in classes],
        "annotations": [
            {
                "id": i + 1,
                "image_id": int(boxes.image[i]) + 1,
                "category_id": int(boxes.class_row[i]),
                "bbox": [float(boxes.box[i, 0]), float(boxes.box[i, 2]), *size],
                "area": size[0] * size[1],
                "iscrowd": int(crowd[i]),
                "score": float(boxes.score[i]),
            }
            for i, size in enumerate(zip(width.tolist(), height.tolist(), strict=True))
        ],
    }
    dataset.createIndex()
    return dataset


def _matches(images: list[Any], num_images: int) -> Matches:
    """Matches of one class; images: what pycocotools found for each image, None for nothing."""
    position, score, hit = [], [], []
    num_true = np.zeros(num_images, np.int64)
    for number, image in enumerate(images):
        if image is None:
            continue
        num_true[number] = int((np.asarray(image["gtIgnore"]) == 0).sum())
        counts = ~np.asarray(image["dtIgnore"][0], bool)
        score += np.asarray(image["dtScores"])[counts].tolist()
        hit += (np.asarray(image["dtMatches"][0])[counts] > 0).tolist()
        position += [number] * int(counts.sum())
    order = np.argsort(-np.array(score), kind="mergesort")
    return Matches(np.array(position, np.int64)[order], np.array(hit, bool)[order], num_true)
