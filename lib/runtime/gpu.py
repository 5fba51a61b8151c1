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
