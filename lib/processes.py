"""Processes that work beside this one and end with it."""

import ctypes
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process, get_context

PR_SET_PDEATHSIG = 1


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
