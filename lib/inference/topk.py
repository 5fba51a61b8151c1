"""Top-k class probabilities of images, in memory and on disk.

All probabilities would take classes x images numbers (65 GB a model at Cdiscount's size). The k
most probable classes of each image, and the mass outside of them, are enough for candidates, means
and the ladder.

Imports no torch, so that processes that train boosters start without it; lib/inference/
topk_writer.py fills these files from a predictor.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.pipeline.reading import map_array, reading

DTYPES: dict[str, Any] = {"class": np.int16, "prob": np.float16, "rest": np.float16}  # on disk
IMAGELESS = "imageless"  # folder of the products without any image


@dataclass(frozen=True)
class TopK:
    """Row i of each array belongs to the same image.

    image: int64 [n], row in the catalog's `images` table, ascending.
    classes: int16 [n, k], by falling probability.
    probs: float32 [n, k] (float16 on disk).
    rest: float32 [n], probability outside the k classes, at least 0; their sum if a product has a
        set of classes.
    imageless: of a model of texts: the same of the products without any image, whose rows in the
        catalog's `products` table stand in `image`; None if there are none.
    """

    image: np.ndarray
    classes: np.ndarray
    probs: np.ndarray
    rest: np.ndarray
    imageless: "TopK | None" = None

    def for_products(self, products: np.ndarray) -> "TopK":
        """The same with the products without images that are among `products` alone.

        products: int64 [Q], ascending.
        """
        if self.imageless is None:
            return self
        of = self.imageless
        row = np.flatnonzero(np.isin(of.image, products))
        some = TopK(of.image[row], of.classes[row], of.probs[row], of.rest[row])
        return replace(self, imageless=some if len(row) else None)

    def save(self, folder: Path, prefix: str = "tta") -> None:
        """Write `image.npy` and `<prefix>_{class,prob,rest}.npy` into `folder`."""
        chunk = {"class": self.classes, "prob": self.probs, "rest": self.rest}
        write_chunks(folder, prefix, self.image, self.classes.shape[1], [chunk])
        if self.imageless is not None:
            (folder / IMAGELESS).mkdir(exist_ok=True)
            self.imageless.save(folder / IMAGELESS)

    @classmethod
    def load(cls, folder: Path, prefix: str = "tta", rows: slice = slice(None)) -> "TopK":
        """Read what `save` wrote.

        prefix: "tta" for the mean over all views, "center" for the center view.
        rows: of the files; others are not read.
        """
        image, arrays = map_array(folder / "image.npy"), {}
        for name, dtype in DTYPES.items():
            with reading(folder / f"{prefix}_{name}.npy"):
                values = map_array(folder / f"{prefix}_{name}.npy")
                width = values.shape[1] if values.ndim == 2 else 0
                if values.shape != array_shape(name, len(image), width) or values.dtype != dtype:
                    raise ValueError(f"{values.dtype} {list(values.shape)} of {len(image)} images")
                arrays[name] = np.array(values[rows])
        probs, rest = arrays["prob"].astype(np.float32), arrays["rest"].astype(np.float32)
        inner = folder / IMAGELESS
        imageless = cls.load(inner) if inner.is_dir() else None
        return cls(np.array(image[rows]), arrays["class"], probs, rest, imageless)


def dense_probs(topk: TopK, num_classes: int) -> np.ndarray:
    """Probabilities of all classes, float32 [n, num_classes].

    A class outside the list has an equal share of the rest, at most the lowest listed probability.
    """
    k = topk.classes.shape[1]
    share = np.minimum(topk.rest / max(num_classes - k, 1), topk.probs[:, -1])
    probs = np.repeat(share[:, None].astype(np.float32), num_classes, axis=1)
    np.put_along_axis(probs, topk.classes.astype(np.int64), topk.probs, axis=1)
    return probs


def write_chunks(
    folder: Path,
    prefix: str,
    image: np.ndarray,
    k: int,
    chunks: Iterable[Mapping[str, np.ndarray]],
) -> None:
    """Write the files of `TopK.save` with one chunk at a time in memory.

    image: int [n], of all chunks.
    chunks: "class" int [m, k], "prob" float [m, k] and "rest" float [m] of the next m images.
    Raises ValueError if the chunks do not have n rows in all.
    """
    np.save(folder / "image.npy", image.astype(np.int64))
    rows = 0
    with ExitStack() as stack:
        files = {}
        for name, dtype in DTYPES.items():
            files[name] = stack.enter_context((folder / f"{prefix}_{name}.npy").open("wb"))
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                "fortran_order": False,
                "shape": array_shape(name, len(image), k),
            }
            np.lib.format.write_array_header_1_0(files[name], header)
        for chunk in chunks:
            rows += len(chunk["rest"])
            for name, file in files.items():
                file.write(chunk[name].astype(DTYPES[name], copy=False).tobytes())
    if rows != len(image):
        raise ValueError(f"{folder}: {rows} rows for {len(image)} images")


def array_shape(name: str, num_images: int, k: int) -> tuple[int, ...]:
    """Shape of the array `name` of `DTYPES`."""
    return (num_images,) if name == "rest" else (num_images, k)
