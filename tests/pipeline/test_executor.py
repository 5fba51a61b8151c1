"""Which processes build the artifacts of a stage, and what becomes of those that fail."""

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.schema import Run
from lib.errors import UserError
from lib.pipeline.artifact import Artifact, ensure, status
from lib.pipeline.executor import ensure_all, num_shares, run_on_ranks, worker_gpus
from lib.pipeline.manifest import read_manifest
from lib.runtime import workers

pytestmark = pytest.mark.usefixtures("fresh_workers")


def write_pid(folder: Path) -> dict:
    (folder / "pid").write_text(str(os.getpid()))
    return {}


def write_threads(run: Run, folder: Path) -> dict:
    (folder / "threads").write_text(f"{workers.num_threads(run)} {workers.openmp_threads()}")
    return {}


def fail(folder: Path) -> dict:
    raise UserError("this one cannot be built")


def kill_this_process(folder: Path) -> dict:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def copy_pid(source: Path, folder: Path) -> dict:
    (folder / "pid").write_text((source / "pid").read_text())
    return {}


def pids(artifacts: list[Artifact]) -> set[str]:
    return {(artifact.path / "pid").read_text() for artifact in artifacts}


@pytest.mark.parametrize(
    ("gpus", "limit", "waiting", "processes"),
    [
        (4, 0, 10, ["0", "1", "2", "3"]),
        (4, 0, 3, ["0", "1", "2"]),
        (4, 2, 10, ["0", "1"]),
        (4, 9, 10, ["0", "1", "2", "3"]),
        (4, 0, 1, []),  # one network: in the calling process, on the first GPU
        (4, 1, 10, []),
        (1, 0, 10, []),
        (0, 0, 10, [""] * 6),  # no GPU: one process for each thread
        (0, 2, 10, [""] * 2),
        (0, 0, 4, [""] * 4),
        (0, 0, 1, [""]),
    ],
)
def test_each_worker_has_a_gpu_or_a_thread(gpus, limit, waiting, processes):
    shares = num_shares(gpus, 6, limit, waiting)
    assert worker_gpus([str(i) for i in range(gpus)], shares, waiting) == processes


COUNTS = st.integers(0, 9), st.integers(1, 64), st.integers(0, 9), st.integers(1, 30)


@given(*COUNTS, st.integers(1, 30))
def test_no_gpu_serves_two_workers(gpus, threads, limit, artifacts, waiting):
    shares = num_shares(gpus, threads, limit, artifacts)
    processes = worker_gpus([str(i) for i in range(gpus)], shares, waiting)
    assert len(processes) <= min(shares, waiting)
    assert not limit or shares <= limit
    if gpus:
        assert len(set(processes)) == len(processes)
        assert "" not in processes


@given(*COUNTS)
def test_threads_are_never_divided_among_more_than_can_run(gpus, threads, limit, artifacts):
    shares = num_shares(gpus, threads, limit, artifacts)
    assert 1 <= shares <= min(artifacts, gpus or limit or threads)
    # One network that waits runs alone, in a process of its own wherever the first time it did.
    processes = worker_gpus([str(i) for i in range(gpus)], shares, 1)
    assert len(processes) == (0 if gpus and shares == 1 else 1)


def test_a_deleted_artifact_is_built_again_with_the_threads_of_the_first_time(
    tmp_path, monkeypatch
):
    run = Run(device="cpu", threads=4)
    monkeypatch.setenv(workers.OMP, "4")  # as a script sets it
    build = partial(write_threads, run)
    artifacts = [Artifact(tmp_path / name, build) for name in "ab"]
    ensure_all("stage", artifacts, run, rebuild=False, parallel=True)
    first = [(artifact.path / "threads").read_text() for artifact in artifacts]
    assert first == ["2 2", "2 2"]
    shutil.rmtree(artifacts[0].path)
    assert ensure_all("stage", artifacts, run, rebuild=False, parallel=True) == 1
    assert (artifacts[0].path / "threads").read_text() == first[0]
    manifest = read_manifest(artifacts[0].path)
    assert manifest is not None
    assert manifest["threads"] == 2


