"""Builds the artifacts of a stage, those that do not need each other side by side.

On a CPU several networks that each train on one thread finish far sooner than one after the other
on all threads: small networks spend much of a step waiting for the slowest thread, and on a busy
machine nearly all of it. A GPU takes one at a time; of several GPUs each has a process that sees no
other, and with a single one the calling process does it all.

Where networks are fewer than GPUs, torchrun has all GPUs work on each, one after the other: they
train it together, and share the pictures that it scores. The first of its processes goes through a
stage as ever, and the others join it in what `ON_ALL_RANKS` names.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lib import fill, pipeline
from lib.artifacts import Artifact, ensure, status
from lib.config.schema import Config
from lib.runtime import workers as processes

SIDE_BY_SIDE = ("train", "predict")  # stages of networks: most artifacts need no other of them
# What torchrun's processes build together; all else is the first's.
ON_ALL_RANKS = (fill.cnn, fill.fusion, fill.predictions, fill.fused)

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
    made = pipeline.stages(config)[stage]
    artifacts = [_announced(place, one) for place, one in enumerate(made)]
    own = [place for place, one in enumerate(artifacts) if not one.settled]
    built = 0
    for places in _turns(artifacts, own) if stage in SIDE_BY_SIDE else [own]:
        waiting = [place for place in places if status(artifacts[place]).state != "fresh"]
        workers = _workers(config, len(waiting)) if stage in SIDE_BY_SIDE else []
        if not workers:
            built += sum(ensure(artifacts[place], rebuild, say) for place in places)
            continue
        if not rebuild:
            _stop_at_stale([artifacts[place] for place in waiting], say)
        _side_by_side(config, stage, rebuild, waiting, workers)
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


def _workers(config: Config, waiting: int) -> list[str]:
    """The processes to start, by the GPU that each sees, "" for none; no process: build in this."""
    if not waiting or processes.of_several():
        return []
    return dealt(_gpus(config), pipeline.threads(config), config.run.workers, waiting)


def dealt(gpus: Sequence[str], threads: int, most: int, waiting: int) -> list[str]:
    """Processes for what is `waiting`, as in `_workers`; most: of them side by side, 0 = any."""
    if gpus:
        count = min(len(gpus), waiting, most or waiting)
        return list(gpus[:count]) if count > 1 else []
    return [""] * min(most or threads, waiting)


def _gpus(config: Config) -> list[str]:
    """Names of the GPUs that torch sees here, as CUDA_VISIBLE_DEVICES takes them."""
    if config.run.device == "cpu":
        return []
    import torch  # only now, when something is about to be built

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return [name.strip() for name in named.split(",")][:count]


def _stop_at_stale(artifacts: list[Artifact], say: Say) -> None:
    """Before anything is started: `ensure` raises for a stale one."""
    for artifact in artifacts:
        if status(artifact).state == "stale":
            ensure(artifact, False, say)


def _side_by_side(
    config: Config, stage: str, rebuild: bool, waiting: list[int], workers: list[str]
) -> None:
    inner = divided(config, len(workers))
    # Inherited, and read when torch is imported.
    os.environ |= {"OMP_NUM_THREADS": str(pipeline.threads(inner))} | KEEP_MEMORY
    with processes.pool(len(workers), gpus=[gpu for gpu in workers if gpu]) as pool:
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


def divided(config: Config, parts: int) -> Config:
    """The config of one of so many processes that share this machine's threads."""
    if parts == 1:
        return config
    threads = max(1, pipeline.threads(config) // parts)
    return replace(config, run=replace(config.run, threads=threads))


def of_this_process(config: Config) -> Config:
    """The config with this process's share of the threads, if torchrun started several here."""
    several = processes.of_several()
    return divided(config, int(os.environ["LOCAL_WORLD_SIZE"]) if several else 1)


def together(config: Config, stage: str, work: Callable[[], int]) -> int:
    """Do `work`, which builds of a stage; returns its exit status.

    Of several processes of torchrun the first does it, and the others join in what all ranks build.
    """
    if not processes.of_several():
        return work()
    from lib.runtime import distributed

    with distributed.joined(config.run) as own:
        if own.first:
            status = work()
            own.said(None)
            return status
        artifacts = pipeline.stages(config)[stage]
        while begun := own.said(None):
            place, folder = begun
            artifacts[place].build(Path(folder))
        return 0


def _announced(place: int, artifact: Artifact) -> Artifact:
    """The same artifact, whose building the other ranks join if it is one of theirs."""
    ours = getattr(artifact.build, "func", None) in ON_ALL_RANKS
    if not processes.of_several() or not ours:
        return artifact
    return replace(artifact, build=partial(_announce, place, artifact.build))


def _announce(place: int, build: Callable[[Path], Any], folder: Path) -> Any:
    from lib.runtime import distributed

    distributed.here().said((place, str(folder)))
    return build(folder)


def print_line(text: str) -> None:
    """To stderr in one write, so that lines of several processes do not mix."""
    os.write(2, f"{text}\n".encode())
