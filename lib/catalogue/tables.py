"""The catalogue as numpy arrays, and the Arrow files that hold it between stages.

    classes.arrow   class int16, category_id int64, level1, level2, level3
    images.arrow    product int32, position int16, offset int64, length int32, md5 16 bytes
    products.arrow  product_id int64, class int16 (-1 unknown), first_image int64, image_count int16
    splits.arrow    part int8, fold int8

Rows are in file order. Arrow IPC opens in polars, pandas and DuckDB as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

FIT, HOLDOUT, LOCKED = 0, 1, 2
PARTS = {"fit": FIT, "holdout": HOLDOUT, "locked": LOCKED}


@dataclass(frozen=True)
class Catalogue:
    """Products and pictures of one BSON file. Pictures of a product are neighbours.

    Products [P]: product_id int64, label int16 (class, -1 unknown), first_image int64,
    image_count int16. Pictures [I]: image_product int32 (row of the product), image_position
    int16, offset int64 and length int32 (bytes in `path`), md5 uint64 [I, 2].
    """

    path: Path
    product_id: np.ndarray
    label: np.ndarray
    first_image: np.ndarray
    image_count: np.ndarray
    image_product: np.ndarray
    image_position: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    md5: np.ndarray

    def images_of(self, products: np.ndarray) -> np.ndarray:
        """Ascending rows of the pictures of these products, int64."""
        wanted = np.zeros(len(self.product_id), bool)
        wanted[products] = True
        return np.flatnonzero(wanted[self.image_product])


@dataclass(frozen=True)
class Classes:
    """category_id int64 [C] ascending: a class is a row of it. names: [C] tuples of 3 levels."""

    category_id: np.ndarray
    names: list[tuple[str, str, str]]

    def __len__(self) -> int:
        return len(self.category_id)


@dataclass(frozen=True)
class Splits:
    """Of each labelled product: part int8 (FIT, HOLDOUT, LOCKED), fold int8 (-1 for locked)."""

    part: np.ndarray
    fold: np.ndarray

    def products(self, *parts: str) -> np.ndarray:
        """Ascending rows of the products of these parts, int64."""
        return np.flatnonzero(np.isin(self.part, [PARTS[part] for part in parts]))


def write_table(path: Path, columns: Mapping[str, pa.Array | np.ndarray]) -> None:
    """One record batch, so that every numeric column is read back without a copy."""
    batch = pa.RecordBatch.from_pydict({k: pa.array(v) for k, v in columns.items()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def read_table(path: Path) -> pa.Table:
    """Memory-mapped: pages are read when they are touched."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def read_catalogue(folder: Path, source: Path) -> Catalogue:
    """The index in `folder` of the file `source`, which may have moved since it was indexed."""
    products = read_table(folder / "products.arrow")
    images = read_table(folder / "images.arrow")
    md5 = images["md5"].combine_chunks()
    words = np.frombuffer(md5.buffers()[1], np.uint64, len(md5) * 2) if len(md5) else np.empty(0)
    return Catalogue(
        path=source,
        product_id=products["product_id"].to_numpy(),
        label=products["class"].to_numpy(),
        first_image=products["first_image"].to_numpy(),
        image_count=products["image_count"].to_numpy(),
        image_product=images["product"].to_numpy(),
        image_position=images["position"].to_numpy(),
        offset=images["offset"].to_numpy(),
        length=images["length"].to_numpy(),
        md5=words.astype(np.uint64, copy=False).reshape(-1, 2),
    )


def read_classes(folder: Path) -> Classes:
    table = read_table(folder / "classes.arrow")
    levels = [table[f"level{i}"].to_pylist() for i in (1, 2, 3)]
    return Classes(table["category_id"].to_numpy(), list(zip(*levels, strict=True)))


def read_splits(folder: Path) -> Splits:
    table = read_table(folder / "splits.arrow")
    return Splits(table["part"].to_numpy(), table["fold"].to_numpy())
