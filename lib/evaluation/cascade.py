"""Scores of coarse masks and boxes: of one network, and of a cascade of several

iou, ap           where a class is annotated: it has a box in the image, or its absence was
                  verified. So does Open Images score.
iou_all, ap_all   an absent box is an absent class, in every image. Too low where the
                  annotation is not exhaustive.

cascade.json   the rows and gains as records
cascade.txt    the same as a table
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lib.data.openimages.masks.targets import MAX_LEVEL, ChannelBoxes, target_masks
from lib.detection.average_precision import Matched, match_boxes
from lib.detection.components import BoxTable
from lib.detection.overlap import Overlap, measure_overlap
from lib.detection.routing import Routes
from lib.evaluation.detection import (
    mean_ap_estimate,
    mean_ap_gain,
    mean_iou_estimate,
    mean_iou_gain,
)
from lib.evaluation.metrics import Estimate

CHUNK = 256  # images whose masks are in memory
MEASURES = ("iou", "iou_all", "ap", "ap_all")
TITLES = {
    "iou": "mean IoU",
    "iou_all": "IoU, absent = negative",
    "ap": "mAP at 0.5",
    "ap_all": "mAP, absent = negative",
}


class Drawn(NamedTuple):
    """Masks of one network for n images: uint8 [n, channels, h, w], and where they are used.

    channels: int64 [channels], row of each class in the hierarchy.
    """

    masks: np.ndarray
    channels: np.ndarray
    routes: Routes


class Truth(NamedTuple):
    """The true boxes of n images: int64 [n] ascending, rows of `boxes`, for some classes.

    classes: int64, of the channels of `boxes`, whose boxes all weigh 1. group: bool, of each entry.
    """

    images: np.ndarray
    classes: np.ndarray
    boxes: ChannelBoxes
    group: np.ndarray


@dataclass(frozen=True)
class Measured:
    """What a network or a cascade reaches: areas and matches, annotated and all."""

    overlap: Overlap
    overlap_all: Overlap
    matched: Matched
    matched_all: Matched


@dataclass(frozen=True)
class CascadeRow:
    """A line of the report. cost_ms: milliseconds for each image; classes: how many."""

    name: str
    classes: int
    cost_ms: float
    iou: Estimate
    iou_all: Estimate
    ap: Estimate
    ap_all: Estimate


def measure(drawn: Sequence[Drawn], found: BoxTable, truth: Truth, threshold: float) -> Measured:
    """Compare the masks of one or more networks, and their boxes, with the truth.

    found: `image` is a row of the catalog; only boxes of `truth.classes` count.
    threshold: least value of a cell that belongs to a mask.
    """
    return Measured(
        _overlap(drawn, truth, threshold, 0.0),
        _overlap(drawn, truth, threshold, 1.0),
        *match_both(found, truth),
    )


def match_both(found: BoxTable, truth: Truth) -> tuple[Matched, Matched]:
    """Match boxes with the truth: those of classes that are annotated in their image, and all.

    found: as of `measure`.
    """
    position = np.searchsorted(truth.images, found.image)
    found = BoxTable(position, found.class_row, found.score, found.box)
    found = found.take(np.isin(found.class_row, truth.classes))
    channel = np.searchsorted(truth.classes, found.class_row)
    annotated = truth.boxes.annotated[truth.images[found.image], channel]
    boxes, group = _true_boxes(truth)
    return (
        match_boxes(boxes, group, found.take(annotated), len(truth.images)),
        match_boxes(boxes, group, found, len(truth.images)),
    )


def make_row(name: str, measured: Measured, cost_ms: float, num_classes: int) -> CascadeRow:
    """The figures of a network or a cascade with their intervals."""
    num_images = len(measured.overlap.union)
    return CascadeRow(
        name,
        num_classes,
        cost_ms,
        mean_iou_estimate(measured.overlap),
        mean_iou_estimate(measured.overlap_all),
        mean_ap_estimate(measured.matched, num_images),
        mean_ap_estimate(measured.matched_all, num_images),
    )


def gains(measured: Measured, baseline: Measured) -> dict[str, Estimate]:
    """What the first has more than the baseline, of each measure."""
    num_images = len(measured.overlap.union)
    return {
        "iou": mean_iou_gain(measured.overlap, baseline.overlap),
        "iou_all": mean_iou_gain(measured.overlap_all, baseline.overlap_all),
        "ap": mean_ap_gain(measured.matched, baseline.matched, num_images),
        "ap_all": mean_ap_gain(measured.matched_all, baseline.matched_all, num_images),
    }


def write(folder: Path, rows: Sequence[CascadeRow], more: dict[str, dict[str, Estimate]]) -> None:
    """Write `cascade.json` and `cascade.txt`; more: gains by what they compare."""
    records: dict[str, Any] = {
        "rows": [asdict(row) | _figures(vars(row)) for row in rows],
        "gains": {name: _figures(values) for name, values in more.items()},
    }
    (folder / "cascade.json").write_text(json.dumps(records, indent=1) + "\n")
    (folder / "cascade.txt").write_text("\n".join(to_lines(rows, more)) + "\n")


def to_lines(rows: Sequence[CascadeRow], more: dict[str, dict[str, Estimate]]) -> list[str]:
    """The content of `cascade.txt`."""
    width = max(len(row.name) for row in rows)
    lines = [
        f"coarse masks and boxes on the locked part, {rows[0].iou.n:,} images (95 % interval)",
        "",
        f"  {'':<{width}}  classes  ms/image  " + "  ".join(f"{TITLES[m]:<24}" for m in MEASURES),
    ]
    for row in rows:
        cells = "  ".join(f"{getattr(row, measure)!s:<24}" for measure in MEASURES)
        lines.append(f"  {row.name:<{width}}  {row.classes:>7}  {row.cost_ms:>8.2f}  {cells}")
    for name, values in more.items():
        figures = ", ".join(
            f"{TITLES[m]} {100 * e.value:+.2f} ({100 * e.low:+.2f} .. {100 * e.high:+.2f})"
            for m, e in values.items()
        )
        lines += ["", f"{name}, in points: {figures}"]
    return [line.rstrip() for line in lines]


def _figures(values: Mapping[str, Any]) -> dict[str, Any]:
    """The estimates as records; null where no image has a class, which JSON has no number for."""
    return {
        key: {k: None if np.isnan(v) else v for k, v in asdict(values[key]).items()}
        for key in MEASURES
    }


def _overlap(
    drawn: Sequence[Drawn], truth: Truth, threshold: float, unannotated_weight: float
) -> Overlap:
    shape = max((d.masks.shape[2:] for d in drawn), key=np.prod)
    parts = []
    for start in range(0, len(truth.images), CHUNK):
        some = slice(start, start + CHUNK)
        images = truth.images[some]
        predicted = np.zeros((len(images), len(truth.classes), *shape), np.float32)
        for one in drawn:
            _add_masks(predicted, one, some, truth.classes)
        entry, _ = truth.boxes.entries_of(images)
        masks = target_masks(truth.boxes, images, truth.boxes.box[entry], shape, unannotated_weight)
        parts.append(measure_overlap(predicted, *masks, threshold))
    return Overlap(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("intersection", "union", "truth")
        )
    )


def _add_masks(predicted: np.ndarray, drawn: Drawn, some: slice, classes: np.ndarray) -> None:
    """Put the masks of some images where they are higher than what is there already; in place."""
    shape = predicted.shape[2:]
    masks = np.asarray(drawn.masks[some], np.float32) / MAX_LEVEL
    masks *= drawn.routes.seen[some][:, :, None, None]
    rows, columns = (
        (np.arange(size) * own) // size for size, own in zip(shape, masks.shape[2:], strict=True)
    )
    for channel, class_row in enumerate(drawn.channels.tolist()):
        for place in np.flatnonzero(classes == class_row):
            scaled = masks[:, channel][:, rows][:, :, columns]
            np.maximum(predicted[:, place], scaled, out=predicted[:, place])


def _true_boxes(truth: Truth) -> tuple[BoxTable, np.ndarray]:
    """The true boxes by position of their image, and which of them are groups."""
    entry, position = truth.boxes.entries_of(truth.images)
    own = truth.boxes.weight[entry] > 0  # not of a class above
    entry, position = entry[own], position[own]
    table = BoxTable(
        position,
        truth.classes[truth.boxes.channel[entry]].astype(np.int16),
        np.ones(len(entry), np.float32),
        truth.boxes.box[entry],
    )
    return table, truth.group[entry]
