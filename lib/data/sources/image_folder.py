"""A source of image files in folders: one folder per class, each image a product."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from lib.data.sources.base import Listing, hash_files, split_files
from lib.pipeline.predict_target import IMAGE_SUFFIXES

MAX_SHOWN = 5  # classes in a caution


def list_folder(source: Path, labelled: bool) -> Listing:
    """List the images in a folder and its subfolders; the class is the image's folder.

    source: a folder, or a single image. labelled: whether the images have classes. Raises UserError
    if there are no images.
    """
    root, names = source, [source.name]
    others: list[str] = []
    if source.is_file() and source.suffix.lower() in IMAGE_SUFFIXES:
        root = source.parent
    else:
        names, others = split_files(source, *IMAGE_SUFFIXES)
    return Listing(
        unit="file",
        location=np.arange(1, len(names) + 1),
        keys=names,
        labels=[_class_of(name) if labelled else "" for name in names],
        image_count=np.ones(len(names), np.int32),
        files=names,
        hash_images=hash_files(root, names),
        cautions=_caution(names, others),
    )


def _caution(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """A line that lists the files that are no images by their suffix, and classes of them alone."""
    if not others:
        return []
    kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in others)
    shown = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    empty = sorted(
        {_class_of(name) for name in others} - {_class_of(name) for name in names} - {""}
    )
    more = ", ..." if len(empty) > MAX_SHOWN else ""
    lost = f"; no image is left in {', '.join(empty[:MAX_SHOWN])}{more}" if empty else ""
    return [
        f"{len(others)} files are not read as images: {shown}, the first is {others[0]}{lost};"
        f" images end in {' '.join(IMAGE_SUFFIXES)}"
    ]


def _class_of(name: str) -> str:
    """The folder of an image; "" (no class) for an image in the source's own folder."""
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent
