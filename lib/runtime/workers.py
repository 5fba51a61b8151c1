"""Worker processes and their resources: threads, memory, GPUs; how a pool is started."""

import ctypes
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process, get_context
from pathlib import Path

from lib.config.schema import Run
from lib.errors import UserError
from lib.runtime.log import configure_logging, log_settings
from lib.utils.exception_chain import exception_chain

PR_SET_PDEATHSIG = 1
# torchrun sets these, among others.
TORCHRUN = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# glibc returns every large tensor to the kernel and takes it back page by page in each step: two
# fifths of a CPU training's time. Keep the memory, in huge pages. Read when a process starts.
MALLOC_TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0"
    ":glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=67108864"
)
OMP = "OMP_NUM_THREADS"
THREAD_VARIABLES = (OMP, "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

SHARED_MEMORY = "/dev/shm"
OUT_OF_MEMORY = ("out of memory", "bad_alloc", "defaultcpuallocator", "cannot allocate memory")

_share = 1  # into how many shares the threads are divided; this process has one
_threads = 0  # instead of the cores of this machine, for the process of a cluster


def num_threads(run: Run) -> int:
    """Threads that this process may use: its share of `run.threads`, or of all cores if that is 0.

    The processes of a pool, and those of torchrun on one machine, share the threads.
    """
    return threads_of_share(run.threads or _cores(), _num_shares())


def threads_of_share(threads: int, shares: int) -> int:
    """The threads of one of several equal shares; at least one."""
    return max(1, threads // shares)


def shares_machine() -> bool:
    """Whether this process is one of several, of a pool or of torchrun, on this machine."""
    return _num_shares() > 1


def openmp_threads() -> int:
    """Threads of OpenMP in this process, as `limit_threads` or a pool has set them."""
    return int(os.environ.get(OMP) or _cores())


def _num_shares() -> int:
    return int(os.environ["LOCAL_WORLD_SIZE"]) if is_distributed() else _share


def _cores() -> int:
    return _threads or len(os.sched_getaffinity(0))


def limit_threads(threads: int) -> None:
    """Bound the thread pools of all libraries; call it before they are imported.

    Two pools on the same cores crawl. Threads wait passively: on a busy machine, threads that spin
    for each other cost ten times the work.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(threads))


def take_share(threads: int, shares: int) -> None:
    """Have this process use one of `shares` of `threads`, whatever its machine has.

    As a process of `process_pool` on a machine with so many cores; call it before libraries that
    compute are imported.
    """
    global _share, _threads
    limit_threads(threads)
    _share, _threads = shares, threads
    # OpenMP alone: results of BLAS may depend on its threads, but must not on the size of a pool.
    os.environ[OMP] = str(threads_of_share(threads, shares))


def die_with_parent() -> None:
    """Have the kernel end this process when the thread that started it is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def tune_malloc() -> None:
    """Have malloc keep freed memory instead of returning it to the kernel page by page.

    For processes that allocate and free arrays of some megabytes all the time, such as batches of
    images. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest value that it accepts
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the machine or of a GPU.

    Libraries have no common class for it, and most say so in words alone.
    """
    return any(map(_says_out_of_memory, exception_chain(error)))


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, Exception) and any(words in text for words in OUT_OF_MEMORY)


def is_distributed() -> bool:
    """Whether torchrun started this process as one of several (`lib/runtime/distributed.py`)."""
    return set(TORCHRUN) <= os.environ.keys() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def visible_gpus(run: Run) -> list[str]:
    """Names of the GPUs that torch sees, in the form that CUDA_VISIBLE_DEVICES takes."""
    if run.device == "cpu":
        return []
    import torch  # slow to import; needed only when something is about to be built

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return [name.strip() for name in names.split(",")][:count]


def process_pool(
    count: int, spawn: bool = True, gpus: Sequence[str] = (), shares: int = 0
) -> ProcessPoolExecutor:
    """A pool of `count` processes that die with this one and share its threads.

    spawn: start fresh interpreters, as torch, OpenMP and GPUs need. Otherwise fork: quick to start,
    and safe only for code that shares no lock with a thread of this process.
    gpus: names as in CUDA_VISIBLE_DEVICES; each process sees one of them alone.
    shares: into how many shares the threads are divided, of which each process has one; 0 = count.
        What is trained depends on its number of threads: where a pool is smaller because some work
        is done already, its processes keep the shares of the full pool.
    Raises UserError where the machine has no shared memory.
    """
    if spawn:
        os.environ["GLIBC_TUNABLES"] = MALLOC_TUNABLES  # inherited, read when a process starts
    context = get_context("spawn" if spawn else "fork")
    arguments = (shares or count, tuple(gpus), *log_settings())
    try:
        return _Pool(count, context, _init_worker, arguments)
    except OSError as error:  # the semaphores of its queues
        raise UserError(
            f"{SHARED_MEMORY}: no semaphores for worker processes ({error.strerror}); mount it as a"
            " writable tmpfs, in a container with --shm-size 1g, and rerun the same command"
        ) from error


class _Pool(ProcessPoolExecutor):
    """Ends its processes when this one is interrupted, instead of waiting for what they do."""

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool | None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            for process in list((self._processes or {}).values()):
                process.kill()
        self.shutdown(cancel_futures=kind is not None)
        return None


def _init_worker(shares: int, gpus: tuple[str, ...], level: int, file: Path | None) -> None:
    """Set up a process of a pool: it dies with its parent and has its own progress-bar line."""
    global _share
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    configure_logging(level, file)
    _share = shares
    # OpenMP alone: results of BLAS may depend on its threads, but must not on the size of a pool.
    os.environ[OMP] = str(threads_of_share(openmp_threads(), shares))
    index = current_process()._identity[0] - 1  # processes of a pool are numbered in a row
    os.environ["TQDM_POSITION"] = str(index)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]  # before CUDA is used
