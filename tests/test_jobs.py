import os
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib import jobs, pipeline
from lib.config.schema import Config, Run
from lib.runtime import workers as processes

RANK = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "localhost",
}


@pytest.fixture
def by_torchrun(monkeypatch):
    for name, value in RANK.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("gpus", "most", "waiting", "workers"),
    [
        (4, 0, 10, ["0", "1", "2", "3"]),
        (4, 0, 3, ["0", "1", "2"]),
        (4, 2, 10, ["0", "1"]),
        (4, 9, 10, ["0", "1", "2", "3"]),
        (4, 0, 1, []),  # one network: in the calling process, on the first GPU
        (4, 1, 10, []),
        (1, 0, 10, []),
        (0, 0, 10, [""] * 6),  # no GPU: one a thread
        (0, 2, 10, [""] * 2),
        (0, 0, 4, [""] * 4),
        (0, 0, 1, [""]),
    ],
)
def test_gpus_are_dealt_to_what_waits(gpus, most, waiting, workers):
    assert jobs.dealt([str(i) for i in range(gpus)], 6, most, waiting) == workers


@given(st.integers(0, 9), st.integers(1, 64), st.integers(0, 9), st.integers(1, 30))
def test_no_gpu_serves_two(gpus, threads, most, waiting):
    workers = jobs.dealt([str(i) for i in range(gpus)], threads, most, waiting)
    assert len(workers) <= waiting
    assert not most or len(workers) <= most
    if gpus:
        assert len(set(workers)) == len(workers)
        assert "" not in workers


@pytest.mark.parametrize(
    ("visible", "names"),
    [(None, ["0", "1", "2"]), ("", ["0", "1", "2"]), ("5, 2,GPU-8a", ["5", "2", "GPU-8a"])],
)
def test_gpus_have_the_names_that_the_machine_knows(monkeypatch, visible, names):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert jobs._gpus(Config()) == names
    assert jobs._gpus(Config(run=Run(device="cpu"))) == []


def test_nothing_waits_and_nothing_starts(by_torchrun):
    assert jobs._workers(Config(), 0) == []
    assert jobs._workers(Config(), 5) == []  # the ranks are all there is


def visible(_: int) -> tuple[int, str | None]:
    time.sleep(0.2)  # so that one process does not take all calls
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


def test_each_process_sees_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    with processes.pool(1) as earlier:
        earlier.submit(os.getpid).result()
    with processes.pool(2, gpus=["3", "7"]) as pool:
        seen = dict(pool.map(visible, range(12)))
    assert set(seen.values()) <= {"3", "7"}
    assert len(set(seen.values())) == len(seen)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,7"


def test_processes_of_a_machine_share_its_threads(by_torchrun, monkeypatch):
    config = Config(run=Run(threads=9))
    assert pipeline.threads(jobs.of_this_process(config)) == 2
    assert pipeline.threads(jobs.divided(config, 20)) == 1
    assert replace(jobs.divided(config, 3), run=config.run) == config
    monkeypatch.delenv("RANK")
    assert jobs.of_this_process(config) is config


def test_one_process_is_not_several(by_torchrun, monkeypatch):
    assert processes.of_several()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not processes.of_several()


def test_alone_the_work_is_done_here():
    assert jobs.together(Config(), "train", lambda: 7) == 7
