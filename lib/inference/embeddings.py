"""What a network's head sees of each picture, as short vectors to find neighbours by (T3).

    embeddings.npy  float16 [n, dims]: the centre view of row i, less the mean, on the first axes
    projection.npy  float32 [1 + width, dims]: the mean's own place and the axes, by a sample's PCA
    whole.npy       float16 [n, width]: all that the head sees, where a fusion is to read it

Written in pieces of `predict.shard_size` pictures; an interrupted call goes on after the last
piece.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.config.model import Backbone, Model
from lib.config.schema import Predict, Run
from lib.data.crops import center_crop, crop
from lib.data.image_reader import ImageReader
from lib.models.classifier import ImageClassifier
from lib.runtime import device as devices
from lib.utils.files import atomic_write

SAMPLE = 20_000  # pictures whose principal axes are kept
PROGRESS = "progress"  # rows that are written; gone when all are


def embed(
    folder: Path,
    model: Model | Backbone,
    settings: Predict,
    load: Callable[[torch.device], ImageClassifier],
    projection: Path | None,
    whole: bool,
    reader: ImageReader,
    run: Run,
) -> dict[str, Any]:
    """Embed every picture of the reader's catalogue with the network that `load` puts on a device.

    projection: that of another catalogue, whose space is to be shared; None: make one. whole:
    write `whole.npy` too. Returns facts: images, dims, width.
    """
    count = len(reader.catalog.length)
    seer = _Embedder(model, load, reader, run)
    if projection is None:
        projection = folder / "projection.npy"
        if not projection.exists():
            _make_projection(projection, seer, count, settings.embedding_dim)
    axes = np.load(projection)
    progress = folder / PROGRESS
    done = int(progress.read_text()) if progress.exists() else 0
    values = _rows(folder / "embeddings.npy", count, axes.shape[1], done)
    all_of_it = _rows(folder / "whole.npy", count, seer.net.num_features, done) if whole else None
    with tqdm(total=count, initial=done, unit=" images", desc=_title(folder), disable=None) as bar:
        while done < count:
            piece = np.arange(done, min(done + settings.shard_size, count))
            for seen in seer.seen(piece):
                values[done : done + len(seen)] = seen @ axes[1:] - axes[0]
                if all_of_it is not None:
                    all_of_it[done : done + len(seen)] = seen
                done += len(seen)
                bar.update(len(seen))
            for written in (values, all_of_it):
                if written is not None:
                    written.flush()
            with atomic_write(progress) as temporary:
                temporary.write_text(str(done))
    progress.unlink(missing_ok=True)
    return {"images": count, "dims": axes.shape[1], "width": seer.net.num_features}


def _rows(path: Path, count: int, width: int, done: int) -> np.memmap:
    """float16 [count, width] on disk, as it lies there if some rows are done."""
    mode, shape = ("r+", None) if done else ("w+", (count, width))
    return np.lib.format.open_memmap(path, mode, np.float16, shape)


class _Embedder:
    def __init__(
        self,
        model: Model | Backbone,
        load: Callable[[torch.device], ImageClassifier],
        reader: ImageReader,
        run: Run,
    ) -> None:
        self.model, self.reader, self.batch = model, reader, run.predict_batch_size
        self.device = devices.select_device(run, model)
        self.net = load(self.device)

    def seen(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """What the head sees, float32 [b, width], batch by batch in the order of `rows`."""
        top, left, _ = center_crop(self.model.resize, self.model.crop)
        for _, pictures in self.reader.batches(rows, self.batch):
            with torch.inference_mode(), devices.autocast(self.model, self.device):
                whole = devices.to_device(pictures, self.device)
                view = crop(whole, (top, left, False), self.model.crop)
                seen = self.net.embed(self.net.normalise(view))
            yield seen.float().cpu().numpy()


def _make_projection(path: Path, seer: _Embedder, count: int, dims: int) -> None:
    """Write the mean and the principal axes of an even sample of the rows."""
    rows = np.unique(np.linspace(0, max(count - 1, 0), min(count, SAMPLE)).astype(np.int64))
    seen = np.concatenate([np.empty((0, seer.net.num_features), np.float32), *seer.seen(rows)])
    mean = seen.mean(axis=0, dtype=np.float64) if len(seen) else np.zeros(seer.net.num_features)
    spread = (seen - mean).astype(np.float64)
    _, axes = np.linalg.eigh(spread.T @ spread)
    axes = axes[:, ::-1][:, :dims]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])  # eigh may turn any axis round
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.vstack([mean @ axes, axes]).astype(np.float32))


def _title(folder: Path) -> str:
    net = folder.parent
    return f"{net.parent.name}/{net.name}/{folder.name.removesuffix('.partial')} embeddings"
