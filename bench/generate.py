"""BSON files in the competition's shape for the benchmarks: real lengths, no real images."""

from collections.abc import Callable
from pathlib import Path

import bson
import numpy as np
from tqdm import tqdm

IMAGES = (0.565, 0.226, 0.098, 0.111)  # shares of 1 to 4 images that give 1.75 a product
MIN_BYTES, MAX_BYTES = (
    2_000,
    7_400,
)  # bytes of a picture: 4.7 KB on average, as 58 GB for 12.37M are
CATEGORIES = 5_270
POOL = 1 << 22

MakeImage = Callable[[int], bytes]


def write_bson(path: Path, products: int, images: int | None = None, seed: int = 1) -> int:
    """Records with random bytes for pictures; returns how many pictures."""
    rng = np.random.default_rng(seed)
    pool = rng.bytes(POOL + MAX_BYTES)
    count = _counts(products, images, rng)
    starts = iter(rng.integers(0, POOL, int(count.sum())).tolist())
    lengths = iter(rng.integers(MIN_BYTES, MAX_BYTES, int(count.sum())).tolist())

    def make_image(_: int) -> bytes:
        start = next(starts)
        return pool[start : start + next(lengths)]

    return _write(path, count, make_image, rng)


def write_small_bson(path: Path, products: int, images: int, seed: int = 1) -> int:
    """Records with a picture of one pixel each, all different: the index without the 58 GB."""
    rng = np.random.default_rng(seed)
    header = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1\0\0\0\1\0\0\0\1\0\x18\0" + bytes(24)

    def make_image(number: int) -> bytes:
        return header + number.to_bytes(4, "little")

    return _write(path, _counts(products, images, rng), make_image, rng)


def _counts(products: int, images: int | None, rng: np.random.Generator) -> np.ndarray:
    """Images of each product; exactly `images` in all if that is given."""
    count = 1 + rng.choice(4, products, p=np.array(IMAGES) / sum(IMAGES))
    while images is not None and count.sum() != images:
        missing = images - int(count.sum())
        free = np.flatnonzero(count < 4 if missing > 0 else count > 1)
        count[rng.permutation(free)[: abs(missing)]] += np.sign(missing)
    return count


def _write(path: Path, count: np.ndarray, make_image: MakeImage, rng: np.random.Generator) -> int:
    category = rng.integers(0, CATEGORIES, len(count)).tolist()
    identity = np.cumsum(rng.integers(1, 6, len(count))).tolist()
    number = 0
    with path.open("wb", buffering=1 << 22) as file:
        for row, images in enumerate(tqdm(count.tolist(), desc="generating", disable=None)):
            shown = [{"picture": make_image(number + i)} for i in range(images)]
            number += images
            record = {"_id": identity[row], "imgs": shown, "category_id": 1_000_000 + category[row]}
            file.write(bson.encode(record))
    return number
