"""Top-k class probabilities of pictures: what stage 03 leaves and the ranking room reads.

A full dump is classes x pictures (65 GB a model at Cdiscount's size); the first k of each picture
and the mass outside them (`rest`) are enough for candidates, means and the ladder.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TYPES: dict[str, Any] = {"class": np.int16, "prob": np.float16, "rest": np.float16}  # on disk


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
        whole = {"class": self.classes, "prob": self.probs, "rest": self.rest}
        write(folder, prefix, self.image, self.classes.shape[1], [whole])


def write(
    folder: Path,
    prefix: str,
    image: np.ndarray,
    k: int,
    pieces: Iterable[Mapping[str, np.ndarray]],
) -> None:
    """Write the files of `TopK.save` from pieces, of which one at a time is in memory.

    image [n]: rows of all pieces. A piece holds "class" and "prob" [m, k] and "rest" [m] of the
    next m rows. Raises ValueError where they are not n rows in all.
    """
    np.save(folder / "image.npy", image.astype(np.int64))
    rows = 0
    with ExitStack() as stack:
        files = {}
        for name, kind in TYPES.items():
            files[name] = stack.enter_context((folder / f"{prefix}_{name}.npy").open("wb"))
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
                "fortran_order": False,
                "shape": shape(name, len(image), k),
            }
            np.lib.format.write_array_header_1_0(files[name], header)
        for piece in pieces:
            rows += len(piece["rest"])
            for name, file in files.items():
                file.write(piece[name].astype(TYPES[name], copy=False).tobytes())
    if rows != len(image):
        raise ValueError(f"{folder}: {rows} rows for {len(image)} pictures")


def shape(name: str, rows: int, k: int) -> tuple[int, ...]:
    """Of the array `name` of `TYPES`."""
    return (rows,) if name == "rest" else (rows, k)


def read(folder: Path, prefix: str = "top") -> TopK:
    """What `TopK.save` wrote: "plain" is the centre view alone, "top" the mean of the views."""
    return TopK(
        image=np.load(folder / "image.npy"),
        classes=np.load(folder / f"{prefix}_class.npy"),
        probs=np.load(folder / f"{prefix}_prob.npy").astype(np.float32),
        rest=np.load(folder / f"{prefix}_rest.npy").astype(np.float32),
    )
