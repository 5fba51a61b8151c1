"""Training set: rows, labels, weights; which rows train and validate, and which an epoch shows.

What a row is depends on `input` of the model: an image, or a product with all of its images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lib.config.model import Model, Sampling
from lib.data.catalog import Catalog
from lib.errors import UserError
from lib.models.classifier import Classifier
from lib.training.loaders.image_loader import Loader
from lib.utils.groups import position_in_group, sample_one_per_group

SAMPLING_SALT = 0x5A3B  # keeps the random numbers of sampling apart from those of the order


@dataclass(frozen=True)
class TrainingSet:
    """What a network is trained on; row i is whatever `loader` loads for i.

    loader: inputs of rows, as batches.
    build_model: weights ("imagenet", "none" or a path) -> model, its random parts drawn from
        torch's generator.
    labels: int16 [R], class id of each row.
    product: int32 [R], product of each row; rows of a product are consecutive.
    train_rows: int64, ascending, rows that train.
    valid_rows: int64, ascending, rows that only validate; if empty, the last epoch is the best.
    num_classes: number of classes.
    levels: int [classes] for each upper level of the category tree, the group of each class.
    weights: float [R], weight of each row's loss; None for 1.
    cluster: int8 [R], aspect cluster of each row, of which a batch has only one; None for one.
    label_sets: int8 [R, classes], targets of `LabelSetLosses`, instead of the labels, which only
        draw the rows then; None for one class each.
    unannotated_weight: of a class that nobody looked for, in that loss.
    """

    loader: Loader
    build_model: Callable[[str], Classifier]
    labels: np.ndarray
    product: np.ndarray
    train_rows: np.ndarray
    valid_rows: np.ndarray
    num_classes: int
    levels: Sequence[np.ndarray] = ()
    weights: np.ndarray | None = None
    cluster: np.ndarray | None = None
    label_sets: np.ndarray | None = None
    unannotated_weight: float = 0.0

    def check(self) -> None:
        """Raises UserError if fewer than 2 rows train, ValueError if one of them has no class."""
        labels, rows = self.labels, self.train_rows
        if len(rows) < 2:
            raise UserError(f"{len(rows)} images are left to train on; lower split.locked or folds")
        invalid = (labels[rows] < 0) | (labels[rows] >= self.num_classes)
        if invalid.any():
            row = rows[invalid.argmax()]
            raise ValueError(f"image row {row} has no class below {self.num_classes}")


def product_of_row(model_cfg: Model, catalog: Catalog) -> np.ndarray:
    """Product of each row, int [R]: that of an image, elsewhere the product itself."""
    if model_cfg.input != "image":
        return np.arange(len(catalog.product_id))
    return catalog.image_product


def training_rows(model_cfg: Model, catalog: Catalog, products: np.ndarray) -> np.ndarray:
    """Rows int64, ascending, of the products that train or validate.

    products: int64, ascending. Mosaics train only on products with as many images as
    `model_cfg.mosaic` allows, so that several models can divide the products by that number.
    """
    if model_cfg.input == "image":
        return catalog.images_of(products)
    if model_cfg.input == "product":
        return products[catalog.image_count[products] > 0]
    num_images, settings = catalog.image_count[products], model_cfg.mosaic
    in_range = num_images >= settings.min_images
    if settings.max_images:
        in_range &= num_images <= settings.max_images
    return products[in_range]


def row_of_image(model_cfg: Model, catalog: Catalog) -> np.ndarray | None:
    """The row that predicts each image, int [I]; None if each image is a row.

    A mosaic or a product predicts all of its images, a mosaic also those of products with more or
    fewer images than it trained on. The mosaic of a single image is that image.
    """
    return None if model_cfg.input == "image" else catalog.image_product


def group_of_row(model_cfg: Model, catalog: Catalog) -> np.ndarray | None:
    """The group of networks that predicts each mosaic, int [P], by its number of images.

    None if the networks are for products of any number of images.
    """
    if not model_cfg.mosaic.split_at:
        return None
    return np.searchsorted(model_cfg.mosaic.split_at, catalog.image_count, side="right")


def sample_rows(
    sampling: Sampling,
    rows: np.ndarray,
    labels: np.ndarray,
    product: np.ndarray,
    seed: int,
    epoch: int,
    hardness: np.ndarray,
) -> np.ndarray:
    """Rows of an epoch: int64, ascending, repeated as often as each is shown.

    rows: int64 [n], ascending, rows that train.
    labels: int16 [R], class id of each row.
    product: int32 [R], product of each row; rows of a product are consecutive.
    hardness: float [n], 1 - p of the true class when `rows[i]` was last shown; read only if
        `sampling.hard_example_weight` is set.

    Every epoch has as many rows, `num_rows_of_epoch`. They follow from (seed, epoch) and the
    weights alone, so that a resumed run draws the same rows again; `EpochOrder` or `ClusterOrder`
    puts them in order.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch, SAMPLING_SALT]))
    if sampling.one_image_per_product:
        index = sample_one_per_group(product[rows], rng)
        rows, hardness = rows[index], hardness[index] if sampling.hard_example_weight else hardness
    if sampling.oversample:
        return np.repeat(rows, _oversampled_counts(sampling.oversample, labels[rows], rng))
    if not sampling.class_balance and not sampling.hard_example_weight:
        return rows
    weights = np.ones(len(rows))
    if sampling.class_balance:
        sizes = np.bincount(labels[rows])
        weights *= np.maximum(sizes, 1)[labels[rows]] ** -sampling.class_balance
    if sampling.hard_example_weight:
        weights *= 1 + sampling.hard_example_weight * hardness
    return np.repeat(rows, _draw_counts(weights, rng))


