"""Embeddings of every image, shortened by a PCA for the k-NN search.

    embeddings.npy  float16 [n, dims]: center view of image i, minus the mean, on the first axes
    projection.npy  float32 [1 + width, dims]: the projected mean, then the principal axes
    features.npy    float16 [n, width]: the input of the head, if a fusion model reads it
    mirrored.npy    float16 [n, width]: the same of the mirrored image, if a fusion model reads it
    decoded.npy     bool [n]: whether image i could be decoded; others have the values of gray

Written in chunks of `predict.shard_size` images; an interrupted call resumes after the last chunk.
Source: 8th-place Cdiscount team (nearest neighbors in embedding space).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.config.model import Backbone, Model
from lib.config.schema import Predict, Run
from lib.data.aspect.reader import batch_shapes
from lib.data.crops import center_crop, crop
from lib.data.image_reader import ImageReader
from lib.errors import UserError
from lib.models.classifier import ImageClassifier
from lib.pipeline.reading import load_array, reading
from lib.runtime import device as devices
from lib.utils.chunks import chunks
from lib.utils.files import atomic_write
from lib.utils.npy import open_array

PCA_SAMPLE = 20_000  # images that the principal axes are computed from
FLOAT16_MAX = float(np.finfo(np.float16).max)  # 65504
PROGRESS = "progress"  # file with the number of rows written; deleted at the end


def write_embeddings(
    folder: Path,
    model: Model | Backbone,
    settings: Predict,
    load_network: Callable[[torch.device], ImageClassifier],
    projection: Path | None,
    keep_features: bool,
    reader: ImageReader,
    run: Run,
    keep_mirrored: bool = False,
) -> dict[str, Any]:
    """Embed every image of the reader's catalog with the network of `load_network`.

    projection: that of another catalog, to embed into the same space; None = compute one.
    keep_features, keep_mirrored: also write `features.npy`, and `mirrored.npy`.
    Returns {"images", "dims", "width"}: numbers of images and of values in the two arrays.
    """
    num_images = len(reader.catalog.length)
    mirrors = (False, True) if keep_mirrored else (False,)
    embedder = _Embedder(model, load_network, reader, run, mirrors)
    # One shard is embedded once, for the PCA and for the result. An interrupted call embeds it in
    # the same batches again, so that it ends with equal bytes.
    embedder.one_shard = num_images <= settings.shard_size
    if projection is None:
        projection = _ensure_projection(folder, embedder, num_images, settings.embedding_dim)
    mean_and_axes = load_array(projection)
    dims, width = mean_and_axes.shape[1], embedder.net.num_features
    progress = folder / PROGRESS
    with reading(progress):
        done = int(progress.read_text()) if progress.exists() else 0
    embeddings = open_rows(folder / "embeddings.npy", (num_images, dims), done)
    decoded = open_rows(folder / "decoded.npy", (num_images,), done, np.bool_)
    features = mirrored = None
    if keep_features:
        features = open_rows(folder / "features.npy", (num_images, width), done)
    if keep_mirrored:
        mirrored = open_rows(folder / "mirrored.npy", (num_images, width), done)
    with tqdm(
        total=num_images, initial=done, unit=" images", desc=_title(folder), disable=None
    ) as bar:
        while done < num_images:
            images = np.arange(done, min(done + settings.shard_size, num_images))
            for position, (pooled, *others) in embedder.embed(images, mirrors):
                batch = images[position]
                embeddings[batch] = to_float16(pooled @ mean_and_axes[1:] - mean_and_axes[0])
                decoded[batch] = ~reader.corrupt[batch]
                if features is not None:
                    features[batch] = to_float16(pooled)
                if mirrored is not None:
                    mirrored[batch] = to_float16(others[0])
                done += len(pooled)
                bar.update(len(pooled))
            for array in (embeddings, decoded, features, mirrored):
                if array is not None:
                    array.flush()
            with atomic_write(progress) as temporary:
                temporary.write_text(str(done))
    progress.unlink(missing_ok=True)
    return {"images": num_images, "dims": dims, "width": width}


def to_float16(values: np.ndarray) -> np.ndarray:
    """Finite values float32 as they are stored: float16, where its range ends as its last value."""
    return np.clip(values, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)


def open_rows(
    path: Path, shape: tuple[int, ...], done: int, dtype: type[np.generic] = np.float16
) -> np.memmap:
    """An array on disk; the existing file if some rows are done."""
    if done:
        with reading(path):
            rows = open_array(path, "r+")
            if rows.shape != shape or rows.dtype != dtype:
                raise ValueError(f"{rows.dtype} {list(rows.shape)} instead of {list(shape)}")
            return rows
    return np.lib.format.open_memmap(path, "w+", dtype, shape)


class _Embedder:
    """A network and the reader whose images it embeds.

    mirrors: the views of an image that are written, as it is or mirrored.
    """

    def __init__(
        self,
        model: Model | Backbone,
        load_network: Callable[[torch.device], ImageClassifier],
        reader: ImageReader,
        run: Run,
        mirrors: Sequence[bool],
    ) -> None:
        self.model, self.reader, self.mirrors = model, reader, mirrors
        self.batch_size = devices.image_batch_size(run)
        self.device = devices.select_device(run, model)
        self.net = load_network(self.device)
        self.shapes = batch_shapes(reader, model)
        self.one_shard = False
        # The features of all images, a table for each of `mirrors`, where they are one shard.
        self.pooled: list[np.ndarray] = []

    def embed(
        self, images: np.ndarray, mirrors: Sequence[bool]
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Pooled features of the center view of images int64 [n], batch by batch.

        Yields (positions in `images` int64 [b], features float32 [b, width] for each of `mirrors`).
        Raises UserError for features that are not finite: no cosine and no fusion could use them.
        """
        if self.pooled:
            for batch in chunks(len(images), self.batch_size):
                views = [pooled[images[batch]] for pooled in self.pooled]
                yield np.arange(batch.start, batch.stop), views
            return
        order, done = self.reader.batch_order(images), 0
        for rows, pixels in self.reader.batches(images[order], self.batch_size):
            resize, crop_size = self.shapes[self.reader.shape_of(rows)]
            top, left, _ = center_crop(resize, crop_size)
            batch_images = devices.to_device(pixels, self.device)
            boxes = [(top, left, mirror) for mirror in mirrors]
            views = [self._pool(crop(batch_images, box, crop_size)) for box in boxes]
            yield order[done : done + len(rows)], views
            done += len(rows)

    def _pool(self, images: torch.Tensor) -> np.ndarray:
        with torch.inference_mode(), devices.autocast(self.model, self.device):
            features = self.net.embed(self.net.normalise(images))
        pooled = features.float().cpu().numpy()
        if not np.isfinite(pooled).all():
            raise UserError(
                f'{self.net.name}: its embeddings are not finite; set precision = "float32"'
                " for it, or take other weights"
            )
        return pooled


