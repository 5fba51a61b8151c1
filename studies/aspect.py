"""Aspect clusters against square resizing, at equal numbers of pixels.

    python -m studies.aspect --config configs/openimages_sample.toml --seeds 3
    python -m studies.aspect --config configs/mine.toml --model lite0 --clusters 3
    python -m studies.aspect --ovals OUT/ovals && python -m studies.aspect --config OUT/ovals.toml

Runs stages 02 and 03 of one model of the config once for each variant and seed: all images resized
to a square; one shape for all, with bars; clusters with bars; clusters cut to their ratio. All see
as many pixels as the model's `crop`. The prediction of a product is the mean over its images and
views, out-of-fold: by the networks that were trained without the product. Finished runs are kept,
so the study can be stopped and extended by seeds.

The second table shows the gain of the clusters with bars in each cluster of products (by their
first image). Classes that differ in shape gain where a square changes the shape most.

`--ovals` writes a catalog on which the truth is known: ovals of three ratios on pictures of three
ratios. Resized to a square, a circle on a wide picture and an upright oval on a square one are the
same; nothing else tells them apart.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import prod, sqrt
from pathlib import Path

import cv2
import numpy as np

from lib.config.load import load
from lib.config.model import Model
from lib.data.aspect.clusters import AspectClusters
from lib.data.catalog import read_splits
from lib.errors import UserError
from lib.evaluation.markdown import table
from lib.features.query import make_query
from lib.pipeline.executor import ensure_all
from lib.pipeline.experiment import Experiment
from lib.stages.order import declare_all
from lib.stages.read import aspect_clusters, catalog_of_part
from studies import recipe, tables
from studies.command import add_model, config_parser, print_report

SQUARES, CLUSTERS = "squares", "clusters, padded"
VARIANTS = (SQUARES, "one shape, padded", CLUSTERS, "clusters, cropped")
RATIOS = {"upright": 0.5, "circle": 1.0, "lying": 2.0}  # width / height of the ovals of a class
PICTURE_SIDE = 64  # pixels; side of a square picture, and root of the pixels of all
OVALS = """\
# Ovals that a square makes alike: `python -m studies.aspect --config {config}`
name = "{name}"
work = "{work}"

[data]
source = "folders"
root = "{root}"
train = "{name}"
test = ""
group_by = ""

[split]
n_folds = 2

[train]
arch = "small"
weights = "none"
resize = [36, 36]
crop = [32, 32]
head_only_epochs = 0
epochs = 12
batch_size = 32
optimizer = "adamw"
lr = 0.003
n_folds = 2

[models.small]

