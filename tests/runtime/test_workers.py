"""Processes of a pool: their GPUs, threads, log, and their end."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib.config.model import Model
from lib.config.schema import Run
from lib.errors import UserError
from lib.runtime import device as devices
from lib.runtime import workers
from lib.runtime.log import configure_logging
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("fresh_workers")

PARENT = """
import os, sys, time
from lib.runtime import workers

if __name__ == "__main__":
    with workers.process_pool(1, spawn=sys.argv[1] == "spawn") as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 60).result()
"""


def test_children_die_with_their_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    for start in ("spawn", "fork"):
        parent = subprocess.Popen(
            [sys.executable, script, start],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
        )
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        for _ in range(200):
            if not _alive(child):
                break
            time.sleep(0.05)
        assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("visible", "names"),
    [(None, ["0", "1", "2"]), ("", ["0", "1", "2"]), ("5, 2,GPU-8a", ["5", "2", "GPU-8a"])],
)
def test_gpus_have_the_names_that_cuda_takes(monkeypatch, visible, names):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert workers.visible_gpus(Run()) == names
    assert workers.visible_gpus(Run(device="cpu")) == []


def pid_and_gpu(_: int) -> tuple[int, str | None]:
    time.sleep(0.2)  # so that one process does not take all calls
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


def test_each_process_sees_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    with workers.process_pool(1) as earlier:
        earlier.submit(os.getpid).result()
    with workers.process_pool(2, gpus=["3", "7"]) as pool:
        gpu_of_process = dict(pool.map(pid_and_gpu, range(12)))
    assert set(gpu_of_process.values()) <= {"3", "7"}
    assert len(set(gpu_of_process.values())) == len(gpu_of_process)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,7"


def threads_here(run: Run) -> tuple[int, list[str | None]]:
    return workers.num_threads(run), [os.environ.get(n) for n in workers.THREAD_VARIABLES]


def test_processes_of_a_pool_share_the_threads(monkeypatch):
    for name in workers.THREAD_VARIABLES:
        monkeypatch.setenv(name, "9")
    run = Run(threads=9)
    assert workers.num_threads(run) == 9
    with workers.process_pool(1, shares=3) as pool:  # two of three are done already
        # The results of BLAS may depend on its threads, but must not on the size of a pool.
        assert pool.submit(threads_here, run).result() == (3, ["3", "9", "9"])
        assert pool.submit(threads_here, replace(run, threads=2)).result()[0] == 1
    assert workers.num_threads(run) == 9


def test_every_share_has_a_thread():
    shares = [workers.threads_of_share(9, shares) for shares in (1, 2, 4, 9, 20)]
    assert shares == [9, 4, 2, 1, 1]


def torch_threads_here(run: Run) -> int:
    devices.select_device(run, Model())
    return torch.get_num_threads()


def test_torch_takes_only_the_threads_of_its_process():
    with workers.process_pool(2) as pool:
        assert pool.submit(torch_threads_here, Run(threads=6, device="cpu")).result() == 3
        share = max(1, len(os.sched_getaffinity(0)) // 2)
        assert pool.submit(torch_threads_here, Run(device="cpu")).result() == share


def test_processes_of_torchrun_share_the_threads_of_a_machine(by_torchrun, monkeypatch):
    assert workers.num_threads(Run(threads=9)) == 2
    assert workers.num_threads(Run(threads=3)) == 1
    monkeypatch.delenv("RANK")
    assert workers.num_threads(Run(threads=9)) == 9


def test_only_lack_of_memory_is_called_so():
    assert workers.is_out_of_memory(MemoryError())
    assert workers.is_out_of_memory(torch.OutOfMemoryError())
    assert workers.is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert not workers.is_out_of_memory(RuntimeError("memory format"))
    assert not workers.is_out_of_memory(KeyboardInterrupt("out of memory"))
    hidden = BufferError("cannot close")
    hidden.__context__ = MemoryError()
    assert workers.is_out_of_memory(hidden)


INTERRUPTED = """
import time
from lib.runtime import signals, workers

def sleep(path):
    open(path, "w").close()
    time.sleep(60)

if __name__ == "__main__":
    signals.raise_when_terminated()
    with workers.process_pool(1) as pool:
        pool.submit(sleep, {path!r}).result()
"""


def test_kill_ends_a_pool_without_waiting_for_its_work(tmp_path):
    script, started = tmp_path / "interrupted.py", tmp_path / "started"
    script.write_text(INTERRUPTED.format(path=str(started)))
    parent = subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not started.exists():
        time.sleep(0.05)
    parent.terminate()
    _, error = parent.communicate(timeout=30)  # its work takes longer
    assert "Terminated" in error
    assert "leaked" not in error


def test_without_a_setting_all_cores_are_used():
    assert workers.num_threads(Run()) == len(os.sched_getaffinity(0))


def test_one_process_of_torchrun_is_not_distributed(by_torchrun, monkeypatch):
    assert workers.is_distributed()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not workers.is_distributed()


def log_two_records() -> None:
    logger = logging.getLogger("lib.some.module")
    logger.info("from the worker")
    logger.warning("a problem in the worker")


@pytest.mark.parametrize("spawn", [True, False])
def test_a_worker_logs_to_the_file_and_at_the_level_of_its_parent(tmp_path, capfd, spawn):
    file = Path(tmp_path / "logs" / "run.log")
    configure_logging(logging.WARNING, file)
    with workers.process_pool(1, spawn=spawn) as pool:
        pool.submit(log_two_records).result()
    lines = [line.split(" ", 2)[2] for line in file.read_text().splitlines()]
    assert lines == [
        "INFO lib.some.module: from the worker",
        "WARNING lib.some.module: a problem in the worker",
    ]
    assert capfd.readouterr().err == "warning: a problem in the worker\n"


def test_without_shared_memory_one_line_says_so(monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(workers, "_Pool", fail)
    with pytest.raises(UserError, match=r"/dev/shm: no semaphores.*--shm-size"):
        workers.process_pool(1)
