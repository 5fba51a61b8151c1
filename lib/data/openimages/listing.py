"""The images of tables of boxes as products of one image each, and their boxes by those rows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.data.catalog import Catalog
from lib.data.openimages.annotations import Annotations
from lib.data.openimages.boxes import Boxes, ImageLabels
from lib.data.openimages.scene_names import image_file
from lib.data.sources.base import Listing, hash_files


def list_annotated(
    annotations: Annotations, image_root: Path, scenes: Path, labels: Sequence[str] | None
) -> Listing:
    """List the images of a side; the key of an image is its ImageID.

    image_root, scenes: the folders of the images, and of composed ones.
    labels: the cluster of each image; one without ("") is left out. None: no image has a label.
    """
    kept = [image for image in range(len(annotations.keys)) if labels is None or labels[image]]
    files = [annotations.files[image] for image in kept]
    paths = [str(image_file(name, image_root, scenes)) for name in files]
    left_out = len(annotations.keys) - len(kept)
    cautions = [f"{left_out} images have no box of a cluster and are left out"] if left_out else []
    return Listing(
        unit="image",
        location=np.array(kept, np.int64) + 1,
        keys=[annotations.keys[image] for image in kept],
        labels=[labels[image] if labels else "" for image in kept],
        image_count=np.ones(len(kept), np.int32),
        files=files,
        hash_images=hash_files(image_root, paths),
        cautions=cautions,
        image_root=image_root,
    )


def boxes_of_catalog(annotations: Annotations, catalog: Catalog, clusters: np.ndarray) -> Boxes:
    """The boxes of the images of a catalog, whose rows they name.

    clusters: int16, of each box of the annotations. Images that cannot be used have no row.
    """
    row = _row_of_image(annotations, catalog)
    boxes = replace(annotations.boxes, image=row[annotations.boxes.image], cluster=clusters)
    order = np.argsort(boxes.image, kind="stable")
    boxes = boxes.select(order[np.searchsorted(boxes.image[order], 0) :])
    return replace(boxes, num_images=len(catalog.image_product))


def labels_of_catalog(annotations: Annotations, catalog: Catalog) -> ImageLabels:
    """The verified labels of the images of a catalog, whose rows they name."""
    labels = annotations.labels
    assert labels is not None
    image = _row_of_image(annotations, catalog)[labels.image]
    order = np.argsort(image, kind="stable")
    order = order[np.searchsorted(image[order], 0) :]
    return ImageLabels(image[order], labels.class_row[order], labels.present[order])


def _row_of_image(annotations: Annotations, catalog: Catalog) -> np.ndarray:
    """int32: the row in the catalog of each image of the annotations; -1 for none."""
    row_of_product = np.full(len(catalog.product_id), -1, np.int32)
    row_of_product[catalog.image_product] = np.arange(len(catalog.image_product))
    row_of_key = dict(
        zip(
            catalog.keys.to_pylist() if catalog.keys is not None else [],
            row_of_product.tolist(),
            strict=True,
        )
    )
    return np.array([row_of_key.get(key, -1) for key in annotations.keys], np.int32)
