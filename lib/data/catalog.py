"""The catalog as numpy arrays, and the Arrow files that hold it between stages.

    categories.arrow   class_id int16, category_id int64, level1, level2, level3 (key)
    images.arrow    product int32, position int16, offset int64, length int32, md5 16 bytes
    products.arrow  product_id int64, class int16 (-1 unknown), first_image int64, image_count
                    int16 (key, group int32, split, given_class_id int16: `corrections.py`)
    files.arrow     first_image int64, name, codec (only for sources of several files)
    splits.arrow    part int8, fold int8, (group int32)

Columns in brackets are optional. Rows are in the order of the source. polars, pandas and DuckDB
can open these files directly.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.records import NO_CATEGORY, CorruptRecord
from lib.data.sources.text_table import TableFormat, read_rows
from lib.errors import UserError
from lib.pipeline.reading import read_table

FIT, HOLDOUT, LOCKED = 0, 1, 2
WHITE = (255, 255, 255)
PARTS = {"fit": FIT, "holdout": HOLDOUT, "locked": LOCKED}
LEVELS = ["category_level1", "category_level2", "category_level3"]
MAX_CLASSES = np.iinfo(np.int16).max
MAX_CATEGORY_ID = np.iinfo(np.int64).max


@dataclass(frozen=True)
class FileTable:
    """The files of a source that has several.

    first_image: int64 [F] ascending; file f holds the images from first_image[f] up to
        first_image[f + 1].
    names: string array [F], relative to the source's folder.
    codec: how an image is stored: "image" (JPEG, PNG, ...), "uint8:28x28" (one gray value per
        pixel) or "strokes:28x28" (a line of ndjson, drawn at this size).
    """

    first_image: np.ndarray
    names: pa.ChunkedArray
    codec: str

    def path(self, root: Path, file: int) -> Path:
        """Path of file number `file` in the folder `root`."""
        return root / self.names[file].as_py()


@dataclass(frozen=True)
class Catalog:
    """Products and images of one source. The images of a product have consecutive rows.

    path: the BSON file, or the folder that the names of `files` are relative to.

    Products [P]: product_id int64, label int16 (class_id, -1 unknown), first_image int64,
    image_count int16. Images [I]: image_product int32 (row of the product), image_position int16,
    offset int64 and length int32 (bytes in their file), md5 uint64 [I, 2].

    files: the files that hold the images; None if all images are in the file `path`.
    keys: strings [P], the source's own ids; None if all of them are the numbers in product_id.
    group: int32 [P], products with the same number must be in the same split.
    split: strings [P], the source's own part or fold of each product; None if it has none.
    background: RGB that shows where an image is transparent.
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
    files: FileTable | None = None
    keys: pa.ChunkedArray | None = None
    group: np.ndarray | None = None
    split: pa.ChunkedArray | None = None
    background: tuple[int, int, int] = WHITE

    def key(self, product: int) -> str:
        """The source's own id of the product at row `product`."""
        if self.keys is None:
            return str(self.product_id[product])
        return self.keys[product].as_py()

    def id_is_number(self, products: np.ndarray | None = None) -> np.ndarray:
        """Whether product_id is the source's own number: bool, of `products` (rows), or of all.

        Other ids are names such as "MH01-Black" or "007". Their product_id is made of their MD5
        and is near no other id.
        """
        ids = self.product_id if products is None else self.product_id[products]
        if self.keys is None:
            return np.ones(len(ids), bool)
        keys = self.keys if products is None else self.keys.take(pa.array(products))
        numbers = pa.array(ids).cast(pa.string())
        return pc.equal(numbers, keys.combine_chunks()).to_numpy(zero_copy_only=False)

    def images_of(self, products: np.ndarray) -> np.ndarray:
        """Ascending rows int64 of the images of `products` (rows, in any order).

        Reads nothing of other products, so that a few of many cost little.
        """
        products = np.unique(products)
        count = self.image_count[products].astype(np.int64)
        before = np.cumsum(count) - count
        return np.repeat(self.first_image[products] - before, count) + np.arange(count.sum())


