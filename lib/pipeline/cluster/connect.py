"""Find the workers of `run.cluster`, or start some on this machine; whether they have GPUs."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lib.config.schema import Run
from lib.errors import UserError
from lib.runtime import workers
from lib.runtime.gpu import num_nvidia_gpus

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

LOCAL = "local:"
GPU = {"GPU": 1}  # the resource of a worker that has one
CONNECT_SECONDS = 5  # until an address that does not answer is given up
WORKER_SECONDS = 120  # until a cluster without any worker is given up


@contextmanager
def local_workers(count: int, run: Run) -> Iterator[str]:
    """Start a scheduler and workers on this machine, each with a GPU where there are GPUs.

    Yields the address of the scheduler. Unlike those of LocalCluster, each worker has its own GPU.
    """
    from distributed import Nanny, Scheduler
    from distributed.deploy.spec import SpecCluster

    gpus = workers.visible_gpus(run) if num_nvidia_gpus() else []
    if gpus and count > len(gpus):
        raise UserError(
            f"run.cluster = {LOCAL}{count}: a worker needs a GPU of its own, and there are"
            f" {len(gpus)}; set {LOCAL}{len(gpus)}, or run.device=cpu"
        )
    quiet = {"host": "127.0.0.1", "dashboard": False}
    options = {**quiet, "nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    of_gpu = [{"resources": GPU, "env": {"CUDA_VISIBLE_DEVICES": name}} for name in gpus]
    specs = {
        number: {"cls": Nanny, "options": {**options, **(of_gpu[number] if gpus else {})}}
        for number in range(count)
    }
    ports = {"port": 0, "dashboard_address": "127.0.0.1:0"}  # any that are free
    scheduler = {"cls": Scheduler, "options": {**quiet, **ports}}
    # Its thread inherits this, and the processes that the thread starts: Ctrl-C reaches the script.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        cluster = SpecCluster(specs, scheduler, silence_logs=logging.CRITICAL)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with cluster:
        yield cluster.scheduler_address


@contextmanager
def connect(address: str) -> "Iterator[Client]":
    """A client of a scheduler that has a worker at least."""
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise UserError(
            f"run.cluster: no Dask scheduler answers at {address} ({_cause(error)}); start one by"
            " dask scheduler, or correct the address"
        ) from None
    with client:
        if not client.scheduler_info()["workers"]:
            logger.info("%s: waiting for a worker", address)
            try:
                client.wait_for_workers(1, timeout=WORKER_SECONDS)
            except TimeoutError:
                raise UserError(
                    f"run.cluster: {address} has no worker; start some by dask worker {address}"
                    " --nthreads 1"
                ) from None
        yield client


def _cause(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def workers_of(client: "Client", resources: dict[str, int]) -> set[str] | None:
    """The addresses of the workers that have these resources; None if the scheduler is gone."""
    with suppress(OSError):
        if client.status == "running":
            found = client.scheduler_info()["workers"].items()
            return {
                address
                for address, worker in found
                if all(worker["resources"].get(name, 0) >= n for name, n in resources.items())
            }
    return None


def uses_gpu(run: Run, client: "Client") -> bool:
    """Whether the run is one on GPUs: as "auto" if a worker has one, and then for every task."""
    available = bool(workers_of(client, GPU))
    if run.device == "cuda" and not available:
        raise UserError(
            'run.device = "cuda": no worker of run.cluster has a GPU; start workers with'
            ' --resources "GPU=1", or use "auto" or "cpu"'
        )
    return available and run.device != "cpu"