def num_rows_of_epoch(
    sampling: Sampling, rows: np.ndarray, labels: np.ndarray, product: np.ndarray
) -> int:
    """Number of rows that `sample_rows` returns."""
    if sampling.one_image_per_product:
        rows = rows[np.unique(product[rows], return_index=True)[1]]
    if sampling.oversample:
        return int(_oversampled_sizes(sampling.oversample, labels[rows]).sum())
    return len(rows)


def _oversampled_sizes(fraction: float, labels: np.ndarray) -> np.ndarray:
    """Rows that each class shows: its own, at least `fraction` of the largest; int64 [classes]."""
    sizes = np.bincount(labels)
    least = round(fraction * int(sizes.max()))
    return np.where(sizes > 0, np.maximum(sizes, least), 0)


def _oversampled_counts(
    fraction: float, labels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """How often each row is shown, at least once: int64 [n].

    labels: int16 [n]. The counts of two rows of a class differ by at most 1.
    """
    sizes = np.bincount(labels)
    times, more = np.divmod(_oversampled_sizes(fraction, labels), np.maximum(sizes, 1))
    order = np.lexsort((rng.random(len(labels)), labels))  # random order within each class
    rank = np.empty(len(labels), np.int64)
    rank[order] = position_in_group(labels[order])
    return times[labels] + (rank < more[labels])


def _draw_counts(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each of n rows is shown, in proportion to its weight: int64 [n] with sum n.

    Each row gets its share of n, rounded up or down at random: the counts vary far less than with
    n independent draws. Then rows are dropped or added at random until the sum is n.
    """
    n = len(weights)
    share = weights * (n / weights.sum())
    counts = np.floor(share + rng.random(n)).astype(np.int64)
    surplus = int(counts.sum()) - n
    if surplus > 0:
        shown = np.repeat(np.arange(n), counts)
        counts -= np.bincount(shown[rng.permutation(len(shown))[:surplus]], minlength=n)
    elif surplus < 0:
        added = rng.choice(n, -surplus, p=weights / weights.sum())
        counts += np.bincount(added, minlength=n)
    return counts
