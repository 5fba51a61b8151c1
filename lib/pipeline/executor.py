"""Build the artifacts of a stage: in order, in worker processes, on a cluster, or on all ranks.

On a CPU, several networks that each train on one thread finish far sooner than one after the other
on all threads: small networks spend much of a step waiting for the slowest thread, and on a busy
machine nearly all of it. A GPU trains one network at a time; of several GPUs, each has a process
that sees no other. With one GPU the calling process does all the work.

The bytes of a network depend on its number of threads. So that number follows from the settings,
the machine, and how many networks the stage has (`num_shares`), not from how many of them wait: an
interrupted stage, or one that builds a deleted network again, starts fewer processes, each with
the threads of the first time.

With `run.cluster` the artifacts of every stage that do not need each other are built by Dask
workers (`lib/pipeline/cluster`), each with the threads that it has on one machine.

If there are fewer networks than GPUs, torchrun has all GPUs work on each network in turn. Rank 0
runs the stage. When it reaches an artifact that all ranks build, it broadcasts the call, and the
other ranks join.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lib.config.schema import Run
from lib.errors import UserError
from lib.pipeline.artifact import Artifact, ensure, status
from lib.runtime import workers
from lib.utils.disk_errors import find_os_error

logger = logging.getLogger(__name__)

# Builds artifacts that do not need each other; also told `rebuild`, and how many artifacts their
# turn has with the fresh ones, as this divides the threads.
BuildTurn = Callable[[Sequence[Artifact], bool, int], None]


def ensure_all(
    stage: str,
    artifacts: Sequence[Artifact],
    run: Run,
    rebuild: bool,
    parallel: bool = False,
    on_cluster: bool = False,
) -> int:
    """Build the artifacts of a stage that are not fresh; returns how many were built.

    stage: its name, for the log. parallel: build those that do not need each other side by side, in
    worker processes. on_cluster: on the workers of `run.cluster`, if it names some. Frozen
    artifacts are left alone. Raises what `ensure` raises; builds that run beside the one that fails
    end first.
    """
    to_check = [artifact for artifact in artifacts if not artifact.frozen]
    if on_cluster and run.cluster:
        built = _ensure_on_cluster(to_check, run, rebuild, parallel)
    elif parallel and not workers.is_distributed():
        built = _ensure_turns(to_check, rebuild, partial(_build_in_pool, run))
    else:
        built = _ensure_in_order(to_check, rebuild)
    counts = f"{built} built, {len(to_check) - built} fresh" if to_check else "nothing to do"
    logger.info("%s: %s", stage, counts)
    return built


def has_work(artifacts: Sequence[Artifact], rebuild: bool) -> bool:
    """Whether the stage will build something, and not stop at once at a stale artifact.

    An artifact whose input is missing is stale until that input, of the same stage, is built.
    """
    states = [status(artifact).state for artifact in artifacts if not artifact.frozen]
    waiting = [state for state in states if state != "fresh"]
    return bool(waiting) and (rebuild or waiting[0] != "stale")


def run_on_ranks(run: Run, work: Callable[[], int]) -> int:
    """Call `work`, which builds artifacts, and return its exit status.

    Under torchrun only rank 0 calls it; the other ranks join the builds that it broadcasts.
    """
    if not workers.is_distributed():
        return work()
    from lib.runtime.distributed import init_process_group

    with init_process_group(run) as group:
        if group.is_primary:
            exit_status = work()
            group.broadcast(None)
            return exit_status
        while call := group.broadcast(None):
            build, folder = call
            build(folder)
        return 0


def num_shares(num_gpus: int, threads: int, limit: int, num_artifacts: int) -> int:
    """Into how many shares the threads are divided for artifacts that can build side by side.

    num_gpus: that torch sees. limit: most processes, 0 for no limit. num_artifacts: of the stage,
    fresh ones included.
    """
    most = min(num_gpus, limit or num_gpus) if num_gpus else limit or threads
    return max(1, min(most, num_artifacts))


def worker_gpus(gpus: Sequence[str], shares: int, waiting: int) -> list[str]:
    """The worker processes to start for `waiting` artifacts: the GPU of each, "" for none.

    shares: result of `num_shares`. An empty list means: build in this process.
    """
    count = min(shares, waiting)
    if gpus:
        return list(gpus[:count]) if shares > 1 else []
    return [""] * count


def _turns(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
    """Lists of artifacts to build in turn: those of one list do not need each other."""
    turns, waiting = [], list(artifacts)
    while waiting:
        paths = {artifact.path for artifact in waiting}
        ready = [artifact for artifact in waiting if not _input_paths(artifact) & paths]
        turns.append(ready)
        waiting = [artifact for artifact in waiting if artifact not in ready]
    return turns


def _input_paths(artifact: Artifact) -> set[Path]:
    return {source.path for source in artifact.inputs.values() if isinstance(source, Artifact)}


def _ensure_in_order(artifacts: Sequence[Artifact], rebuild: bool) -> int:
    return sum(ensure(_on_ranks(artifact), rebuild) for artifact in artifacts)


def _ensure_turns(artifacts: Sequence[Artifact], rebuild: bool, build: BuildTurn) -> int:
    """Build artifacts turn by turn; those of a turn do not need each other."""
    built = 0
    for turn in _turns(artifacts):
        waiting = [artifact for artifact in turn if not status(artifact).fresh]
        if not rebuild:
            _check_stale(waiting)
        if waiting:
            build(waiting, rebuild, len(turn))
        built += len(waiting)
    return built


def _build_in_pool(
    run: Run, artifacts: Sequence[Artifact], rebuild: bool, num_artifacts: int
) -> None:
    """Build in worker processes of this machine; with one GPU in this process."""
    gpus = workers.visible_gpus(run)
    shares = num_shares(len(gpus), workers.num_threads(run), run.workers, num_artifacts)
    processes = worker_gpus(gpus, shares, len(artifacts))
    if processes:
        _ensure_in_workers(artifacts, rebuild, processes, shares)
    else:
        _ensure_in_order(artifacts, rebuild)


def _ensure_on_cluster(
    artifacts: Sequence[Artifact], run: Run, rebuild: bool, parallel: bool
) -> int:
    """Build on Dask workers; the threads of a task are those that it has on one machine."""
    if workers.is_distributed():
        raise UserError('torchrun and run.cluster exclude each other; set run.cluster = ""')
    if all(status(artifact).fresh for artifact in artifacts):
        return 0
    from lib.pipeline.cluster.client import open_cluster

    environ = {"GLIBC_TUNABLES": workers.MALLOC_TUNABLES} if parallel else {}
    threads = workers.num_threads(run)
    with open_cluster(run, artifacts, environ) as cluster:

        def build(waiting: Sequence[Artifact], rebuild: bool, num_artifacts: int) -> None:
            divided = parallel and not cluster.resources  # a GPU trains one network at a time
            shares = num_shares(0, threads, run.workers, num_artifacts) if divided else 1
            cluster.build(waiting, rebuild, shares)

        return _ensure_turns(artifacts, rebuild, build)


def _check_stale(artifacts: Sequence[Artifact]) -> None:
    """Raise UserError for a stale artifact before any process is started."""
    for artifact in artifacts:
        if status(artifact).state == "stale":
            ensure(artifact, rebuild=False)


def _ensure_in_workers(
    artifacts: Sequence[Artifact], rebuild: bool, processes: list[str], shares: int
) -> None:
    gpus = [gpu for gpu in processes if gpu]
    with workers.process_pool(len(processes), gpus=gpus, shares=shares) as pool:
        tasks = [pool.submit(_ensure_in_worker, artifact, rebuild) for artifact in artifacts]
        try:
            for task in as_completed(tasks):
                task.result()
        except Exception as error:
            reason = str(error) or type(error).__name__
            logger.info("failed (%s); waiting for running builds to finish", reason)
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "a worker process was killed, perhaps for lack of memory; lower run.workers,"
                    " and if it is 1 the batch_size of the model or run.predict_batch_size; then"
                    " rerun the same command to resume"
                ) from error
            raise


def _ensure_in_worker(artifact: Artifact, rebuild: bool) -> None:
    """`ensure`, whose errors of files and disks pass to the calling process as they are.

    What an exception was raised from does not reach another process.
    """
    try:
        ensure(artifact, rebuild)
    except Exception as error:
        cause = find_os_error(error)
        if cause is None or cause is error:
            raise
        path = cause.filename or str(artifact.path)
        raise OSError(cause.errno, cause.strerror, path) from None


def _on_ranks(artifact: Artifact) -> Artifact:
    """The same artifact, whose build the other ranks join if it is theirs too."""
    if not artifact.on_all_ranks or not workers.is_distributed():
        return artifact
    return replace(artifact, build=partial(_broadcast_build, artifact.build))


def _broadcast_build(build: Callable[[Path], Any], folder: Path) -> Any:
    from lib.runtime.distributed import current

    current().broadcast((build, folder))
    return build(folder)
