"""Which device computes, in which precision."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from lib.config import Model, Run
from lib.errors import UserError


def choose(run: Run) -> torch.device:
    """The device of `run.device`; bounds torch's threads by `run.threads`."""
    if run.threads:
        torch.set_num_threads(run.threads)
    if run.device == "cuda" and not torch.cuda.is_available():
        raise UserError('run.device = "cuda": torch sees no GPU here; use "auto" or "cpu"')
    if run.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = True  # the input size never changes within a stage
    return torch.device("cuda")


def autocast(model: Model, device: torch.device) -> AbstractContextManager:
    """bf16 where `model.precision` wants it: its range is float32's, so no loss scaling."""
    wanted = model.precision == "bf16" or (model.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16) if wanted else nullcontext()


def moved(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 pictures on the device: a quarter of the bytes of float, normalised there."""
    tensor = torch.from_numpy(pictures)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor
