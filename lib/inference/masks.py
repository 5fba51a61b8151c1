"""Coarse masks of images, drawn by trained networks and kept on disk

    image.npy      int64 [n], row of each image in the catalog
    channels.npy   int64 [channels], row of each class in the hierarchy
    masks.npy      uint8 [n, planes, h, w], fraction of a cell that is covered, times 255; planes
                   are the masks of all channels, and then the cores if the network draws them

Masks are drawn in shards, one file each, so that an interrupted call keeps what it has drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.config.model import Model
from lib.config.schema import Run
from lib.data.image_reader import ImageReader
from lib.data.openimages.masks.targets import MAX_LEVEL
from lib.runtime import device as devices
from lib.training.checkpoint import load_classifier
from lib.utils.files import atomic_write

IMAGE, CHANNELS, MASKS = "image.npy", "channels.npy", "masks.npy"


@dataclass(frozen=True)
class Masks:
    """What `write_masks` wrote; planes are memory-mapped.

    masks: uint8 [n, channels, h, w]. cores: the same, None if the network draws none.
    """

    image: np.ndarray
    channels: np.ndarray
    masks: np.ndarray
    cores: np.ndarray | None


def read_masks(folder: Path) -> Masks:
    """Read the masks of an artifact."""
    channels, planes = np.load(folder / CHANNELS), np.load(folder / MASKS, mmap_mode="r")
    count = len(channels)
    cores = planes[:, count:] if planes.shape[1] > count else None
    return Masks(np.load(folder / IMAGE), channels, planes[:, :count], cores)


def write_masks(
    folder: Path,
    model: Model,
    checkpoints: Sequence[Path],
    channels: np.ndarray,
    reader: ImageReader,
    images: np.ndarray,
    run: Run,
    shard_size: int,
) -> dict[str, Any]:
    """Draw the masks of `images` (int64 [n], ascending) as the mean of the networks.

    Networks see whole images of size `model.resize`. Returns the number of images.
    """
    device = devices.select_device(run, model)
    batch_size = devices.image_batch_size(run)
    nets = [load_classifier(path, model, device) for path in checkpoints]
    stride = model.segmentation.stride
    num_planes = len(channels) * model.segmentation.num_planes
    shape = (num_planes, model.resize[0] // stride, model.resize[1] // stride)
    starts = range(0, len(images), shard_size)
    with tqdm(total=len(images), unit=" images", desc=folder.parent.name, disable=None) as bar:
        for start in starts:
            rows = images[start : start + shard_size]
            path = _shard(folder, start, shard_size)
            if not path.exists():
                drawn = np.empty((len(rows), *shape), np.uint8)
                done = 0
                for batch_rows, batch in reader.batches(rows, batch_size):
                    drawn[done : done + len(batch_rows)] = _draw(nets, model, device, batch)
                    done += len(batch_rows)
                    bar.update(len(batch_rows))
                with atomic_write(path) as temporary, temporary.open("wb") as file:
                    np.save(file, drawn)
    masks = np.lib.format.open_memmap(folder / MASKS, "w+", np.uint8, (len(images), *shape))
    for start in starts:
        masks[start : start + shard_size] = np.load(_shard(folder, start, shard_size))
    masks.flush()
    np.save(folder / IMAGE, images)
    np.save(folder / CHANNELS, channels)
    for path in folder.glob("shard-*"):
        path.unlink()
    return {"images": len(images), "channels": len(channels)}


@torch.inference_mode()
def _draw(nets: Sequence[Any], model: Model, device: torch.device, batch: np.ndarray) -> np.ndarray:
    """Planes uint8 [b, planes, h, w] of images uint8 [b, 3, *resize]."""
    images = devices.to_device(batch, device)
    total: torch.Tensor | float = 0.0
    for net in nets:
        with devices.autocast(model, device):
            total = total + net(net.normalise(images)).float().sigmoid() / len(nets)
    assert torch.is_tensor(total)
    return (total * MAX_LEVEL).round().clamp(0, MAX_LEVEL).to(torch.uint8).cpu().numpy()


def _shard(folder: Path, start: int, size: int) -> Path:
    # The name contains the size, so that a shard of another size is not mistaken for this one.
    return folder / f"shard-{start:09}-{size}.npy"