@dataclass(frozen=True)
class Categories:
    """The classes: a class_id is a row of this table.

    category_id: int64 [C] ascending, the source's numbers.
    names: [C] tuples of the names of three levels.
    keys: [C], the source's own names, if category_id is only derived from them.
    """

    category_id: np.ndarray
    names: list[tuple[str, str, str]]
    keys: list[str] | None = None

    def __len__(self) -> int:
        return len(self.category_id)

    def levels(self) -> list[np.ndarray]:
        """Group int64 [C] of each class, for level 1 and level 2 if they group the classes."""
        levels = []
        for level in (1, 2):
            groups: dict[tuple[str, ...], int] = {}
            group = [groups.setdefault(name[:level], len(groups)) for name in self.names]
            if 1 < len(groups) < len(self):
                levels.append(np.array(group))
        return levels

    def key(self, class_id: int) -> str:
        """The source's own name of a class."""
        return str(self.category_id[class_id]) if self.keys is None else self.keys[class_id]


@dataclass(frozen=True)
class Splits:
    """Split of each labelled product: part int8 (FIT, HOLDOUT, LOCKED), fold int8 (-1: locked).

    group: int32, products with the same number are in the same part and fold; None without groups.
    """

    part: np.ndarray
    fold: np.ndarray
    group: np.ndarray | None = None

    def products(self, *parts: str) -> np.ndarray:
        """Ascending rows int64 of the products in these parts."""
        return np.flatnonzero(np.isin(self.part, [PARTS[part] for part in parts]))

    def fold_of_product(self, num_folds: int) -> np.ndarray:
        """int8 [P]: the fold model that must not train on the product; -1 for `locked`.

        num_folds: number of fold models; with fewer models than folds, one model leaves out
            several folds.
        """
        return np.where(self.fold >= 0, self.fold % num_folds, -1).astype(np.int8)


def build_categories(folder: Path, source: Path, form: TableFormat | None = None) -> dict[str, Any]:
    """Write `categories.arrow` from `category_names.csv` (category_id and three names).

    Returns counts. Raises UserError for a table that is not as Cdiscount's, naming the line.
    """
    names = _read_category_names(source, form)
    if not names:
        raise UserError(f"{source}: no categories")
    return _write_categories(folder, source, names)


def build_named_categories(folder: Path, source: Path, labels: Iterable[str]) -> dict[str, Any]:
    """Write `categories.arrow` for a source that names its classes by paths such as Men/Tops/Tees.

    A category_id is the rank of the sorted name. Level 3 includes all deeper levels. Returns
    counts. Raises UserError if the products do not have two classes.
    """
    keys = sorted(set(labels) - {""})
    if not keys:
        raise UserError(f"{source}: no product has a category")
    if len(keys) == 1:
        raise UserError(f"{source}: every product has the category {keys[0]!r}; give at least two")
    names = {number: [*key.split("/", 2), "", ""][:3] for number, key in enumerate(keys)}
    return _write_categories(folder, source, names, keys)


def _read_category_names(source: Path, form: TableFormat | None) -> dict[int, list[str]]:
    """The three names of each category_id."""
    names: dict[int, list[str]] = {}
    corrupt: list[CorruptRecord] = []
    for number, (key, *levels) in read_rows(source, ["category_id", *LEVELS], corrupt, form):
        line = f"{source}: line {number}"
        try:
            category = int(key)
        except ValueError:
            raise UserError(f"{line}: category_id {key!r} is not an integer") from None
        if not NO_CATEGORY < category <= MAX_CATEGORY_ID:
            raise UserError(f"{line}: category_id {key} is beyond 64 bits; number it anew")
        if category in names:
            raise UserError(f"{line}: duplicate category_id {category}")
        names[category] = levels
    if corrupt:
        raise UserError(f"{source}: line {corrupt[0].offset}: {corrupt[0].reason}")
    return names


def _write_categories(
    folder: Path, source: Path, names: dict[int, list[str]], keys: Sequence[str] | None = None
) -> dict[str, Any]:
    """Write `categories.arrow`; `keys`: the names in the source, in the order of category_ids."""
    if len(names) > MAX_CLASSES:
        raise UserError(f"{source}: {len(names)} categories; at most {MAX_CLASSES:,} are supported")
    order = sorted(names)
    columns: dict[str, Any] = {
        "class_id": np.arange(len(order), dtype=np.int16),
        "category_id": np.array(order, np.int64),
    }
    for i in range(3):
        columns[f"level{i + 1}"] = pa.array([names[c][i] for c in order], pa.string())
    if keys is not None:
        columns["key"] = pa.array(keys, pa.string())
    write_table(folder / "categories.arrow", columns)
    return {"classes": len(order)}


