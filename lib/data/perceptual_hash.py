"""Keys of what pictures look like: two encodings of one photograph have two MD5s and one look.

The key is ImageHash's pHash of 100 bits: which of the 10 x 10 lowest frequencies of the grey
picture are above their median. Pictures are alike only if all bits are equal, so that a key
serves wherever an MD5 does (`lib/features/hash_lookup.py`). How many bits, on fashion's labelled
part
(60 x 80) and, for the first figure, on 180 x 180 pictures:

    bits   key survives a JPEG of quality 90   a product with the same key has the same class
     64    0.94 and 0.82                       0.84
    100    0.87 and 0.73                       0.95
    144    0.84 and 0.59                       0.96

MD5 survives none, and agrees in 0.97. PDQ's 256 bits survive in 0.28 on fashion, in none after a
change of size; gradient hashes of 64 bits in 0.59 (0.84 the same class).
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

SIZE = 10  # frequencies a side
SIDE = 4 * SIZE  # pixels a side of what ImageHash looks at: given these, it resizes no more
BATCH = 256


def hashes(catalogue: Catalog, threads: int) -> tuple[np.ndarray, int]:
    """Keys uint64 [I, 2] of all pictures, and how many of them could not be decoded.

    A key is the MD5 of the bits: whoever looks keys up takes them for evenly spread. A
    picture that cannot be decoded keeps its own MD5: it is alike to the same bytes only.
    """
    keys = np.array(catalogue.md5)
    title = f"pictures of {catalogue.path.name}"
    with (
        ImageReader(catalogue, (SIDE, SIDE), threads) as reader,
        tqdm(total=len(keys), unit=" images", desc=title, disable=None) as bar,
    ):
        for rows, pictures in reader.batches(np.arange(len(keys)), BATCH):
            for row, picture in zip(rows.tolist(), pictures.transpose(0, 2, 3, 1), strict=True):
                if not reader.rotten[row]:
                    keys[row] = _key(picture)
            bar.update(len(rows))
        return keys, int(reader.rotten.sum())


def build_alike(folder: Path, catalogue: Catalog, threads: int) -> dict[str, Any]:
    """Write `alike.npy`, uint64 [I, 2] as `hashes` makes it; returns counts."""
    keys, rotten = hashes(catalogue, threads)
    np.save(folder / "alike.npy", keys)
    return {"images": len(keys), "rotten": rotten}


def _key(picture: np.ndarray) -> np.ndarray:
    """uint64 [2] of uint8 [SIDE, SIDE, 3] RGB."""
    bits = imagehash.phash(Image.fromarray(picture), SIZE).hash
    digest = hashlib.md5(np.packbits(bits).tobytes(), usedforsecurity=False).digest()
    return np.frombuffer(digest, np.uint64)
