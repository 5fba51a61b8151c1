"""Two catalogues read as one, so that a network may learn from pictures of both (C15)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from lib.data.catalog import Catalog, FileTable
from lib.errors import UserError


def joined(first: Catalog, second: Catalog) -> Catalog:
    """Products and pictures of `first`, then those of `second`; nothing on disk is touched.

    Without keys and groups, which nothing that reads pictures asks for. Raises UserError where
    their pictures are of different kinds.
    """
    of_both = [_files(one) for one in (first, second)]
    codecs = {files.codec for files in of_both}
    if len(codecs) > 1:
        raise UserError(f"{second.path}: pictures of another kind than those of {first.path}")
    pictures, products = len(first.offset), len(first.product_id)

    def both(name: str, more: int = 0) -> np.ndarray:
        one, other = getattr(first, name), getattr(second, name)
        return np.concatenate([one, (other + more).astype(one.dtype)])

    names = [name for files in of_both for name in files.names.to_pylist()]
    shifted = replace(of_both[1], first_image=of_both[1].first_image + pictures)
    first_image = np.concatenate([of_both[0].first_image, shifted.first_image])
    return Catalog(
        path=Path("/"),
        product_id=both("product_id"),
        label=both("label"),
        first_image=both("first_image", pictures),
        image_count=both("image_count"),
        image_product=both("image_product", products),
        image_position=both("image_position"),
        offset=both("offset"),
        length=both("length"),
        md5=both("md5"),
        files=FileTable(
            first_image, pa.chunked_array([pa.array(names, pa.string())]), codecs.pop()
        ),
    )


def _files(catalogue: Catalog) -> FileTable:
    """The catalogue's files by their whole names."""
    root, files = catalogue.path.absolute(), catalogue.files
    if files is None:
        return FileTable(np.zeros(1, np.int64), pa.chunked_array([[str(root)]]), "image")
    names = [str(root / name) for name in files.names.to_pylist()]
    return replace(files, names=pa.chunked_array([pa.array(names, pa.string())]))
