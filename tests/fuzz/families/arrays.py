"""Numpy arrays: of a catalog, and those of the work folder."""

import contextlib
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lib.data.records import CorruptRecord, RecordBatch, is_complete, load_batch, save_batch
from lib.data.sources.numpy_arrays import list_arrays
from lib.errors import UserError
from lib.features.table import FeatureTable
from lib.inference.topk import TopK
from lib.pipeline.reading import load_array
from tests.fuzz.family import Family, write


def _npy(values: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, values, version)
    return file.getvalue()


def make_seeds(folder: Path) -> list[bytes]:
    """Images in two layouts and header versions."""
    values = np.random.default_rng(1).integers(0, 256, (5, 4, 4), np.uint8)
    return [_npy(values), _npy(values.reshape(5, 16)), _npy(values, (2, 0)), _npy(values[:, :, :3])]


def read(data: bytes, inside: Path) -> None:
    """List the rows of an array and hash them."""
    source = write(inside / "cat.npy", data)
    listing = list_arrays(source, True)
    listing.hash_images(0, min(8, len(listing.labels)))


def float_seeds(folder: Path) -> list[bytes]:
    """Arrays as the stages write them."""
    rng = np.random.default_rng(1)
    return [_npy(rng.random((6, 3)).astype(np.float32)), _npy(np.arange(6, dtype=np.int64))]


def read_work_array(data: bytes, inside: Path) -> None:
    """An array alone, and as a part of a feature table and of top-k predictions."""
    load_array(write(inside / "columns.npy", data))
    write(inside / "columns.json", b'{"names": ["a", "b", "c"], "categorical": []}')
    for name in ("image", "tta_class", "tta_prob", "tta_rest"):
        write(inside / f"{name}.npy", data)
    with contextlib.suppress(UserError):
        TopK.load(inside)
    with contextlib.suppress(UserError):
        table = FeatureTable.load(inside)
        rows = np.arange(min(2, len(table)))
        table.read(rows, np.empty((len(rows), 3), np.float32))


def batch_seeds(folder: Path) -> list[bytes]:
    """A batch of records, as an interrupted stage 01 leaves it."""
    batch = RecordBatch(
        location=np.arange(3),
        product_id=np.arange(3),
        category_id=np.arange(3),
        image_count=np.ones(3, np.int32),
        offset=np.arange(3),
        length=np.ones(3, np.int32),
        md5=np.zeros((3, 16), np.uint8),
        corrupt=[CorruptRecord(5, 6, "a reason")],
        file=np.zeros(3, np.int32),
    )
    save_batch(batch, folder / "batch.npy")
    return [(folder / "batch.npy").read_bytes()]


def read_batch(data: bytes, inside: Path) -> str | None:
    """Whether an interrupted build can use it; it must never be used if a byte is another."""
    path = write(inside / "batch.npy", data)
    if not is_complete(path):
        return "passed over"
    if load_batch(path).product_id.tolist() != [0, 1, 2]:
        raise AssertionError("a damaged batch was taken for a complete one")
    return None


def change_header(rng: random.Random, data: bytes) -> bytes:
    """Another type, order or shape in the header, which keeps its length."""
    old, new = rng.choice(
        [
            (b"|u1", b"|O1"),
            (b"|u1", b"|b1"),
            (b"|u1", b"<u2"),
            (b"|u1", b"|V0"),
            (b"False", b"True "),
            (b"(5,", b"(9,"),
            (b"4, 4", b"0, 4"),
            (b"4, 4", b"1,-4"),
            (b"'descr'", b"'shape'"),
            (b"<f4", b"<U9"),
            (b"<f4", b"|O "),
            (b"<i8", b"<M8"),
            (b"(6,", b"(-1"),
            (b"}", b" "),
            (b"(5, 4, 4), }", b"(1<<62,4,4)}"),
            (b"(6, 3), }", b"(99999999,)}"),
        ]
    )
    return data.replace(old, new, 1)


def _family(name: str, seeds: Callable, read: Callable, weight: float, **more: object) -> Family:
    tokens = (b"\x93NUMPY", b"|O", b"'descr': ", b"__import__('os').system('true')", b"(" * 50)
    return Family(
        f"arrays-{name}", seeds, read, own=(change_header,), tokens=tokens, weight=weight, **more
    )


FAMILIES = [
    _family("catalog", make_seeds, read, 5),
    _family("work", float_seeds, read_work_array, 2),
    _family("batch", batch_seeds, read_batch, 12),
]
