"""Torch device, precision, transfer of batches, and clear errors when memory runs out."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.config.model import Backbone, Model
from lib.config.schema import Run
from lib.errors import UserError
from lib.runtime.workers import is_out_of_memory, num_threads, shares_machine

MIN_BF16_WIDTH = 33  # pixels
MIN_BATCH = 2  # the smallest batch_size
# Images in a batch of prediction on a CPU: the activations of more leave the caches. At 208 pixels
# 256 images take twice as long each (efficientnet_lite1), at 96 pixels a third longer (lite0).
MAX_CPU_BATCH = 32


def uses_gpu(run: Run) -> bool:
    """Whether torch computes on a GPU under `run.device`.

    Raises UserError if `run.device` is "cuda" and torch sees no GPU.
    """
    available = run.device != "cpu" and torch.cuda.is_available()
    if run.device == "cuda" and not available:
        raise UserError('run.device = "cuda": torch sees no GPU here; use "auto" or "cpu"')
    return available


def torch_device(run: Run) -> torch.device:
    """The device of `run.device`: this rank's GPU, or the CPU. Raises UserError as `uses_gpu`."""
    if not uses_gpu(run):
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = True  # the input size never changes within a stage
    # lib/runtime/distributed.py sets the current device of each rank.
    return torch.device("cuda", torch.cuda.current_device())


def select_device(run: Run, model: Model | Backbone) -> torch.device:
    """The device on which `model` runs; limits torch's threads to this process's share.

    Raises UserError if the device is absent or cannot compute the model in its precision.
    """
    if run.threads or shares_machine():
        # Sets MKL's threads too: weights must not depend on MKL_NUM_THREADS of the environment.
        torch.set_num_threads(num_threads(run))
    device = torch_device(run)
    if device.type == "cpu" and model.precision == "bf16" and model.crop[1] < MIN_BF16_WIDTH:
        # oneDNN's bf16 convolutions with stride 2 read uninitialised memory where their output is
        # one pixel wide (torch 2.13.0 with AMX; tests/runtime/test_device.py shows it).
        raise UserError(
            f'precision = "bf16" gives wrong results on a CPU for crops under {MIN_BF16_WIDTH}'
            f' pixels wide, and crop = {list(model.crop)}; set precision = "float32"'
        )
    return device


def autocast(model: Model | Backbone, device: torch.device) -> AbstractContextManager:
    """Compute in bf16 if `model.precision` is "bf16", or "auto" on a GPU.

    bf16 has the range of float32, so no loss scaling is needed.
    """
    bf16 = model.precision == "bf16" or (model.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def to_device(batch: Any, device: torch.device) -> Any:
    """Copy a batch to the device, with its shape and dtype: an array, or a named tuple of arrays.

    Images go as uint8, a quarter of the bytes of float32, and are normalised on the device.
    """
    if isinstance(batch, tuple):
        return type(batch)(*(to_device(array, device) for array in batch))
    return torch.from_numpy(batch).to(device, non_blocking=True)


def pinned_buffer(device: torch.device) -> Callable[[tuple[int, ...]], np.ndarray]:
    """An allocator of uint8 batches of a given shape.

    For a GPU the memory is pinned, so that copies overlap with the work of both sides.
    """
    pinned = device.type == "cuda"

    def allocate(shape: tuple[int, ...]) -> np.ndarray:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=pinned).numpy()

    return allocate


@contextmanager
def catch_oom(place: Path | str, advice: str) -> Iterator[None]:
    """Turn an out-of-memory error of any library into a one-line UserError.

    place: the artifact or step that ran out of memory. advice: what to change, such as
    `oom_advice`, `predict_oom_advice` or `knn_oom_advice` give.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{place}: out of memory {advice}") from None


def oom_advice(model: Model) -> str:
    """Which setting to change when training runs out of memory."""
    sizes = [model.batch_size, *(size for _, size in model.batch_size_schedule)]
    candidates = range(model.grad_accum_steps + 1, min(sizes) + 1)
    divisors = [count for count in candidates if all(size % count == 0 for size in sizes)]
    advice = f"at batch_size = {max(sizes)}"
    if model.input == "embedding":
        size = "fusion.hidden_sizes"
        advice += f", fusion.hidden_sizes = {list(model.fusion.hidden_sizes)}"
    else:
        size = "crop and resize"
        advice += f", crop = {list(model.crop)}"
    if max(sizes) == MIN_BATCH:
        return f"{advice}; lower {size}"
    advice += "; lower batch_size"
    advice += "_schedule" if max(sizes) > model.batch_size else ""
    if divisors:
        advice += f", or set grad_accum_steps = {divisors[0]}: the same batch in smaller pieces"
    return advice


def image_batch_size(run: Run) -> int:
    """Images in a batch of prediction: `run.predict_batch_size`, on a CPU at most MAX_CPU_BATCH.

    Raises UserError as `uses_gpu`.
    """
    size = run.predict_batch_size
    return size if uses_gpu(run) else min(size, MAX_CPU_BATCH)


def predict_oom_advice(size: int) -> str:
    """Which setting to change when prediction runs out of memory in batches of this size."""
    if size == 1:
        return "at run.predict_batch_size = 1; lower run.workers (--set run.workers=1)"
    half = f"--set run.predict_batch_size={size // 2}"
    return f"at run.predict_batch_size = {size}; lower it ({half}) or run.workers"


def knn_oom_advice(device: torch.device) -> str:
    """What to do when the k-NN search runs out of memory."""
    if device.type == "cuda":
        return "on the GPU; free it, or search on the CPU (--set run.device=cpu)"
    return "on the CPU; free memory, or lower features.knn_k or predict.embedding_dim"
