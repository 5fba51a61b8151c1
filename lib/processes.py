"""Processes that work beside this one and end with it."""

import ctypes
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process, get_context

PR_SET_PDEATHSIG = 1
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


def pool(count: int, fresh: bool = True) -> ProcessPoolExecutor:
    """`count` processes that die with this one.

    fresh: start each anew, as whatever uses torch, OpenMP or a GPU must. Without, they are forks:
    at work at once, and safe only for code that shares no lock with a thread of this process.
    """
    return ProcessPoolExecutor(count, get_context("spawn" if fresh else "fork"), _begin)


def _begin() -> None:
    """In each process: die with the parent, be silent on Ctrl-C, have a line for the bar."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ["TQDM_POSITION"] = str(current_process()._identity[0] - 1)
