"""BSON files in the competition's shape for the benchmarks: real lengths, no real images."""

from collections.abc import Callable
from pathlib import Path

import bson
import numpy as np
from tqdm import tqdm

IMAGE_COUNT_SHARES = (0.565, 0.226, 0.098, 0.111)  # products with 1 to 4 images: 1.75 on average
MIN_BYTES, MAX_BYTES = 2_000, 7_400  # of an image: 4.7 KB on average, as 58 GB for 12.37M images
CATEGORIES = 5_270
POOL = 1 << 22  # random bytes that images are cut from

MakeImage = Callable[[int], bytes]


def write_bson(path: Path, products: int, images: int | None = None, seed: int = 1) -> int:
    """Write records with random bytes as images; returns the number of images."""
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
    """Write records with images of one pixel, all different; returns the number of images."""
    rng = np.random.default_rng(seed)
    header = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1\0\0\0\1\0\0\0\1\0\x18\0" + bytes(24)

    def make_image(number: int) -> bytes:
        return header + number.to_bytes(4, "little")

    return _write(path, _counts(products, images, rng), make_image, rng)


def _counts(products: int, images: int | None, rng: np.random.Generator) -> np.ndarray:
    """Images of each product; exactly `images` in all if that is given."""
    count = 1 + rng.choice(4, products, p=np.array(IMAGE_COUNT_SHARES) / sum(IMAGE_COUNT_SHARES))
    while images is not None and count.sum() != images:
        missing = images - int(count.sum())
        free = np.flatnonzero(count < 4 if missing > 0 else count > 1)
        count[rng.permutation(free)[: abs(missing)]] += np.sign(missing)
    return count


def _write(path: Path, count: np.ndarray, make_image: MakeImage, rng: np.random.Generator) -> int:
    """Write a record for each product with its count of images; returns the number of images."""
    category = rng.integers(0, CATEGORIES, len(count)).tolist()
    product_id = np.cumsum(rng.integers(1, 6, len(count))).tolist()
    number = 0
    with path.open("wb", buffering=1 << 22) as file:
        for row, images in enumerate(tqdm(count.tolist(), desc="generating", disable=None)):
            imgs = [{"picture": make_image(number + i)} for i in range(images)]
            number += images
            record = {
                "_id": product_id[row],
                "imgs": imgs,
                "category_id": 1_000_000 + category[row],
            }
            file.write(bson.encode(record))
    return number
