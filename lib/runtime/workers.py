"""Processes that work beside this one and end with it."""

import ctypes
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process, get_context

PR_SET_PDEATHSIG = 1
RANK = (
    "RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
)  # torchrun sets these, among others
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Have malloc keep what is freed, instead of handing it back and taking it anew page by page.

    For whoever makes and drops arrays of some megabytes all the time, as batches of pictures are.
    Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most that it takes
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def of_several() -> bool:
    """Whether torchrun started this process as one of several (`lib/runtime/distributed.py`)."""
    return set(RANK) <= os.environ.keys() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def pool(count: int, fresh: bool = True, gpus: Sequence[str] = ()) -> ProcessPoolExecutor:
    """`count` processes that die with this one.

    fresh: start each anew, as whatever uses torch, OpenMP or a GPU must. Without, they are forks:
    at work at once, and safe only for code that shares no lock with a thread of this process.
    gpus: as in CUDA_VISIBLE_DEVICES, one that each sees alone.
    """
    context = get_context("spawn" if fresh else "fork")
    return ProcessPoolExecutor(count, context, _begin, (tuple(gpus),))


def _begin(gpus: tuple[str, ...]) -> None:
    """In each process: die with the parent, be silent on Ctrl-C, have a line for the bar."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    place = current_process()._identity[0] - 1  # those of a pool follow each other
    os.environ["TQDM_POSITION"] = str(place)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]  # before CUDA is used
