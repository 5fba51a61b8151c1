"""Stage 06, boxes of the images to classify, in files for users: boxes.csv and boxes_coco.json"""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lib.pipeline.experiment import Experiment
from lib.pipeline.predict_target import IMAGE_SUFFIXES
from lib.runtime.workers import num_threads

if TYPE_CHECKING:
    from lib.data.catalog import Catalog

CSV, COCO = "boxes.csv", "boxes_coco.json"


def write_box_files(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Write the boxes of the cascade for the test side; nothing without a model that draws.

    Every image has a row in boxes.csv, with boxes or without. Returns their number.
    """
    if not experiment.config.segmenters:
        return {}
    import numpy as np

    from lib.data.aspect.sizes import read_sizes
    from lib.data.openimages.hierarchy import read_hierarchy
    from lib.detection.components import BoxTable
    from lib.detection.export import ImageNames, write_coco, write_submission_rows
    from lib.stages.read import catalog_of_part

    hierarchy = read_hierarchy(experiment.path("extract/hierarchy"))
    boxes = BoxTable.load(experiment.path("cascade/test"))
    catalog = catalog_of_part(experiment, "test")
    images = np.arange(len(catalog.length))
    sizes = read_sizes(catalog, num_threads(experiment.config.run))
    names = ImageNames(
        images,
        [image_id(catalog.key(product)) for product in catalog.image_product.tolist()],
        [_file_name(catalog, image) for image in images.tolist()],
        [(width, height) for height, width in sizes.tolist()],
    )
    write_submission_rows(folder / CSV, boxes, names, hierarchy.labels)
    write_coco(folder / COCO, boxes, names, hierarchy.labels, hierarchy.names)
    return {"boxes": len(boxes)}


def image_id(key: str) -> str:
    """The ImageID of a product, which in a folder of images is named by its file."""
    path = PurePosixPath(key)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else key


def summary_lines(experiment: Experiment) -> list[str]:
    """Where masks and boxes of the images to classify are; empty without a model that draws."""
    if not experiment.config.segmenters or not experiment.has_test:
        return []
    folder = experiment.path("submit")
    masks = experiment.path("cascade/test").parent.parent / "masks"
    return [f"boxes: {folder / CSV} and {COCO}; coarse masks: {masks}/<model>/test"]


def _file_name(catalog: "Catalog", image: int) -> str:
    """The file of an image, relative to the folder of the source."""
    import numpy as np

    if catalog.files is None:
        return catalog.path.name
    file = int(np.searchsorted(catalog.files.first_image, image, side="right")) - 1
    return str(catalog.files.names[file].as_py())
