"""Whether this process can see an NVIDIA GPU.

A module of its own because it imports nothing heavy: processes that train boosters ask it and never
load torch.
"""

import os
from pathlib import Path


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA GPU is visible to CUDA libraries in this process."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and Path("/dev/nvidia0").exists()


def num_nvidia_gpus() -> int:
    """How many NVIDIA GPUs are visible to CUDA libraries in this process, by their device files."""
    if not has_nvidia_gpu():
        return 0
    present = len(list(Path("/dev").glob("nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if visible is None else min(present, len(visible.split(",")))
