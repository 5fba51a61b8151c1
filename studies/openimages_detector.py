"""A single-shot detector beside the cascade: RetinaNet of torchvision on the same frozen backbone.

    python -m studies.openimages_detector --config configs/openimages.toml

Run stages 01 to 03 of the config first. The detector trains on the images of `studies.cascade`, all
but fold 0, for as many epochs as the model of all classes (`--epochs`), and finds boxes in those of
fold 0. Its backbone is the one of that model with the same weights, frozen, as there; a feature
pyramid on the maps of 16 and 32 pixels and two coarser ones, and the two heads, are trained. Boxes
of a class with a class below it that is also asked for count for both, as in the cascade.

The costs are forward passes on this machine, side by side in one run, with the choice of boxes for
the detector and without it for masks; the cascade's are the classifiers (all folds and views) and
each model on the images that it sees.

Source: Lin et al., "Focal Loss for Dense Object Detection" (2017), as torchvision has it.
"""

import argparse
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from lib.config.load import load
from lib.config.model import Model
from lib.data.catalog import read_splits
from lib.data.openimages.hierarchy import read_hierarchy
from lib.data.openimages.masks.targets import ChannelBoxes
from lib.detection.average_precision import Matched
from lib.detection.components import BoxTable
from lib.errors import UserError
from lib.evaluation.cascade import match_both
from lib.evaluation.detection import mean_ap_estimate, mean_ap_gain
from lib.evaluation.markdown import table
from lib.models import factory, workarounds
from lib.pipeline.experiment import Experiment
from lib.stages.cascade.networks import read_channel_boxes
from lib.stages.cascade.scores import measure_costs
from lib.stages.read import catalog_of_part
from lib.stages.scoring import open_images
from studies import tables
from studies.cascade import FOLD, HeldOut, make_variant, train
from studies.command import config_parser, print_report

BATCH_SIZE = 16
LR, WEIGHT_DECAY = 1e-3, 0.01
MAX_NORM = 1.0  # of the gradients
PYRAMID_STRIDE: Final = 16  # pixels; side of the cells of the largest map, as of the masks
ANCHORS = (2, 3, 4.24)  # sides of the square anchors of a level, in cells of its map
MIN_SCORE, MAX_IOU, MAX_BOXES = 0.05, 0.5, 100  # of found boxes, as torchvision has them
TIMED_IMAGES, TIMED_ROUNDS = 16, 5


@dataclass(frozen=True)
class Classes:
    """The classes that are asked for, int64 [C] rows of the hierarchy, and which are above which.

    above: bool [C, C]; [i, j]: class j is above class i.
    """

    rows: np.ndarray
    above: np.ndarray


class Pyramid(nn.Module):
    """Maps of a frozen network, and a feature pyramid with two levels more."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

        segmentation = replace(model.segmentation, stride=PYRAMID_STRIDE)
        model = replace(model, segmentation=segmentation)
        self.net = factory.create_segmenter(model, 1, model.weights)
        self.net.freeze_body(True)
        blank = torch.zeros(1, 3, *model.resize, dtype=torch.uint8)
        channels = [maps.shape[1] for maps in self.net.maps(self.net.normalise(blank))]
        self.out_channels, self.num_levels = segmentation.width, len(channels) + 2
        more = LastLevelP6P7(self.out_channels, self.out_channels)
        self.fpn = FeaturePyramidNetwork(channels, self.out_channels, more)

    def forward(self, images: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """Images float [n, 3, h, w] from 0 to 255 -> maps float [n, out_channels, h', w']."""
        with torch.no_grad():
            maps = self.net.maps(self.net.normalise(images))
        return self.fpn(OrderedDict((str(level), one) for level, one in enumerate(maps)))


def create_detector(model: Model, num_classes: int) -> nn.Module:
    """RetinaNet on the frozen backbone of a model that draws masks, at its size of images."""
    workarounds.import_torchvision()
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.retinanet import RetinaNet

    define_nms()
    pyramid = Pyramid(model)
    cells = [PYRAMID_STRIDE * 2**level for level in range(pyramid.num_levels)]
    sides = tuple(tuple(round(cell * scale) for scale in ANCHORS) for cell in cells)
    anchors = AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * len(sides))
    height, width = model.resize
    return RetinaNet(
        pyramid,
        num_classes,
        min_size=min(height, width),
        max_size=max(height, width),
        image_mean=[0.0] * 3,  # the backbone normalises
        image_std=[1.0] * 3,
        anchor_generator=anchors,
        score_thresh=MIN_SCORE,
        nms_thresh=MAX_IOU,
        detections_per_img=MAX_BOXES,
    )


def define_nms() -> None:
    """Give torchvision a function `nms` if its own is not compiled in."""
    from torchvision import extension
    from torchvision.ops import boxes

    if not extension._has_ops():
        boxes.nms = nms


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Rows int64 of the boxes that stay, by falling score; none overlaps a better one by more.

    boxes: float [n, 4], left, top, right, bottom. scores: float [n].
    """
    order = torch.argsort(scores, descending=True, stable=True)
    box, alive = boxes[order], torch.ones(len(order), dtype=torch.bool)
    area = (box[:, 2:] - box[:, :2]).clamp(min=0).prod(1)
    for row in range(len(box)):
        if alive[row]:
            low = torch.maximum(box[row, :2], box[row + 1 :, :2])
            high = torch.minimum(box[row, 2:], box[row + 1 :, 2:])
            shared = (high - low).clamp(min=0).prod(1)
            union = area[row] + area[row + 1 :] - shared
            alive[row + 1 :] &= shared <= iou_threshold * union
    return order[alive]


def own_boxes(boxes: ChannelBoxes, classes: Classes, image: int) -> dict[str, torch.Tensor]:
    """The target of torchvision for an image: boxes as fractions, float [k, 4], and labels.

    A box has an entry for its class and for those above it; the lowest is its label.
    """
    entry, _ = boxes.entries_of(np.array([image]))
    entry = entry[boxes.weight[entry] > 0]  # not of a class above
    row, channel = boxes.row[entry], boxes.channel[entry]
    lowest = [
        not classes.above[channel[row == own], label].any()
        for own, label in zip(row, channel, strict=True)
    ]
    entry = entry[np.array(lowest, bool)]
    box = boxes.box[entry][:, [0, 2, 1, 3]]
    has_area = (box[:, 2:] > box[:, :2]).all(1)
    return {
        "boxes": torch.from_numpy(box[has_area].astype(np.float32)),
        "labels": torch.from_numpy(boxes.channel[entry][has_area].astype(np.int64)),
    }


def train_detector(
    detector: nn.Module,
    batches: list[tuple[np.ndarray, list[dict[str, torch.Tensor]]]],
    epochs: int,
    seed: int,
) -> None:
    """Train the parts that are not frozen, in place, at a rate that falls as a cosine.

    batches: of images uint8 [b, 3, h, w] and targets with boxes as fractions.
    """
    rng = np.random.default_rng(seed)
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, epochs * len(batches))
    detector.train()
    order = [number for _ in range(epochs) for number in rng.permutation(len(batches)).tolist()]
    for number in tqdm(order, desc="detector", unit=" batches", mininterval=5):
        images, targets = _flip(*batches[number]) if rng.random() < 0.5 else batches[number]
        loss = sum(detector(list(_floats(images)), _in_pixels(targets, images)).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, MAX_NORM)
        optimizer.step()
        schedule.step()


def _flip(
    images: np.ndarray, targets: list[dict[str, torch.Tensor]]
) -> tuple[np.ndarray, list[dict[str, torch.Tensor]]]:
    """Images and targets, left to right."""
    mirror = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([-1.0, 1.0, -1.0, 1.0])
    flipped = [
        target | {"boxes": mirror[0] + mirror[1] * target["boxes"][:, [2, 1, 0, 3]]}
        for target in targets
    ]
    return images[..., ::-1], flipped


def _floats(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).float()


def _in_pixels(
    targets: list[dict[str, torch.Tensor]], images: np.ndarray
) -> list[dict[str, torch.Tensor]]:
    height, width = images.shape[2:]
    size = torch.tensor([width, height, width, height])
    return [target | {"boxes": target["boxes"] * size} for target in targets]


@torch.inference_mode()
def find_boxes(
    detector: nn.Module, batches: Iterator[tuple[np.ndarray, np.ndarray]], classes: Classes
) -> BoxTable:
    """The boxes of images, batches of (rows of the catalog, uint8 [b, 3, h, w]).

    A box of a class is also one of the classes above it, where it overlaps no better one.
    """
    detector.eval()
    image, class_row, score, box = [], [], [], []
    for rows, images in batches:
        height, width = images.shape[2:]
        for row, found in zip(rows.tolist(), detector(list(_floats(images))), strict=True):
            for label in range(len(classes.rows)):
                counts = found["labels"] == label
                counts |= torch.from_numpy(classes.above[:, label])[found["labels"]]
                own, scores = found["boxes"][counts], found["scores"][counts]
                kept = nms(own, scores, MAX_IOU)
                image += [row] * len(kept)
                class_row += [classes.rows[label]] * len(kept)
                score.append(scores[kept].numpy())
                fractions = own[kept].numpy() / np.array([width, height, width, height])
                box.append(fractions[:, [0, 2, 1, 3]])
    return BoxTable(
        np.array(image, np.int64),
        np.array(class_row, np.int16),
        np.concatenate(score).astype(np.float32),
        np.concatenate(box).astype(np.float32),
    )


@torch.inference_mode()
def measure_detector_ms(detector: nn.Module, images: np.ndarray) -> float:
    """Milliseconds for each image, uint8 [b, 3, h, w], of the network and the choice of boxes."""
    detector.eval()
    batch, times = list(_floats(images)), []
    for number in range(TIMED_ROUNDS + 1):
        start = time.perf_counter()
        detector(batch)
        if number:
            times.append(1000 * (time.perf_counter() - start) / len(images))
    return median(times)


def report(arguments: argparse.Namespace) -> str:
    """The table in Markdown. Raises UserError as `studies.cascade`, and without a model of all."""
    base = Experiment(load(arguments.config, arguments.set))
    variant, config = make_variant(arguments.config, arguments.set), base.config
    whole = [name for name in config.segmenters if not config.models[name].segmentation.clusters]
    if not whole:
        raise UserError(f"{arguments.config}: no model draws all classes; leave out its clusters")
    train(variant)
    held_out, settings = HeldOut(base, variant), config.cascade
    hierarchy, rows = read_hierarchy(base.path("extract/hierarchy")), held_out.truth.classes
    classes = Classes(rows, hierarchy.is_above[np.ix_(rows, rows)].T)
    model = config.models[whole[0]]
    epochs = arguments.epochs or model.head_only_epochs + model.epochs
    detector, timed = _train_without_fold(base, whole[0], classes, epochs)
    boxes = find_boxes(detector, _read_images(base, whole[0], held_out.images), classes)
    routes = held_out.routes(settings)
    costs, detector_ms = measure_costs(base), measure_detector_ms(detector, timed)
    cascade_ms = sum(costs[name] for name in config.classifiers)
    cascade_ms += sum(costs[name] * float(r.seen.any(1).mean()) for name, r in routes.items())
    alone, cascade = held_out.score_alone(whole[0], settings), held_out.score_cascade(settings)
    measured = {
        "detector": (detector_ms, match_both(boxes, held_out.truth)),
        f"masks of all classes ({whole[0]})": (
            costs[whole[0]],
            (alone.matched, alone.matched_all),
        ),
        "cascade": (cascade_ms, (cascade.matched, cascade.matched_all)),
    }
    title = f"{len(held_out.images):,} images, {len(rows)} classes, {epochs} epochs of the detector"
    return f"### {title}\n\n{_table(measured, len(held_out.images))}"


def _read_images(
    experiment: Experiment, name: str, images: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of labelled images at the size of a model, as of `ImageReader.batches`."""
    catalog, model = catalog_of_part(experiment, "train"), experiment.config.models[name]
    with open_images(experiment, model, catalog) as reader:
        yield from reader.batches(images, BATCH_SIZE)


def _train_without_fold(
    base: Experiment, name: str, classes: Classes, epochs: int
) -> tuple[nn.Module, np.ndarray]:
    """The detector, trained on the images of all folds but `FOLD`, and a batch to measure time."""
    splits, catalog = read_splits(base.path("extract/splits")), catalog_of_part(base, "train")
    products = splits.products("fit")
    products = products[splits.fold_of_product(base.config.split.n_folds)[products] != FOLD]
    boxes = read_channel_boxes(base, classes.rows)
    rows = np.random.default_rng(base.config.models[name].seed).permutation(
        catalog.images_of(products)
    )
    batches = [
        (images, [own_boxes(boxes, classes, row) for row in batch_rows.tolist()])
        for batch_rows, images in _read_images(base, name, rows)
    ]
    torch.manual_seed(base.config.models[name].seed)
    detector = create_detector(base.config.models[name], len(classes.rows))
    train_detector(detector, batches, epochs, base.config.models[name].seed)
    return detector, batches[0][0]


def _table(measured: dict[str, tuple[float, tuple[Matched, Matched]]], num_images: int) -> str:
    """Cost and mAP of each, and the gains over the detector."""
    (_, (_, first)), *_ = measured.items()
    lines = []
    for name, (cost, matched) in measured.items():
        cells = [str(mean_ap_estimate(one, num_images)) for one in matched]
        gains = [
            "" if one is other else tables.points(mean_ap_gain(one, other, num_images))
            for one, other in zip(matched, first, strict=True)
        ]
        lines.append([name, f"{cost:.2g}", *cells, *gains])
    return table(["", "ms an image", "mAP at 0.5", "absent = negative", *["gain"] * 2], lines)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    description = "A single-shot detector on the same frozen backbone, beside the cascade."
    parser = config_parser("openimages_detector", description, "configs/openimages.toml")
    parser.add_argument("--epochs", type=int, help="(default: those of the model of all classes)")
    return print_report(parser.parse_args(), report)


if __name__ == "__main__":
    sys.exit(main())
