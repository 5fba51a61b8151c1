"""One fault tried: a faulty run, the same command again, the remedies that it names, the result."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.stages.order import STAGES
from tests.faults.fault import Fault
from tests.faults.reference import (
    Reference,
    arguments,
    clear_line,
    different_files,
    error_line,
    rebuilt_artifacts,
)
from tests.faults.server import Ended, Running, Server
from tests.scripts import run_cli

MAX_RUNS = 6  # after the faulty one


@dataclass(frozen=True)
class Result:
    """What came of a fault.

    outcome: "equal" (the faulty run itself ended with the right bytes), "resumed" (the same
    command again did), "remedied" (what a clear line said was done first), or, as defects,
    "traceback", "lost", "silent" (other bytes), "stuck".
    """

    outcome: str
    line: str = ""
    problem: str = ""

    @property
    def is_defect(self) -> bool:
        """Whether the software is to be mended."""
        return self.outcome not in ("equal", "resumed", "remedied")


def start_faulty_run(server: Server, folder: Path, fault: Fault) -> Running:
    """Start all stages with the fault."""
    run = dict(fault.run)
    if "environment" in run:
        run["environment"] = run["environment"] | {"FAULT_ROOT": f"{folder}/work/"}
    return start_run(server, folder, fault.new, *fault.extra, **run)


def start_run(server: Server, folder: Path, new: bool, *extra: str, **run: Any) -> Running:
    """Start all stages; `extra`: more arguments. `run`: what `Server.start` takes."""
    stages = [stage.NAME for stage in STAGES]
    return server.start(stages, [*arguments(folder, new), *extra], **run)


def try_fault(server: Server, reference: Reference, fault: Fault) -> Result:
    """Try a fault on a copy of the reference, which is deleted at the end."""
    folder = reference.copy()
    try:
        for prepare in fault.prepare:
            prepare(folder)
        return _run_to_the_end(server, reference, folder, fault)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_to_the_end(server: Server, reference: Reference, folder: Path, fault: Fault) -> Result:
    runs = [start_faulty_run(server, folder, fault) for _ in range(1 + fault.twice)]
    ended = [run.wait() for run in runs]
    for end in ended:
        problem = clear_line(end)
        if problem:
            return Result("traceback", end.stderr[-3000:], problem)
    lines = [line for end in ended if (line := error_line(end))]
    for mend in fault.mend:
        mend(folder)
    outcome = "equal" if not any(end.exit_status for end in ended) else "resumed"
    extra = _verify(folder, fault, lines) if fault.verify else []
    outcome = "remedied" if extra else outcome
    new = fault.new
    for _ in range(MAX_RUNS):
        end = start_run(server, folder, new, *extra).wait()
        problem = clear_line(end)
        if problem:
            return Result("traceback", end.stderr[-3000:], f"afterwards: {problem}")
        if end.exit_status == 0 and new == fault.new:
            break
        outcome = "remedied"
        if end.exit_status == 0:  # trained first, as a line told
            new, extra = fault.new, []
            continue
        lines.append(error_line(end))
        remedy = _follow(lines[-1])
        if remedy is None:
            return Result("stuck", lines[-1])
        new, extra = new and "train first" not in lines[-1], remedy
    else:
        return Result("stuck", lines[-1])
    return _compare(reference, folder, fault, outcome, " | ".join(lines))


def _verify(folder: Path, fault: Fault, lines: list[str]) -> list[str]:
    """`--verify` names the damaged file, and `--rebuild` mends it."""
    options = arguments(folder, fault.new)
    config = options[options.index("--config") + 1]
    rest = [word for word in options if word not in ("--config", config)]
    ended = run_cli(config, *rest, "--verify")
    if ended.returncode != 2:
        return []
    lines.append(error_line(Ended(2, ended.stdout, ended.stderr)))
    return ["--rebuild"]


def _follow(line: str) -> list[str] | None:
    """Do what a line says: delete what it names, or pass the option. None: it says nothing."""
    if "delete it" in line:
        path = Path(line.removeprefix("error: ").split(" is a ")[0])
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return []
    if "--rebuild" in line:
        return ["--rebuild"]
    if "rerun" in line or "first" in line:
        return []
    return None


def _compare(reference: Reference, folder: Path, fault: Fault, outcome: str, line: str) -> Result:
    different = different_files(reference, folder)
    if different:
        return Result("silent", line, f"different: {', '.join(different[:5])}")
    lost = rebuilt_artifacts(reference, folder) - {*fault.deleted, *fault.broken}
    if lost:
        return Result("lost", line, f"built again: {', '.join(sorted(lost)[:5])}")
    return Result(outcome, line)


def seed_of(number: int) -> random.Random:
    """The random numbers of the n-th fault of a campaign."""
    return random.Random(f"fault {number}")