def _ensure_projection(folder: Path, embedder: _Embedder, num_images: int, dims: int) -> Path:
    """The path of `projection.npy`, which is computed unless an interrupted call wrote it."""
    path = folder / "projection.npy"
    if not path.exists():
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.save(file, _mean_and_axes(embedder, num_images, dims))
    return path


def _mean_and_axes(embedder: _Embedder, num_images: int, dims: int) -> np.ndarray:
    """PCA of an evenly spaced sample: float32 [1 + width, dims], the projected mean, then the axes.

    dims: at most; there are no more axes than features. Images that cannot be decoded are left out.
    """
    sample = np.linspace(0, max(num_images - 1, 0), min(num_images, PCA_SAMPLE))
    images = np.unique(sample.astype(np.int64))
    width = embedder.net.num_features
    seen = np.arange(num_images) if embedder.one_shard else images
    mirrors = embedder.mirrors if embedder.one_shard else (False,)
    tables = [np.empty((len(seen), width), np.float32) for _ in mirrors]
    for position, views in embedder.embed(seen, mirrors):
        for table, pooled in zip(tables, views, strict=True):
            table[position] = pooled
    features = tables[0]
    if embedder.one_shard:
        embedder.pooled = tables
        features = features[images]
    features = features[~embedder.reader.corrupt[images]]
    mean = features.mean(axis=0, dtype=np.float64) if len(features) else np.zeros(width)
    centered = (features - mean).astype(np.float64)
    axes = _principal_axes(centered, dims)
    return np.vstack([mean @ axes, axes]).astype(np.float32)


def _principal_axes(centered: np.ndarray, dims: int) -> np.ndarray:
    """The first principal axes of float64 [n, width], as columns [width, dims or width].

    The largest entry of an axis is positive.
    """
    if dims <= len(centered) < centered.shape[1]:  # the same axes, from the smaller side
        axes = np.linalg.svd(centered, full_matrices=False)[2].T[:, :dims]
    else:
        axes = np.linalg.eigh(centered.T @ centered)[1][:, ::-1][:, :dims]
    largest = np.abs(axes).argmax(axis=0)
    return axes * np.sign(axes[largest, np.arange(axes.shape[1])])


def _title(folder: Path) -> str:
    net = folder.parent
    return f"{net.parent.name}/{net.name}/{folder.name.removesuffix('.partial')} embeddings"
