"""What the rows are that a network sees: pictures, or mosaics of products (T1)."""

import numpy as np

from lib.config.model import Model
from lib.data.catalog import Catalog


def products(model: Model, catalogue: Catalog) -> np.ndarray:
    """Whose each row is, int [R]: the product of a picture, or the product itself."""
    if model.input == "mosaic":
        return np.arange(len(catalogue.product_id))
    return catalogue.image_product


def taught(model: Model, catalogue: Catalog, some: np.ndarray) -> np.ndarray:
    """Rows int64, ascending, that tell of products int64, ascending: to learn from or to watch.

    Mosaics are only of products with as many pictures as `model.mosaic` says, so that models can
    share them out by that number.
    """
    if model.input != "mosaic":
        return catalogue.images_of(some)
    pictures, settings = catalogue.image_count[some], model.mosaic
    fit = pictures >= settings.min_images
    if settings.max_images:
        fit &= pictures <= settings.max_images
    return some[fit]


def speaking(model: Model, catalogue: Catalog) -> np.ndarray | None:
    """The row that speaks for each picture, int [I]; None: its own.

    Mosaics speak for all pictures of all products, whatever number of them they learnt from: one
    of a single picture is that picture.
    """
    return catalogue.image_product if model.input == "mosaic" else None
