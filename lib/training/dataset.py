"""Training set: rows, labels, weights, and which rows train and validate.

What a row is depends on `input` of the model: an image, or a product with all of its images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lib.config.model import Model
from lib.data.catalog import Catalog
from lib.errors import UserError
from lib.models.classifier import Classifier
from lib.training.loader import Loader


@dataclass(frozen=True)
class TrainingSet:
    """What a network is trained on; row i is whatever `loader` loads for i.

    loader: inputs of rows, as batches.
    build_model: weights ("imagenet", "none" or a path) -> model, its random parts drawn from
        torch's generator.
    labels: int16 [R], class id of each row.
    product: int32 [R], product of each row; rows of a product are consecutive.
    train_rows: int64, ascending, rows that train.
    valid_rows: int64, ascending, rows that only validate; if empty, best.pt is last.pt.
    num_classes: number of classes.
    levels: int [classes] for each upper level of the category tree, the group of each class.
    weights: float [R], weight of each row's loss; None for 1.
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
    """Product of each row, int [R]: that of an image, or of a mosaic the product itself."""
    if model_cfg.input == "mosaic":
        return np.arange(len(catalog.product_id))
    return catalog.image_product


def training_rows(model_cfg: Model, catalog: Catalog, products: np.ndarray) -> np.ndarray:
    """Rows int64, ascending, of the products that train or validate.

    products: int64, ascending. Mosaics train only on products with as many images as
    `model_cfg.mosaic` allows, so that several models can divide the products by that number.
    """
    if model_cfg.input != "mosaic":
        return catalog.images_of(products)
    num_images, settings = catalog.image_count[products], model_cfg.mosaic
    in_range = num_images >= settings.min_images
    if settings.max_images:
        in_range &= num_images <= settings.max_images
    return products[in_range]


def row_of_image(model_cfg: Model, catalog: Catalog) -> np.ndarray | None:
    """The row that predicts each image, int [I]; None if each image is a row.

    A mosaic predicts all images of its product, also of products with more or fewer images than
    it trained on. The mosaic of a single image is that image.
    """
    return catalog.image_product if model_cfg.input == "mosaic" else None
