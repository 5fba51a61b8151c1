"""Builds the artifacts of a stage, those that do not need each other side by side.

On a CPU several networks that each train on one thread finish far sooner than one after the other
on all threads: small networks spend much of a step waiting for the slowest thread, and on a busy
machine nearly all of it. A GPU takes one at a time, in the calling process.
"""

import os
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path

from lib import pipeline, processes
from lib.artifacts import Artifact, ensure, status
from lib.config import Config

SIDE_BY_SIDE = ("train", "predict")  # stages of networks: most artifacts need no other of them

# glibc hands every large tensor back to the kernel and takes it anew, page by page, in each step:
# two fifths of a CPU training's time. Keep the memory, in huge pages. Read when a process starts.
KEEP_MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0"
    ":glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=67108864"
}

Say = Callable[[str], None]


def ensure_all(config: Config, stage: str, rebuild: bool, say: Say) -> int:
    """Build what is not fresh of a stage; returns how many artifacts were built.

    Settled ones are left alone. Raises what `artifacts.ensure` raises. Side by side, the others
    that have begun end first.
    """
    artifacts = pipeline.stages(config)[stage]
    own = [place for place, one in enumerate(artifacts) if not one.settled]
    built = 0
    for places in _turns(artifacts, own) if stage in SIDE_BY_SIDE else [own]:
        waiting = [place for place in places if status(artifacts[place]).state != "fresh"]
        jobs = _jobs(config, len(waiting)) if stage in SIDE_BY_SIDE else 0
        if not jobs:
            built += sum(ensure(artifacts[place], rebuild, say) for place in places)
            continue
        if not rebuild:
            _stop_at_stale([artifacts[place] for place in waiting], say)
        _side_by_side(config, stage, rebuild, waiting, jobs)
        built += len(waiting)
    say(f"{stage}: {built} built, {len(own) - built} fresh" if own else f"{stage}: nothing to do")
    return built


def _turns(artifacts: list[Artifact], own: list[int]) -> list[list[int]]:
    """Places that can be built at once, turn by turn: those whose inputs are not still to come."""
    turns, waiting = [], own
    while waiting:
        paths = {artifacts[place].path for place in waiting}
        ready = [place for place in waiting if not _inputs(artifacts[place]) & paths]
        turns.append(ready)
        waiting = [place for place in waiting if place not in ready]
    return turns


def _inputs(artifact: Artifact) -> set[Path]:
    return {one.path for one in artifact.inputs.values() if isinstance(one, Artifact)}


def _jobs(config: Config, waiting: int) -> int:
    """Processes to start; 0: build in this one."""
    if not waiting:
        return 0
    if config.run.device != "cpu":
        import torch  # only now, when something is about to be built

        if torch.cuda.is_available():
            return 0
    return min(config.run.jobs or pipeline.threads(config), waiting)


def _stop_at_stale(artifacts: list[Artifact], say: Say) -> None:
    """Before anything is started: `ensure` raises for a stale one."""
    for artifact in artifacts:
        if status(artifact).state == "stale":
            ensure(artifact, False, say)


def _side_by_side(config: Config, stage: str, rebuild: bool, waiting: list[int], jobs: int) -> None:
    threads = max(1, pipeline.threads(config) // jobs)
    inner = replace(config, run=replace(config.run, threads=threads))
    # Inherited, and read when torch is imported.
    os.environ |= {"OMP_NUM_THREADS": str(threads)} | KEEP_MEMORY
    with processes.pool(jobs) as pool:
        tasks = [pool.submit(_build, inner, stage, place, rebuild) for place in waiting]
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException as error:
            print_line(f"{stage}: failed ({error}); what has begun beside it ends first")
            pool.shutdown(cancel_futures=True)
            raise


def _build(config: Config, stage: str, place: int, rebuild: bool) -> None:
    ensure(pipeline.stages(config)[stage][place], rebuild, print_line)


def print_line(text: str) -> None:
    """To stderr in one write, so that lines of several processes do not mix."""
    os.write(2, f"{text}\n".encode())
