"""A source of image files in folders: one folder per class, each image a product."""

from pathlib import Path, PurePosixPath

import numpy as np

from lib.data.sources.base import Listing, hash_files, list_files
from lib.pipeline.predict_target import IMAGE_SUFFIXES


def list_folder(source: Path, labelled: bool) -> Listing:
    """List the images in a folder and its subfolders; the class is the image's folder.

    source: a folder, or a single image. labelled: whether the images have classes. Raises UserError
    if there are no images.
    """
    root, names = source, [source.name]
    if source.is_file() and source.suffix.lower() in IMAGE_SUFFIXES:
        root = source.parent
    else:
        names = list_files(source, *IMAGE_SUFFIXES)
    return Listing(
        unit="file",
        location=np.arange(1, len(names) + 1),
        keys=names,
        labels=[_class_of(name) if labelled else "" for name in names],
        image_count=np.ones(len(names), np.int32),
        files=names,
        hash_images=hash_files(root, names),
    )


def _class_of(name: str) -> str:
    """The folder of an image; "" (no class) for an image in the source's own folder."""
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent
