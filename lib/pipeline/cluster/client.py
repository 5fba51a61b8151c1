"""Build artifacts on the workers of a Dask cluster: check the workers, submit tasks, wait for them.

A task has the threads that its artifact has on one machine: they follow from the settings and the
cores of the machine that runs the script, not from those of the worker. So the bytes are the same.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lib.config.schema import Run
from lib.errors import UserError
from lib.pipeline.artifact import Artifact, status
from lib.pipeline.cluster.connect import (
    GPU,
    LOCAL,
    WORKER_SECONDS,
    connect,
    local_workers,
    uses_gpu,
    workers_of,
)
from lib.pipeline.manifest import LIBRARIES
from lib.runtime import workers
from lib.runtime.log import ROOT, log_record

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

PACKAGES = "requirements-cluster.txt"
RETRIES = 3  # of a task whose worker, or whose process on it, was killed
LATE_SECONDS = 60.0  # until a network file system shows here what a worker has written
REPORT_SECONDS = 10.0  # between two lines on the tasks that run and wait
LOUD = ("distributed", "distributed.client", "distributed.nanny", "distributed.scheduler")


class WorkerKilled(UserError):
    """The worker that built an artifact is gone, or the process on it."""


class Cluster:
    """The workers of a scheduler, each of which builds one artifact at a time.

    site: what workers must see, and how they build (`_describe_site`). on_gpu: whether tasks ask
    for workers that have a GPU.
    """

    def __init__(self, client: "Client", site: dict[str, Any], on_gpu: bool) -> None:
        self.client, self.site = client, site
        self.resources = GPU if on_gpu else {}
        self._see, self._build = _worker_functions(site["root"])
        self.num_workers, self.last_worker, self.next_report, self.said = (
            0,
            time.monotonic(),
            0.0,
            "",
        )

    def check_workers(self) -> None:
        """Raise UserError for the first worker that cannot build what this script would build."""
        from lib.pipeline.cluster.dask_worker import DASK, PYTHON, other_versions

        known: Any = self.client.get_versions()
        for address, worker in sorted(known["workers"].items()):  # by another Python nothing works
            packages = worker["packages"]
            here = {name: packages[name.lower()] for name in (PYTHON, *DASK)}
            here[PYTHON] = here[PYTHON].removesuffix(".final.0")
            wanted = {name: self.site["versions"][name] for name in here}
            if text := other_versions(here, wanted):
                raise UserError(f"run.cluster: worker {address}: {text}")
        problems = self.client.run(self._see, self.site, on_error="return")
        for address, problem in sorted(problems.items()):
            if problem:
                raise UserError(f"run.cluster: worker {address}: {problem}")

    def build(self, artifacts: Sequence[Artifact], rebuild: bool, shares: int) -> None:
        """Build artifacts that do not need each other.

        shares: into how many shares the threads are divided; a task has one. Raises what the first
        failing build raised, when those that run beside it have ended; UserError where an artifact
        is killed again and again, and where no worker or no scheduler is left.

        Each free worker is given the next artifact by name. Left to itself, Dask gives a busy one
        two, and the second waits for hours while another worker has nothing to do.
        """
        waiting, kills = list(artifacts), Counter[Path]()
        running: dict[Future, tuple[str, Artifact]] = {}
        errors: list[Exception] = []
        try:
            while waiting or running:
                present = self._workers(bool(waiting))
                busy = {address for address, _ in running.values()}
                for address in sorted(present - busy)[: len(waiting)]:
                    artifact = waiting.pop(0)
                    future = self._submit(artifact, rebuild, shares, address)
                    running[future] = (address, artifact)
                self._report(len(running), len(waiting))
                for future in _ended(running, present):
                    address, artifact = running.pop(future)
                    error = _error(future, artifact)
                    if isinstance(error, WorkerKilled):
                        self._workers(False)  # it may be the scheduler that is gone
                    if isinstance(error, WorkerKilled) and kills[artifact.path] < RETRIES:
                        logger.warning("worker %s was killed; its artifact is tried again", address)
                        kills[artifact.path] += 1
                        waiting = [] if errors else [artifact, *waiting]
                    elif error is not None:
                        logger.info("failed (%s); waiting for running builds to finish", error)
                        errors, waiting = [*errors, error], []
        except BaseException:
            with suppress(Exception):  # the scheduler may be gone
                self.client.cancel(list(running), force=True)
            raise
        if errors:
            raise errors[0]

    def _submit(self, artifact: Artifact, rebuild: bool, shares: int, worker: str) -> "Future":
        level = logging.getLogger(ROOT).level
        return self.client.submit(
            self._build,
            {**self.site, "shares": shares},
            bytes(ForkingPickler.dumps((artifact, rebuild, level))),
            key=f"{artifact.path}-{uuid4().hex}",
            workers=[worker],
            resources=self.resources,
        )

    def _workers(self, wanted: bool) -> set[str]:
        """The addresses of the workers that can build.

        wanted: whether something waits for one. Raises UserError if the scheduler is gone, and if
        no worker has been there for a while.
        """
        found, now = workers_of(self.client, self.resources), time.monotonic()
        if found is None:
            raise UserError(
                f"run.cluster: the scheduler {self.site['address']} does not answer any more; start"
                " it and its workers, and rerun the same command to resume"
            )
        self.num_workers, self.last_worker = len(found), now if found else self.last_worker
        if wanted and now - self.last_worker > WORKER_SECONDS:
            raise UserError("run.cluster: no worker is left; start some, and rerun to resume")
        return found

    def _report(self, running: int, waiting: int) -> None:
        """Say how many tasks run and wait, not too often."""
        text = f"{self.num_workers} workers: {running} tasks run, {waiting} wait"
        now = time.monotonic()
        if now >= self.next_report and text != self.said:
            logger.info("%s", text)
            self.said, self.next_report = text, now + REPORT_SECONDS


def _ended(running: "dict[Future, tuple[str, Artifact]]", present: set[str]) -> "list[Future]":
    """The tasks that are done or whose worker is gone, after waiting a second for the first."""
    from distributed import CancelledError, wait

    def is_over(future: "Future") -> bool:
        return future.done() or running[future][0] not in present

    if running and not any(map(is_over, running)):
        with suppress(TimeoutError, CancelledError):
            wait(list(running), timeout=1, return_when="FIRST_COMPLETED")
    elif not running:
        time.sleep(1)
    over = [future for future in running if is_over(future)]
    for future in over:
        if not future.done():
            future.cancel(force=True)
    return over


def _error(future: "Future", artifact: Artifact) -> Exception | None:
    """What a task that is over failed with; None if its artifact is there."""
    if future.status == "finished":
        return _outcome_error(artifact, *future.result())
    error = None if future.cancelled() else future.exception()
    if error is None or type(error).__name__ in ("KilledWorker", "BuilderKilled"):
        return WorkerKilled(
            f"{artifact.path}: the worker that built it was killed {RETRIES + 1} times, perhaps for"
            " lack of memory; start fewer workers on a machine, lower the batch_size of the model"
            " or run.predict_batch_size, and rerun the same command to resume"
        )
    return RuntimeError(f"{artifact.path}: {error!r}")


def _outcome_error(artifact: Artifact, kind: str, *values: str) -> Exception | None:
    """The error of an outcome (`builder.outcome`); None for an artifact that is seen here."""
    if kind == "OSError":
        return OSError(int(values[0]), *values[1:])
    if kind != "done":
        kinds = {"UserError": UserError, "MemoryError": MemoryError}
        return kinds.get(kind, RuntimeError)(*values)
    if _is_late(artifact):
        return UserError(
            f"{artifact.path}: a worker has built it, and it is not to be seen here; do both"
            " machines have the same folder there?"
        )
    return None


def _is_late(artifact: Artifact) -> bool:
    """Whether an artifact that a worker has built is not seen here in time."""
    end = time.monotonic() + LATE_SECONDS
    while not status(artifact).fresh:
        if time.monotonic() > end:
            return True
        os.listdir(artifact.path.parent)  # has a network file system look again
        time.sleep(0.2)
    return False


@contextmanager
def open_cluster(
    run: Run, artifacts: Sequence[Artifact], environ: dict[str, str]
) -> Iterator[Cluster]:
    """Connect to the workers of `run.cluster`, or start them for as long as this is open.

    artifacts: what is built; the workers have to see their folders. environ: variables of the
    processes that build. Raises UserError, before anything is built, where packages are missing,
    the scheduler does not answer, or a worker cannot build what this script would build.
    """
    if find_spec("distributed") is None:
        raise UserError(
            f'run.cluster = "{run.cluster}": .venv/bin/pip install -r {PACKAGES}, or set ""'
        )
    import distributed  # noqa: F401  # sets up its loggers

    for name in LOUD:  # what a user should know of is said here, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        address = run.cluster
        if address.startswith(LOCAL):
            address = stack.enter_context(local_workers(int(address.removeprefix(LOCAL)), run))
        client = stack.enter_context(connect(address))
        on_gpu = uses_gpu(run, client)
        if not on_gpu:
            environ = {**environ, "CUDA_VISIBLE_DEVICES": ""}
        token = stack.enter_context(_token(artifacts))
        site = {**_describe_site(run, token, environ), "address": address}
        client.subscribe_topic(site["topic"], lambda event: log_record(*event[1]))
        cluster = Cluster(client, site, on_gpu)
        cluster.check_workers()
        yield cluster


@contextmanager
def _token(artifacts: Sequence[Artifact]) -> Iterator[Path]:
    """A file in the folder of the artifacts, by which a worker shows that it sees this folder."""
    folder = Path(os.path.commonpath([artifact.path.parent for artifact in artifacts]))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".cluster-{uuid4().hex}"
    path.write_text(uuid4().hex)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _describe_site(run: Run, token: Path, environ: dict[str, str]) -> dict[str, Any]:
    """What this script sees, and how its artifacts are built: plain data for `dask_worker`."""
    from lib.pipeline.cluster.dask_worker import DASK, PROJECT, PYTHON, code_digest, versions

    return {
        "root": str(PROJECT),
        "folder": os.getcwd(),
        "token": str(token.absolute()),
        "text": token.read_text(),
        "code": code_digest(PROJECT),
        "versions": versions((PYTHON, *DASK, *LIBRARIES)),
        "environ": environ,
        "threads": workers.num_threads(run),
        "topic": f"log-{uuid4().hex}",
    }


def _worker_functions(root: str) -> tuple[Callable[..., str], Callable[..., tuple[str, ...]]]:
    """`see` and `build` of `dask_worker`, as functions for workers that have not loaded `lib`.

    A function within a function is sent to a worker as code, not by its name.
    """

    def see(site: dict[str, Any], dask_worker: Any) -> str:
        import sys

        if root not in sys.path:
            sys.path.insert(0, root)
        try:
            from lib.pipeline.cluster import dask_worker as here
        except ImportError as error:
            return f"{root}: {error}; it needs the same folders"
        return here.see(site, dask_worker)

    def build(site: dict[str, Any], call: bytes) -> tuple[str, ...]:
        import sys

        from distributed import get_worker

        if root not in sys.path:  # a worker that came after the script began
            sys.path.insert(0, root)
        try:
            from lib.pipeline.cluster import dask_worker as here
        except ImportError as error:
            name = get_worker().address
            return (
                "UserError",
                f"run.cluster: worker {name}: {root}: {error}; it needs the same folders",
            )
        return here.build(site, call)

    return see, build