def test_artifacts_are_built_in_order_in_this_process(tmp_path, caplog):
    caplog.set_level("INFO", "lib")
    first = Artifact(tmp_path / "first", write_pid)
    second = Artifact(tmp_path / "second", partial(copy_pid, first.path), inputs={"first": first})
    assert ensure_all("stage", [first, second], Run(), rebuild=False) == 2
    assert pids([first, second]) == {str(os.getpid())}
    assert caplog.messages[-1] == "stage: 2 built, 0 fresh"
    assert ensure_all("stage", [first, second], Run(), rebuild=False) == 0
    assert caplog.messages[-1] == "stage: 0 built, 2 fresh"


def test_frozen_artifacts_are_left_alone(tmp_path, caplog):
    caplog.set_level("INFO", "lib")
    frozen = Artifact(tmp_path / "frozen", write_pid, frozen=True)
    assert ensure_all("stage", [frozen], Run(), rebuild=True) == 0
    assert not frozen.path.exists()
    assert caplog.messages == ["stage: nothing to do"]


def test_parallel_builds_run_in_other_processes_after_their_inputs(tmp_path):
    run = Run(device="cpu", threads=2, workers=2)
    first = [Artifact(tmp_path / f"first{i}", write_pid) for i in range(2)]
    inputs: dict[str, Artifact | Path] = {str(i): artifact for i, artifact in enumerate(first)}
    second = Artifact(tmp_path / "second", partial(copy_pid, first[1].path), inputs=inputs)
    assert ensure_all("stage", [*first, second], run, rebuild=False, parallel=True) == 3
    assert str(os.getpid()) not in pids(first)
    assert pids([second]) == pids(first[1:])
    assert ensure_all("stage", [*first, second], run, rebuild=False, parallel=True) == 0


def test_a_failing_build_in_a_worker_is_raised_here(tmp_path):
    run = Run(device="cpu", threads=2, workers=2)
    artifacts = [Artifact(tmp_path / "good", write_pid), Artifact(tmp_path / "bad", fail)]
    with pytest.raises(UserError, match="this one cannot be built"):
        ensure_all("stage", artifacts, run, rebuild=False, parallel=True)
    assert status(artifacts[1]).state == "unfinished"


def test_a_worker_that_is_killed_is_one_line(tmp_path):
    run = Run(device="cpu", threads=2, workers=2)
    artifacts = [Artifact(tmp_path / "killed", kill_this_process)]
    with pytest.raises(UserError, match=r"worker process was killed.*lower run\.workers"):
        ensure_all("stage", artifacts, run, rebuild=False, parallel=True)


def test_a_stale_artifact_stops_a_parallel_stage_before_any_build(tmp_path):
    run = Run(device="cpu", threads=2, workers=2)
    ensure(Artifact(tmp_path / "stale", write_pid, config={"v": 1}), rebuild=False)
    stale = Artifact(tmp_path / "stale", write_pid, config={"v": 2})
    missing = Artifact(tmp_path / "missing", write_pid)
    with pytest.raises(UserError, match="v 1 -> 2"):
        ensure_all("stage", [missing, stale], run, rebuild=False, parallel=True)
    assert status(missing).state == "missing"
    assert ensure_all("stage", [missing, stale], run, rebuild=True, parallel=True) == 2


def test_under_torchrun_no_worker_is_started(tmp_path, by_torchrun):
    artifacts = [Artifact(tmp_path / name, write_pid) for name in "ab"]
    run = Run(device="cpu", threads=2, workers=2)
    assert ensure_all("stage", artifacts, run, rebuild=False, parallel=True) == 2
    assert pids(artifacts) == {str(os.getpid())}


def test_without_torchrun_the_work_is_done_in_this_process():
    assert run_on_ranks(Run(), lambda: 7) == 7
