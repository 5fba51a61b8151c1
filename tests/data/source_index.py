"""Helpers of the tests of sources: index a listing, read the bytes of an indexed image."""

from pathlib import Path

import numpy as np

from lib.data.catalog import (
    Catalog,
    Categories,
    build_named_categories,
    read_catalog,
    read_categories,
)
from lib.data.sources.base import Listing, index_listing


def index_source(
    folder: Path,
    source: Path,
    root: Path,
    listing: Listing,
    max_bad_fraction: float = 0.0,
    max_missing_fraction: float = 1.0,
) -> tuple[dict, Catalog, Categories]:
    folder.mkdir(exist_ok=True)
    build_named_categories(folder, source, listing.labels)
    categories = read_categories(folder)
    facts = index_listing(
        folder, source, listing, categories, True, max_bad_fraction, 2, max_missing_fraction
    )
    return facts, read_catalog(folder, root), categories


def image_bytes(catalog: Catalog, image: int) -> bytes:
    assert catalog.files is not None
    file = int(np.searchsorted(catalog.files.first_image, image, "right")) - 1
    data = catalog.files.path(catalog.path, file).read_bytes()
    start = int(catalog.offset[image])
    return data[start : start + int(catalog.length[image])]
