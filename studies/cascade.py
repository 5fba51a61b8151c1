"""Settings of the cascade, chosen out-of-fold: threshold and routes, and one model for comparison.

    python -m studies.cascade --config configs/openimages.toml
    python -m studies.cascade --config configs/openimages.toml --set train.segmentation.width=64

Run stages 01 to 03 of the config first. Every model with `kind = "segmentation"` is trained once
more, without fold 0, and draws the images of fold 0. The routes of these images come from the
out-of-fold predictions of the classifiers. So no figure here is of an image that trained anything,
and the part for the final figures stays closed. A trained network is kept, so the study can be
repeated.

Settings are compared one after the other: the threshold with the routes of the config, then the
routes with the threshold that has the highest mAP where classes are annotated.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.config.load import load
from lib.config.schema import Cascade
from lib.data.catalog import read_splits
from lib.detection.components import BoxTable, Cores, boxes_of_masks, concat_boxes
from lib.detection.routing import (
    Routes,
    apply_routes,
    best_boxes,
    route,
    route_everywhere,
)
from lib.errors import UserError
from lib.evaluation.cascade import Drawn, Measured, Truth, measure
from lib.evaluation.detection import (
    mean_ap_estimate,
    mean_ap_gain,
    mean_iou_estimate,
    mean_iou_gain,
)
from lib.evaluation.markdown import table
from lib.evaluation.metrics import Estimate
from lib.features.network import weighted_mean
from lib.inference.masks import Masks, read_masks, write_masks
from lib.inference.topk import TopK
from lib.pipeline.executor import ensure_all
from lib.pipeline.experiment import Experiment
from lib.pipeline.manifest import read_manifest
from lib.stages.cascade.boxes import cascade_models
from lib.stages.cascade.networks import read_channels, read_clusters
from lib.stages.cascade.scores import read_truth
from lib.stages.order import declare_all
from lib.stages.read import catalog_of_part, num_classes, read_topk_of_all
from lib.stages.scoring import checkpoint_path, open_images
from studies import tables
from studies.command import config_parser, print_report

FOLD = 0
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)
ROUTES = ((1, 0.0), (2, 0.02), (2, 0.05), (2, 0.1), (2, 0.2), (3, 0.02), (3, 0.05), (5, 0.02))


class HeldOut:
    """The images of fold 0: masks by networks that did not train on them, routes, true boxes."""

    def __init__(self, base: Experiment, variant: Experiment) -> None:
        self.variant = variant
        splits, catalog = read_splits(base.path("extract/splits")), catalog_of_part(base, "train")
        products = splits.products("fit")
        num_folds = base.config.split.n_folds
        products = products[splits.fold_of_product(num_folds)[products] == FOLD]
        self.images = catalog.images_of(products)
        topks = [_select(topk, self.images) for topk in read_topk_of_all(base, "fit")]
        weights = list(base.config.model_weights.values())
        self.topk = weighted_mean(topks, weights, num_classes(base))
        self.names = cascade_models(variant)
        self.masks = {name: self._draw(name) for name in variant.config.segmenters}
        self.clusters = {n: read_clusters(variant, self.masks[n].channels) for n in self.names}
        whole = [drawn.channels for name, drawn in self.masks.items() if name not in self.names]
        classes = np.unique(np.concatenate([self.masks[name].channels for name in self.names]))
        for channels in whole:
            classes = classes[np.isin(classes, channels)]
        self.truth: Truth = read_truth(variant, classes, self.images)

    def _draw(self, name: str) -> Masks:
        manifest = read_manifest(self.variant.path(f"cnn/{name}/fold{FOLD}"))
        assert manifest is not None  # `train` was called
        folder = self.variant.folder / "masks" / f"{name}-{manifest['digest'][:12]}"
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial")
            partial.mkdir(parents=True, exist_ok=True)
            self._write_masks(name, partial)
            partial.rename(folder)
        return read_masks(folder)

    def _write_masks(self, name: str, folder: Path) -> None:
        config = self.variant.config
        catalog, model = catalog_of_part(self.variant, "train"), config.models[name]
        with open_images(self.variant, model, catalog) as reader:
            write_masks(
                folder,
                model,
                [checkpoint_path(self.variant, name, f"fold{FOLD}")],
                read_channels(self.variant, name),
                reader,
                self.images,
                config.run,
                config.predict.shard_size,
            )

    def routes(self, settings: Cascade) -> dict[str, Routes]:
        """Which classes each model of the cascade looks for in each image."""
        return {
            name: route(self.topk, self.clusters[name], settings.top_k, settings.min_prob)
            for name in self.names
        }

    def find_boxes(self, routes: dict[str, Routes], settings: Cascade) -> BoxTable:
        """The boxes of the models that see an image."""
        boxes = [
            apply_routes(self._boxes(name, settings), self.masks[name].channels, seen)
            for name, seen in routes.items()
        ]
        return best_boxes(concat_boxes(boxes), settings.max_boxes)

    def score_cascade(self, settings: Cascade) -> Measured:
        """The cascade with these settings."""
        return self._score(self.routes(settings), settings)

    def score_alone(self, name: str, settings: Cascade) -> Measured:
        """One model that sees every image."""
        channels = self.masks[name].channels
        return self._score({name: route_everywhere(self.images, len(channels))}, settings)

    def _score(self, routes: dict[str, Routes], settings: Cascade) -> Measured:
        drawn = [
            Drawn(self.masks[name].masks, self.masks[name].channels, seen)
            for name, seen in routes.items()
        ]
        found = self.find_boxes(routes, settings)
        return measure(drawn, found, self.truth, settings.threshold)

    def _boxes(self, name: str, settings: Cascade) -> BoxTable:
        masks, core = self.masks[name], self.variant.config.models[name].segmentation.core
        return boxes_of_masks(
            np.asarray(masks.masks),
            masks.image,
            masks.channels,
            settings.threshold,
            settings.min_cells,
            None if masks.cores is None else Cores(np.asarray(masks.cores), core),
        )


def make_variant(path: str, overrides: Sequence[str]) -> Experiment:
    """The experiment whose models with `kind = "segmentation"` train without fold 0.

    It shares stage 01 with the experiment of the config. Raises UserError if that has no such
    model, or no out-of-fold predictions of all classifiers.
    """
    base = Experiment(load(path, overrides))
    if not base.config.segmenters:
        raise UserError(f'{path}: no model has kind = "segmentation"')
    if base.config.stack_part != "fit":
        raise UserError(f"{path}: the routes need classifiers that all have folds; set n_folds")
    for name in base.config.classifiers:
        folder = base.path(f"predictions/{name}/fit")
        if not folder.is_dir():
            raise UserError(f"{folder} is missing; run 03_predict_tta.py first")
    num_folds = base.config.split.n_folds
    folds = [f"models.{name}.n_folds={num_folds}" for name in base.config.segmenters]
    place = [f"work={base.folder}_cascade", f"name=fold{FOLD}"]
    config = load(path, [*overrides, *folds, 'data.test=""', "scenes.num_test_images=0", *place])
    variant = Experiment(config)
    tables.link_stages(base, variant, ["extract"])
    return variant


def train(variant: Experiment) -> None:
    """Train the network without fold 0 of every model that draws masks, where it is missing."""
    wanted = [variant.path(f"cnn/{name}/fold{FOLD}") for name in variant.config.segmenters]
    artifacts = [a for a in declare_all(variant)["train"] if a.path in wanted]
    ensure_all("train", artifacts, variant.config.run, rebuild=True)


def report(arguments: argparse.Namespace) -> str:
    """All tables in Markdown."""
    base = Experiment(load(arguments.config, arguments.set))
    variant = make_variant(arguments.config, arguments.set)
    train(variant)
    held_out, settings = HeldOut(base, variant), base.config.cascade
    thresholds = {f"threshold {value}": replace(settings, threshold=value) for value in THRESHOLDS}
    by_threshold = {name: held_out.score_cascade(s) for name, s in thresholds.items()}
    best = max(by_threshold, key=lambda name: by_threshold[name].matched.mean_ap)
    settings = thresholds[best]
    routes = {
        f"top_k {top_k}, min_prob {min_prob}": replace(settings, top_k=top_k, min_prob=min_prob)
        for top_k, min_prob in ROUTES
    }
    by_route = {name: held_out.score_cascade(s) for name, s in routes.items()}
    alone = {
        f"{name} alone": held_out.score_alone(name, settings)
        for name in variant.config.segmenters
        if name not in held_out.names
    }
    current = f"top_k {settings.top_k}, min_prob {settings.min_prob}"
    first = {current: held_out.score_cascade(settings)}
    title = f"{len(held_out.images):,} images, {len(held_out.truth.classes)} classes"
    return "\n\n".join(
        [
            f"### Thresholds: {title}\n\n{_table(by_threshold)}",
            f"### Routes: {title}, {best}\n\n{_table(first | by_route | alone)}",
        ]
    )


def _table(measured: dict[str, Measured]) -> str:
    """Scores of each row, and gains over the first."""
    (_, first), *_ = measured.items()
    lines = []
    for name, row in measured.items():
        n = len(row.overlap.union)
        cells = [
            _share(mean_iou_estimate(row.overlap)),
            _share(mean_iou_estimate(row.overlap_all)),
            _share(mean_ap_estimate(row.matched, n)),
            _share(mean_ap_estimate(row.matched_all, n)),
        ]
        gains = ["", ""]
        if row is not first:
            gains = [
                tables.points(mean_iou_gain(row.overlap, first.overlap)),
                tables.points(mean_ap_gain(row.matched, first.matched, n)),
            ]
        lines.append([name, *cells, *gains])
    header = ["", "mean IoU", "absent = negative", "mAP at 0.5", "absent = negative"]
    return table([*header, "gain of IoU", "gain of mAP"], lines)


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f}..{estimate.high:.3f})"


def _select(topk: TopK, images: np.ndarray) -> TopK:
    rows = np.searchsorted(topk.image, images)
    return TopK(images, topk.classes[rows], topk.probs[rows], topk.rest[rows])


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    description = "Threshold and routes of the cascade, compared out-of-fold."
    parser = config_parser("cascade", description, "configs/openimages.toml")
    return print_report(parser.parse_args(), report)


if __name__ == "__main__":
    sys.exit(main())
