"""Arrow files of the index and of categories and splits."""

import random
from pathlib import Path

import numpy as np

from lib.data import catalog
from lib.data.image_reader import ImageReader
from tests.conftest import jpeg
from tests.fuzz.family import Family, write

FILES = ("products.arrow", "images.arrow", "files.arrow", "categories.arrow", "splits.arrow")


def make_seeds(folder: Path) -> list[bytes]:
    """One file of each kind; the first byte says which."""
    _write_all(folder)
    return [bytes([n]) + (folder / name).read_bytes() for n, name in enumerate(FILES)]


def _write_all(folder: Path) -> None:
    import pyarrow as pa

    count = 4
    write(folder / "a.jpg", jpeg(1, 8, 8))
    columns = {
        "product_id": np.arange(count),
        "class_id": np.zeros(count, np.int16),
        "first_image": np.arange(count),
        "image_count": np.ones(count, np.int16),
        "key": pa.array([f"key {n}" for n in range(count)]),
        "group": np.arange(count, dtype=np.int32),
    }
    catalog.write_table(folder / "products.arrow", columns)
    md5 = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), count, [None, pa.py_buffer(bytes(64))]
    )
    columns = {
        "product": np.arange(count, dtype=np.int32),
        "position": np.zeros(count, np.int16),
        "offset": np.zeros(count, np.int64),
        "length": np.full(count, len(jpeg(1, 8, 8)), np.int32),
        "md5": md5,
    }
    catalog.write_table(folder / "images.arrow", columns)
    columns = {
        "first_image": np.arange(count),
        "name": pa.array(["a.jpg"] * count),
        "codec": pa.array(["image"] * count),
    }
    catalog.write_table(folder / "files.arrow", columns)
    catalog.build_named_categories(folder, folder, ["A/B", "A/C", "D", "É"])
    parts = {"part": np.arange(4, dtype=np.int8) % 3, "fold": np.arange(4, dtype=np.int8) - 1}
    catalog.write_table(folder / "splits.arrow", parts)


def prepare(inside: Path) -> None:
    """The other files, all valid."""
    (inside / "index").mkdir()
    _write_all(inside / "index")


def read(data: bytes, inside: Path) -> None:
    """Read the file among valid ones, and use every value of it."""
    folder, number = inside / "index", (data[0] if data else 0) % len(FILES)
    path = folder / FILES[number]
    before = path.read_bytes()
    write(path, data[1:])
    try:
        _read_all(folder)
    finally:
        write(path, before)


def _read_all(folder: Path) -> None:
    indexed = catalog.read_catalog(folder, folder)
    indexed.id_is_number()
    [indexed.key(row) for row in range(len(indexed.product_id))]
    categories = catalog.read_categories(folder)
    categories.levels()
    catalog.read_splits(folder).products("fit")
    with ImageReader(indexed, (8, 8), 1) as reader:
        reader.decode(0)


def change_offsets(rng: random.Random, data: bytes) -> bytes:
    """Other offsets of strings and buffers: many small numbers lie on words of 4 and 8 bytes."""
    at = 1 + 8 * rng.randrange(max(1, len(data) // 8))
    value = rng.choice([-1, 1 << 20, 1 << 31, 1 << 40, 7, 0]) % (1 << 64)
    return data[:at] + value.to_bytes(8, "little") + data[at + 8 :]


FAMILIES = [
    Family(
        "arrow",
        make_seeds,
        read,
        prepare,
        own=(change_offsets,),
        tokens=(b"ARROW1", b"\xff\xff\xff\xff", b"../outside/secret"),
        behind_checksum=True,
        weight=2,
    )
]
