"""Top-k class probabilities of pictures: what stage 03 leaves and the ranking room reads.

A full dump is classes x pictures (65 GB a model at Cdiscount's size); the first k of each picture
and the mass outside them (`rest`) are enough for candidates, means and the ladder.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class TopK:
    """Arrays share the row: one picture.

    image int64 [n]: row of the catalogue's `images` table, ascending.
    classes int16 [n, k]: by falling probability.
    probs float32 [n, k] (float16 on disk).
    rest float32 [n]: probability outside the k classes, at least 0.
    """

    image: np.ndarray
    classes: np.ndarray
    probs: np.ndarray
    rest: np.ndarray

    def save(self, folder: Path, prefix: str = "top") -> None:
        """Write `image.npy` and `<prefix>_{class,prob,rest}.npy` into `folder`."""
        np.save(folder / "image.npy", self.image.astype(np.int64))
        np.save(folder / f"{prefix}_class.npy", self.classes.astype(np.int16))
        np.save(folder / f"{prefix}_prob.npy", self.probs.astype(np.float16))
        np.save(folder / f"{prefix}_rest.npy", self.rest.astype(np.float16))


def read(folder: Path, prefix: str = "top") -> TopK:
    """What `TopK.save` wrote: "plain" is the centre view alone, "top" the mean of the views."""
    return TopK(
        image=np.load(folder / "image.npy"),
        classes=np.load(folder / f"{prefix}_class.npy"),
        probs=np.load(folder / f"{prefix}_prob.npy").astype(np.float32),
        rest=np.load(folder / f"{prefix}_rest.npy").astype(np.float32),
    )
