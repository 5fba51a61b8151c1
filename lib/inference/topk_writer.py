"""Writes the top-k probabilities of a predictor, in shards that an interrupted run keeps.

Probabilities are dense only within a batch, so memory grows neither with the number of images nor
with images x classes. A shard is one file of a fixed number of images; a shard that exists is
skipped. Finally the shards are merged into the arrays of lib/inference/topk.py.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lib.config.schema import Predict
from lib.inference.predictor import BatchProbs, Predictor
from lib.inference.topk import DTYPES, array_shape, write_chunks
from lib.pipeline.reading import reading
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.utils.files import atomic_write
from lib.utils.groups import group_starts

Arrays = dict[str, np.ndarray]


def write_topk(
    folder: Path,
    predictor: Predictor,
    settings: Predict,
    images: np.ndarray,
    model_of_image: np.ndarray | None,
    center_view: bool,
    group: ProcessGroup = SINGLE,
) -> int:
    """Write `tta_*.npy`, the mean over all views, into `folder`.

    images: int64 [n], ascending.
    model_of_image: int8 [n], the only fold model that predicts each image (out-of-fold), the same
        for all images of a product; None = the mean of all fold models.
    center_view: also write `center_*.npy`, of the center view alone.
    group: processes that share the shards; all call this, and the first merges the shards.
    Returns the number of corrupt images in the first process, 0 in the others.
    Raises ValueError if `model_of_image` names a fold model that does not exist.
    """
    _check_models(model_of_image, predictor.num_models)
    k = min(settings.top_k, predictor.num_classes)
    prefixes = ("tta", "center") if center_view else ("tta",)
    shard_size = max(1, min(settings.shard_size, -(-len(images) // group.world_size)))
    bounds = list(pairwise(_shard_bounds(images, predictor.row_of_image, shard_size)))
    # The name contains the bounds, so that a shard of another size is not mistaken for this one.
    paths = [folder / f"shard-{start:09}-{stop:09}.npz" for start, stop in bounds]
    own = slice(group.rank, None, group.world_size)
    total, done = sum(stop - start for start, stop in bounds[own]), 0
    hide_bar = None if group.is_primary else True
    with tqdm(total=total, unit=" images", desc=_title(folder), disable=hide_bar) as bar:
        for path, (start, stop) in zip(paths[own], bounds[own], strict=True):
            if not path.exists():
                part = slice(start, stop)
                models = None if model_of_image is None else model_of_image[part]
                shard = _predict_shard(predictor, images[part], models, k, prefixes, bar)
                with atomic_write(path) as temporary, temporary.open("wb") as file:
                    np.savez(file, **shard)  # type: ignore[arg-type]
            done += stop - start
            bar.update(done - bar.n)
    group.barrier()
    return _merge(folder, paths, images, k, prefixes) if group.is_primary else 0


def _check_models(model_of_image: np.ndarray | None, num_models: int) -> None:
    if model_of_image is None:
        return
    if not ((model_of_image >= 0) & (model_of_image < num_models)).all():
        raise ValueError("model_of_image names a fold model that does not exist")


def _shard_bounds(
    images: np.ndarray, row_of_image: np.ndarray | None, shard_size: int
) -> list[int]:
    """Positions in `images` where shards of about `shard_size` start, and n; no row is split."""
    bounds = np.arange(0, len(images), shard_size)
    if row_of_image is not None:
        starts = group_starts(row_of_image[images])
        bounds = np.unique(starts[np.searchsorted(starts, bounds, "right") - 1])
    return [*bounds.tolist(), len(images)]


def _predict_shard(
    predictor: Predictor,
    images: np.ndarray,
    model_of_image: np.ndarray | None,
    k: int,
    prefixes: Sequence[str],
    bar: tqdm,
) -> Arrays:
    """Arrays `<prefix>_<name>` [n, ...] of the images in order, and the corrupt images.

    Each row is predicted once, however many of its images are in the shard.
    """
    row_of_image = images if predictor.row_of_image is None else predictor.row_of_image[images]
    rows, first, inverse, num_images = np.unique(
        row_of_image, return_index=True, return_inverse=True, return_counts=True
    )
    model_of_row = None if model_of_image is None else model_of_image[first]
    arrays = {
        f"{prefix}_{name}": np.empty(array_shape(name, len(rows), k), dtype)
        for prefix in prefixes
        for name, dtype in DTYPES.items()
    }
    group_of_row = None if predictor.group_of_row is None else predictor.group_of_row[rows]
    for positions, models in _rows_by_model(
        len(rows), group_of_row, model_of_row, predictor.num_models
    ):
        positions = positions[predictor.batch_order(rows[positions])]
        done = 0
        for probs in predictor.predict_batches(rows[positions], models):
            batch = positions[done : done + len(probs.tta)]
            for prefix in prefixes:
                view = _view(probs, prefix)
                for name, values in _topk(view, k, predictor.multi_label).items():
                    arrays[f"{prefix}_{name}"][batch] = values
            done += len(batch)
            bar.update(int(num_images[batch].sum()))
    shard = {name: values[inverse] for name, values in arrays.items()}
    return shard | {"corrupt": images[predictor.corrupt[images]]}


def _rows_by_model(
    num_rows: int,
    group_of_row: np.ndarray | None,
    model_of_row: np.ndarray | None,
    num_models: int,
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """(positions of rows, fold models that predict them), group by group.

    Out-of-fold, one fold model at a time. num_models: of each group.
    """
    group_of_row = np.zeros(num_rows, np.int64) if group_of_row is None else group_of_row
    for group in np.unique(group_of_row).tolist():
        positions, first = np.flatnonzero(group_of_row == group), group * num_models
        if model_of_row is None:
            yield positions, list(range(first, first + num_models))
            continue
        models = model_of_row[positions]
        for model in np.unique(models).tolist():
            yield positions[models == model], [first + model]


def _view(probs: BatchProbs, prefix: str) -> torch.Tensor:
    """The probabilities [b, num_classes] that belong to the prefix of a file."""
    return probs.tta if prefix == "tta" else probs.center


def _topk(probs: torch.Tensor, k: int, multi_label: bool) -> Arrays:
    """The k largest of dense probabilities [b, num_classes], and the rest."""
    values, classes = probs.topk(k, sorted=True)
    total = probs.sum(1) if multi_label else 1
    rest = (total - values.sum(1)).clamp(min=0)
    arrays = {"class": classes, "prob": values, "rest": rest}
    return {name: tensor.cpu().numpy() for name, tensor in arrays.items()}


def _merge(
    folder: Path, paths: list[Path], images: np.ndarray, k: int, prefixes: Sequence[str]
) -> int:
    """Merge the shards into the final arrays and delete them; the number of corrupt images."""
    for prefix in prefixes:
        names = [f"{prefix}_{name}" for name in DTYPES]
        chunks = (dict(zip(DTYPES, _read(path, *names), strict=True)) for path in paths)
        write_chunks(folder, prefix, images, k, chunks)
    num_corrupt = sum(len(_read(path, "corrupt")[0]) for path in paths)
    for pattern in ("shard-*", ".shard-*"):  # also those that a stopped run of another size left
        for path in folder.glob(pattern):
            path.unlink()
    return num_corrupt


def _read(path: Path, *names: str) -> list[np.ndarray]:
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in names]


def _title(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name.removesuffix('.partial')}"