def write_table(
    path: Path,
    columns: Mapping[str, pa.Array | np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an Arrow IPC file of one record batch, so that columns are read without a copy."""
    arrays = {name: pa.array(values) for name, values in columns.items()}
    batch = pa.RecordBatch.from_pydict(arrays, metadata=metadata and dict(metadata))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def read_catalog(folder: Path, source: Path) -> Catalog:
    """Read the index in `folder`. source: the current path of the indexed file or folder."""
    products = read_table(folder / "products.arrow", "product_id", "class_id", "image_count")
    images = read_table(folder / "images.arrow", "product", "offset", "length", "md5")
    return Catalog(
        path=source,
        product_id=products["product_id"].to_numpy(),
        label=products["class_id"].to_numpy(),
        first_image=products["first_image"].to_numpy(),
        image_count=products["image_count"].to_numpy(),
        image_product=images["product"].to_numpy(),
        image_position=images["position"].to_numpy(),
        offset=images["offset"].to_numpy(),
        length=images["length"].to_numpy(),
        md5=_md5_words(images),
        files=_read_files(folder / "files.arrow"),
        keys=products["key"] if "key" in products.column_names else None,
        group=products["group"].to_numpy() if "group" in products.column_names else None,
        split=products["split"] if "split" in products.column_names else None,
    )


def read_categories(folder: Path) -> Categories:
    """Read `categories.arrow`."""
    table = read_table(folder / "categories.arrow", "category_id", "level1", "level2", "level3")
    levels = [table[f"level{i}"].to_pylist() for i in (1, 2, 3)]
    keys = table["key"].to_pylist() if "key" in table.column_names else None
    return Categories(table["category_id"].to_numpy(), list(zip(*levels, strict=True)), keys)


def read_splits(folder: Path) -> Splits:
    """Read `splits.arrow`."""
    table = read_table(folder / "splits.arrow", "part", "fold")
    group = table["group"].to_numpy() if "group" in table.column_names else None
    return Splits(table["part"].to_numpy(), table["fold"].to_numpy(), group)


def _md5_words(images: pa.Table) -> np.ndarray:
    """uint64 [I, 2] of the table's column md5."""
    words = np.empty(0)
    if images.num_rows:
        md5 = images["md5"].chunk(0)  # the only one; combining chunks would copy it
        words = np.frombuffer(md5.buffers()[1], np.uint64, len(md5) * 2)
    return words.astype(np.uint64, copy=False).reshape(-1, 2)


def _read_files(path: Path) -> FileTable | None:
    if not path.exists():
        return None
    table = read_table(path, "first_image", "name", "codec")
    codec = table["codec"][0].as_py() if len(table) else "image"
    return FileTable(table["first_image"].to_numpy(), table["name"], codec)


def concat_catalogs(first: Catalog, second: Catalog) -> Catalog:
    """Products and images of `first`, then those of `second`, so that a network can train on both.

    The result has no keys and no groups. Raises UserError if the codecs differ.
    """
    tables = [_absolute_files(catalog) for catalog in (first, second)]
    if tables[0].codec != tables[1].codec:
        raise UserError(
            f"{second.path}: its images are stored as {tables[1].codec}, those of {first.path} as"
            f" {tables[0].codec}; both must be the same"
        )
    num_images, num_products = len(first.offset), len(first.product_id)

    def concat(name: str, shift: int = 0) -> np.ndarray:
        head, tail = getattr(first, name), getattr(second, name)
        return np.concatenate([head, (tail + shift).astype(head.dtype)])

    return Catalog(
        path=Path("/"),
        product_id=concat("product_id"),
        label=concat("label"),
        first_image=concat("first_image", num_images),
        image_count=concat("image_count"),
        image_product=concat("image_product", num_products),
        image_position=concat("image_position"),
        offset=concat("offset"),
        length=concat("length"),
        md5=concat("md5"),
        files=_concat_files(tables[0], tables[1], num_images),
        background=first.background,
    )


def _concat_files(first: FileTable, second: FileTable, num_images: int) -> FileTable:
    names = first.names.to_pylist() + second.names.to_pylist()
    first_image = np.concatenate([first.first_image, second.first_image + num_images])
    return FileTable(first_image, pa.chunked_array([pa.array(names, pa.string())]), first.codec)


def _absolute_files(catalog: Catalog) -> FileTable:
    """The catalog's files, with absolute paths for names."""
    root, files = catalog.path.absolute(), catalog.files
    if files is None:
        return FileTable(np.zeros(1, np.int64), pa.chunked_array([[str(root)]]), "image")
    names = [str(root / name) for name in files.names.to_pylist()]
    return replace(files, names=pa.chunked_array([pa.array(names, pa.string())]))
