"""What artifacts of these tests are built by; a process of a Dask worker imports it by its name."""

import logging
import os
import signal
import time
from pathlib import Path

from lib.config.schema import Run
from lib.errors import UserError
from lib.runtime import workers

logger = logging.getLogger("lib.tests")


def write_process(folder: Path) -> dict:
    """The process that builds, and its worker."""
    (folder / "process").write_text(f"{os.getpid()} {os.getppid()}")
    return {}


def write_threads(run: Run, folder: Path) -> dict:
    """The threads of the process, of the run and of OpenMP, and what libraries read when loaded."""
    names = (*workers.THREAD_VARIABLES, "GLIBC_TUNABLES", "OMP_WAIT_POLICY")
    values = [workers.num_threads(run), *(os.environ.get(name) for name in names)]
    (folder / "threads").write_text(" ".join(map(str, values)))
    logger.info("from the worker")
    return {}


def fail(folder: Path) -> dict:
    raise UserError("this one cannot be built")


def fail_to_write(folder: Path) -> dict:
    (folder / "folder").mkdir()
    (folder / "folder").write_text("")
    return {}


def have_a_bug(folder: Path) -> dict:
    return {}["no such key"]


def kill_worker_once(tries: Path, folder: Path) -> dict:
    """The first try writes half, and the worker is killed in the middle."""
    (folder / "tries").open("a").write(f"{len(list(tries.iterdir()))}\n")
    first = not any(tries.iterdir())
    (tries / str(os.getpid())).touch()
    if first:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return {}


def kill_this_process(tries: Path, folder: Path) -> dict:
    (tries / str(os.getpid())).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def sleep(started: Path, folder: Path) -> dict:
    started.write_text(str(os.getpid()))
    time.sleep(60)
    return {}
