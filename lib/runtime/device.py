"""Which device computes, in which precision."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from lib.config.schema import Backbone, Model, Run
from lib.errors import UserError

NARROWEST_BF16 = 33  # pixels


def choose(run: Run, model: Model | Backbone) -> torch.device:
    """The device of `run.device`; bounds torch's threads by `run.threads`.

    Raises UserError where the device is absent or cannot compute the model as it is set.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    device = _find(run)
    if device.type == "cpu" and model.precision == "bf16" and model.crop[1] < NARROWEST_BF16:
        # oneDNN's bf16 convolutions with a stride of 2 read memory that nobody wrote where their
        # result is one pixel wide (torch 2.13.0, AMX; test_device.py shows it).
        raise UserError(
            f'precision = "bf16" on a CPU computes wrongly on crops less than {NARROWEST_BF16}'
            f' pixels wide, and crop = {list(model.crop)}; set precision = "float32"'
        )
    return device


def on_gpu(run: Run) -> bool:
    """Whether `run` computes on a GPU; UserError where it must and there is none."""
    found = run.device != "cpu" and torch.cuda.is_available()
    if run.device == "cuda" and not found:
        raise UserError('run.device = "cuda": torch sees no GPU here; use "auto" or "cpu"')
    return found


def _find(run: Run) -> torch.device:
    if not on_gpu(run):
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = True  # the input size never changes within a stage
    return torch.device(
        "cuda", torch.cuda.current_device()
    )  # its rank's: lib/runtime/distributed.py


def autocast(model: Model | Backbone, device: torch.device) -> AbstractContextManager:
    """bf16 where `model.precision` wants it: its range is float32's, so no loss scaling."""
    wanted = model.precision == "bf16" or (model.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if wanted else nullcontext()


def moved(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 pictures on the device: a quarter of the bytes of float, normalised there."""
    return torch.from_numpy(pictures).to(device, non_blocking=True)


def batch_memory(device: torch.device) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Gives uint8 memory for a batch; for a GPU such as it can fetch from while both work on."""
    pinned = device.type == "cuda"

    def memory(shape: tuple[int, ...]) -> np.ndarray:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=pinned).numpy()

    return memory


@contextmanager
def enough_memory(folder: Path, remedy: str) -> Iterator[None]:
    """Turn what torch says when memory runs out into a UserError that names the remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise UserError(f"{folder}: out of memory {remedy}") from None


def smaller_batch(model: Model) -> str:
    """What to do where a training needs too much memory."""
    sizes = [model.batch, *(size for _, size in model.batches)]
    pieces = range(model.accumulate + 1, min(sizes) + 1)
    fitting = [count for count in pieces if all(size % count == 0 for size in sizes)]
    found = f"at batch = {max(sizes)}, crop = {list(model.crop)}; lower"
    found += " batches" if max(sizes) > model.batch else " batch"
    if fitting:
        found += f", or set accumulate = {fitting[0]}: the same batch in smaller pieces"
    return found


def smaller_predict_batch(run: Run) -> str:
    """What to do where networks that are only asked need too much."""
    return f"at run.predict_batch = {run.predict_batch}; lower it (--set run.predict_batch=64)"


def _is_out_of_memory(error: BaseException) -> bool:
    known = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, known) or "DefaultCPUAllocator" in str(error)