[features]
top_k = 3
[predict]
top_k = 3
"""


def study(
    path: str, overrides: Sequence[str], model: str, num_clusters: int, seeds: int
) -> dict[str, list[np.ndarray]]:
    """Train and predict each variant and seed where missing.

    Returns bool [products] for each seed of each variant: whether the best class is the true one.
    """
    base = Experiment(load(path, overrides))
    read_sizes(make_variant(base, path, overrides, model, num_clusters, CLUSTERS, 0))
    correct: dict[str, list[np.ndarray]] = {}
    for seed in range(seeds):
        for name in VARIANTS:
            variant = make_variant(base, path, overrides, model, num_clusters, name, seed)
            correct.setdefault(name, []).append(recipe.train_and_predict(variant, model).correct)
    return correct


def make_variant(
    base: Experiment,
    path: str,
    overrides: Sequence[str],
    model: str,
    num_clusters: int,
    name: str,
    seed: int,
) -> Experiment:
    """The experiment of one model in the variant `name`; it shares stage 01 with `base`."""
    changes = {
        "seed": seed,
        "crop": square(base.config.models[model].crop),
        "resize": square(base.config.models[model].resize),
        "aspect.num_clusters": {SQUARES: 0, VARIANTS[1]: 1}.get(name, num_clusters),
        "aspect.scale": 0.0,
        "aspect.fill": '"crop"' if name.endswith("cropped") else '"pad"',
    }
    of_model = [f"models.{model}.{key}={value}" for key, value in changes.items()]
    folder = [f"work={base.folder}_aspect", f"name={tables.slug(name)}_{seed}"]
    others = ['data.test=""', "predict.embed_models=[]"]
    config = load(path, [*overrides, *of_model, *others, *folder])
    variant = Experiment(replace(config, models={model: config.models[model]}))
    tables.link_stages(base, variant, ["extract"])
    return variant


def square(size: tuple[int, int]) -> list[int]:
    """The square with as many pixels as `size`, up to rounding."""
    return 2 * [round(sqrt(prod(size)))]


def read_sizes(variant: Experiment) -> None:
    """Build the sizes of the images, which stage 01 omits if no model of the config has clusters.

    They are shared by all variants, as all of stage 01 is.
    """
    artifacts = [
        artifact
        for artifact in declare_all(variant)["extract"]
        if artifact.path == variant.path("extract/sizes/train")
    ]
    ensure_all("extract", artifacts, variant.config.run, rebuild=True, parallel=False)


def clusters_of_products(variant: Experiment, model: str) -> tuple[AspectClusters, np.ndarray]:
    """The clusters of a variant, and the cluster int8 [products] of each product's first image.

    Products are those of `study`; -1 for one without images.
    """
    clusters, of_image = aspect_clusters(variant, variant.config.models[model], "train")
    catalog = catalog_of_part(variant, "train")
    splits = read_splits(variant.path("extract/splits"))
    products = make_query(catalog, splits.products(variant.config.stack_part)).products
    first = catalog.first_image[products].clip(max=len(of_image) - 1)
    return clusters, np.where(catalog.image_count[products] > 0, of_image[first], -1)


def by_cluster(
    clusters: AspectClusters,
    of_product: np.ndarray,
    settings: Model,
    correct: dict[str, list[np.ndarray]],
) -> str:
    """A Markdown table: gain of the clusters over the squares on the products of each cluster.

    of_product: int8 [products], as `clusters_of_products` returns it.
    """
    lines = []
    for k, (aspect, shape) in enumerate(
        zip(clusters.aspects, clusters.shapes(settings), strict=True)
    ):
        rows = of_product == k
        if not rows.any():
            continue
        ours = {name: [c[rows] for c in correct[name]] for name in (SQUARES, CLUSTERS)}
        before, after = tables.compare(ours)
        cells = tables.to_markdown("", [before, after]).splitlines()[-1].split(" | ")
        ratio, (height, width) = 2.0**aspect, shape.crop
        accuracies = [f"{row.score.value:.4f}" for row in (before, after)]
        lines.append(
            [
                f"{ratio:.2f}:1",
                f"{width}x{height}",
                f"{rows.sum():,}",
                *accuracies,
                cells[2].rstrip(" |"),
            ]
        )
    return table(["width to height", "pixels", "products", SQUARES, CLUSTERS, "gain"], lines)


def write_ovals(folder: Path, per_class: int = 150, seed: int = 0) -> Path:
    """Write pictures of ovals in folders, one for each class, and a config beside them.

    The ratio of a picture and that of its oval are independent. Returns the path of the config.
    """
    rng = np.random.default_rng(seed)
    for name, ratio in RATIOS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            cv2.imwrite(str(folder / name / f"{number:04}.png"), _oval(ratio, rng))
    config = folder.with_suffix(".toml")
    values = {"name": folder.name, "config": config, "work": folder.with_name("work")}
    config.write_text(OVALS.format(root=folder.parent.resolve(), **values))
    return config


def _oval(ratio: float, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [h, w, 3] of an oval; width / height of the picture is 1/2, 1 or 2."""
    picture = rng.choice([0.5, 1.0, 2.0])
    height, width = (round(PICTURE_SIDE * s) for s in (picture**-0.5, picture**0.5))
    background, color = rng.integers(190, 256, 3), rng.integers(0, 90, 3)  # light, dark
    image = np.full((height, width, 3), background, np.uint8)
    radius = rng.uniform(9, 13)  # of a circle with the oval's area
    axes = radius * sqrt(ratio), radius / sqrt(ratio)
    center = [
        rng.uniform(axis, side - axis) for axis, side in zip(axes, (width, height), strict=True)
    ]
    box = (tuple(center), (2 * axes[0], 2 * axes[1]), 0.0)
    cv2.ellipse(image, box, [int(value) for value in color], -1, cv2.LINE_AA)
    noise = rng.normal(0, 8, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    description = "Aspect clusters against square resizing at equal pixels."
    example = "example: python -m studies.aspect --config configs/openimages_sample.toml"
    parser = config_parser("aspect", description, "configs/fashion.toml", example)
    add_model(parser, seeds=3)
    parser.add_argument("--clusters", type=int, default=3, help="most clusters (%(default)s)")
    parser.add_argument(
        "--ovals", metavar="FOLDER", help="only write a catalog on which the truth is known"
    )
    arguments = parser.parse_args()
    if arguments.ovals:
        print(write_ovals(Path(arguments.ovals)))
        return 0
    return print_report(arguments, report)


def report(arguments: argparse.Namespace) -> str:
    """Both tables in Markdown. Raises UserError for a model that has no aspect clusters."""
    base = Experiment(load(arguments.config, arguments.set))
    models = base.config.models
    model = arguments.model or next(iter(models))
    if model not in models or models[model].input != "image":
        images = [name for name, settings in models.items() if settings.input == "image"]
        raise UserError(
            f'no model {model!r} with input = "image"; choose one of: {", ".join(images)}'
        )
    if not base.path("extract/splits").is_dir():
        raise UserError(f"{base.path('extract/splits')} is missing; run 01_extract.py first")
    options = (arguments.config, arguments.set, model, arguments.clusters)
    correct = study(*options, arguments.seeds)
    variant = make_variant(base, *options, CLUSTERS, 0)
    clusters, of_product = clusters_of_products(variant, model)
    settings = variant.config.models[model]
    title = f"{model}, {prod(settings.crop):,} pixels, seeds: {arguments.seeds}"
    gains = tables.to_markdown(title, tables.compare(correct))
    return f"{gains}\n\n{by_cluster(clusters, of_product, settings, correct)}"


if __name__ == "__main__":
    sys.exit(main())
