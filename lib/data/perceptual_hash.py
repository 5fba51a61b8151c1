"""Perceptual hashes: equal for two encodings of one photograph, whose MD5s differ.

The hash is ImageHash's pHash of 100 bits: which of the 10 x 10 lowest frequencies of the gray
image are above their median. Two images count as the same only if all bits are equal, so a
perceptual hash can be used wherever an MD5 can (`lib/features/hashes/hash_lookup.py`).

How the number of bits was chosen (on the labelled images of fashion, 60 x 80; the second figure of
the first column is for images of 180 x 180):

    bits   fraction of hashes unchanged     fraction of products with the same hash
           by a JPEG of quality 90          that have the same class
     64    0.94 and 0.82                    0.84
    100    0.87 and 0.73                    0.95
    144    0.84 and 0.59                    0.96

No MD5 survives a new encoding; 0.97 of the products with the same MD5 have the same class. Of
PDQ's hashes of 256 bits 0.28 survive on fashion, and none a change of size; of gradient hashes of
64 bits 0.59 (0.84 have the same class).
"""

import hashlib
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image
from tqdm import tqdm

from lib.data.catalog import Catalog
from lib.data.image_reader import ImageReader

HASH_SIDE = 10  # frequencies per side
IMAGE_SIDE = 4 * HASH_SIDE  # pixels; the size that ImageHash resizes to
BATCH_SIZE = 256


def perceptual_hashes(catalog: Catalog, threads: int) -> tuple[np.ndarray, int]:
    """Hashes uint64 [I, 2] of all images, and how many images could not be decoded.

    A hash is the MD5 of the pHash bits, because hash tables expect evenly distributed keys. An
    image that cannot be decoded keeps the MD5 of its bytes.
    """
    hashes = np.array(catalog.md5)
    title = f"images of {catalog.path.name}"
    with (
        ImageReader(catalog, (IMAGE_SIDE, IMAGE_SIDE), threads) as reader,
        tqdm(total=len(hashes), unit=" images", desc=title, disable=None) as bar,
    ):
        for rows, images in reader.batches(np.arange(len(hashes)), BATCH_SIZE):
            for row, image in zip(rows.tolist(), images.transpose(0, 2, 3, 1), strict=True):
                if not reader.corrupt[row]:
                    hashes[row] = _hash_image(image)
            bar.update(len(rows))
        return hashes, int(reader.corrupt.sum())


def build_perceptual_hashes(folder: Path, catalog: Catalog, threads: int) -> dict[str, Any]:
    """Write the hashes uint64 [I, 2] to `phash.npy`; returns counts."""
    hashes, corrupt = perceptual_hashes(catalog, threads)
    np.save(folder / "phash.npy", hashes)
    return {"images": len(hashes), "corrupt": corrupt}


def _hash_image(image: np.ndarray) -> np.ndarray:
    """uint64 [2] of uint8 [IMAGE_SIDE, IMAGE_SIDE, 3] RGB."""
    bits = imagehash.phash(Image.fromarray(image), HASH_SIDE).hash
    digest = hashlib.md5(np.packbits(bits).tobytes(), usedforsecurity=False).digest()
    return np.frombuffer(digest, np.uint64)
