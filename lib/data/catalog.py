"""The catalogue as numpy arrays, and the Arrow files that hold it between stages.

    classes.arrow   class int16, category_id int64, level1, level2, level3 (key)
    images.arrow    product int32, position int16, offset int64, length int32, md5 16 bytes
    products.arrow  product_id int64, class int16 (-1 unknown), first_image int64, image_count
                    int16 (key, group int32)
    files.arrow     first_image int64, name, codec (only of sources of more than one file)
    splits.arrow    part int8, fold int8

Columns in brackets are there only if the source has them. Rows are in file order. Arrow IPC
opens in polars, pandas and DuckDB as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

FIT, HOLDOUT, LOCKED = 0, 1, 2
PARTS = {"fit": FIT, "holdout": HOLDOUT, "locked": LOCKED}


@dataclass(frozen=True)
class FileTable:
    """The files of a source that has many.

    first_image int64 [F] ascending: file f holds the pictures from there to the next one's.
    names: string array [F], relative to the source's folder. codec: what a picture's bytes are,
    "image" (JPEG, PNG, ...) or "uint8:28x28" (one grey value a pixel).
    """

    first_image: np.ndarray
    names: pa.ChunkedArray
    codec: str

    def path(self, root: Path, number: int) -> Path:
        return root / self.names[number].as_py()


@dataclass(frozen=True)
class Catalog:
    """Products and pictures of one source. Pictures of a product are neighbours.

    path: the BSON file, or the folder that the names of `files` are relative to.

    Products [P]: product_id int64, label int16 (class, -1 unknown), first_image int64,
    image_count int16. Pictures [I]: image_product int32 (row of the product), image_position
    int16, offset int64 and length int32 (bytes in their file), md5 uint64 [I, 2].

    keys: strings [P], the source's own names where product_id is only a number for them. group
    int32 [P]: products of the same number must not be parted by the split.
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
    files: FileTable | None = None  # None: everything lies in the file `path`
    keys: pa.ChunkedArray | None = None
    group: np.ndarray | None = None

    def key(self, product: int) -> str:
        """What the source calls a product."""
        if self.keys is None:
            return str(self.product_id[product])
        return self.keys[product].as_py()

    def images_of(self, products: np.ndarray) -> np.ndarray:
        """Ascending rows of the pictures of these products, int64."""
        wanted = np.zeros(len(self.product_id), bool)
        wanted[products] = True
        return np.flatnonzero(wanted[self.image_product])


@dataclass(frozen=True)
class Categories:
    """category_id int64 [C] ascending: a class is a row of it. names: [C] tuples of 3 levels.

    keys [C]: the source's own names where category_id is only a number for them.
    """

    category_id: np.ndarray
    names: list[tuple[str, str, str]]
    keys: list[str] | None = None

    def __len__(self) -> int:
        return len(self.category_id)

    def levels(self) -> list[np.ndarray]:
        """Of each upper level that groups the classes: int64 [C], the group that a class is of."""
        found = []
        for level in (1, 2):
            number: dict[tuple[str, ...], int] = {}
            group = [number.setdefault(name[:level], len(number)) for name in self.names]
            if 1 < len(number) < len(self):
                found.append(np.array(group))
        return found

    def key(self, cls: int) -> str:
        """What the source calls a class."""
        return str(self.category_id[cls]) if self.keys is None else self.keys[cls]


@dataclass(frozen=True)
class Splits:
    """Of each labelled product: part int8 (FIT, HOLDOUT, LOCKED), fold int8 (-1 for locked)."""

    part: np.ndarray
    fold: np.ndarray

    def products(self, *parts: str) -> np.ndarray:
        """Ascending rows of the products of these parts, int64."""
        return np.flatnonzero(np.isin(self.part, [PARTS[part] for part in parts]))

    def net_of_product(self, nets: int) -> np.ndarray:
        """int8 [P]: which of a model's networks must not see the product; -1 for `locked`.

        A model with fewer networks than there are folds leaves several folds out at once.
        """
        return np.where(self.fold >= 0, self.fold % nets, -1).astype(np.int8)


def write_table(path: Path, columns: Mapping[str, pa.Array | np.ndarray]) -> None:
    """One record batch, so that every numeric column is read back without a copy."""
    batch = pa.RecordBatch.from_pydict({k: pa.array(v) for k, v in columns.items()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def read_table(path: Path) -> pa.Table:
    """Memory-mapped: pages are read when they are touched."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def read_catalog(folder: Path, source: Path) -> Catalog:
    """The index in `folder` of the file or folder `source`, which may have moved since."""
    products = read_table(folder / "products.arrow")
    images = read_table(folder / "images.arrow")
    words = np.empty(0)
    if images.num_rows:
        md5 = images["md5"].chunk(0)  # one batch was written; joining chunks would copy it
        words = np.frombuffer(md5.buffers()[1], np.uint64, len(md5) * 2)
    return Catalog(
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
        files=_read_files(folder / "files.arrow"),
        keys=products["key"] if "key" in products.column_names else None,
        group=products["group"].to_numpy() if "group" in products.column_names else None,
    )


def _read_files(path: Path) -> FileTable | None:
    if not path.exists():
        return None
    table = read_table(path)
    codec = table["codec"][0].as_py() if len(table) else "image"
    return FileTable(table["first_image"].to_numpy(), table["name"], codec)


def read_categories(folder: Path) -> Categories:
    table = read_table(folder / "classes.arrow")
    levels = [table[f"level{i}"].to_pylist() for i in (1, 2, 3)]
    keys = table["key"].to_pylist() if "key" in table.column_names else None
    return Categories(table["category_id"].to_numpy(), list(zip(*levels, strict=True)), keys)


def read_splits(folder: Path) -> Splits:
    table = read_table(folder / "splits.arrow")
    return Splits(table["part"].to_numpy(), table["fold"].to_numpy())
