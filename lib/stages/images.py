"""Open the images of a catalog in the form that a model takes."""

import logging

from lib.config.model import Backbone, Model
from lib.data.catalog import Catalog
from lib.data.image_reader import ImageReader
from lib.data.mosaic import MosaicReader
from lib.pipeline.experiment import Experiment
from lib.runtime import device as devices
from lib.runtime.workers import num_threads

logger = logging.getLogger(__name__)


def open_images(experiment: Experiment, model: Model | Backbone, catalog: Catalog) -> ImageReader:
    """A reader of the catalog's images, or of mosaics, in the size that the model takes."""
    run = experiment.config.run
    is_mosaic = isinstance(model, Model) and model.input == "mosaic"
    reader = MosaicReader if is_mosaic else ImageReader
    allocate = devices.pinned_buffer(devices.select_device(run, model))
    return reader(catalog, model.resize, num_threads(run), allocate)


def warn_corrupt(reader: ImageReader) -> None:
    """Log a warning if images could not be decoded."""
    if reader.first_corrupt is None:
        return
    row, reason = reader.first_corrupt
    catalog = reader.catalog
    logger.warning(
        "%s: %d corrupt images replaced by gray; the first is %s, product %s: %s",
        catalog.path,
        reader.corrupt.sum(),
        reader.byte_reader.location(row),
        catalog.key(int(catalog.image_product[row])),
        reason,
    )
