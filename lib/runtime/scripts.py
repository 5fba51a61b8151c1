"""Run a script as a process of its own, and measure the memory that it needs"""

import logging
import signal
import subprocess
import threading
import time
from pathlib import Path

from lib.runtime import signals

SECONDS = 0.3  # between two looks at the memory
PAUSE = 30  # times as long as a look: the kernel walks all pages, and stops the process meanwhile

logger = logging.getLogger(__name__)


def run_script(command: list[str], memory: "PeakMemory | None" = None) -> int:
    """Run a script and return its exit status; on Ctrl-C the script ends and reports by itself.

    A terminal sends Ctrl-C to all its processes; `kill` reaches this one alone, which passes it on.
    memory: watches the script and its child processes.
    """
    process = subprocess.Popen(command)
    if memory is not None:
        memory.watch(process.pid)
    while True:
        try:
            exit_status = process.wait()
            break
        except signals.Terminated:
            process.terminate()
        except KeyboardInterrupt:
            continue
    if exit_status >= 0:
        return exit_status
    name = signal.Signals(-exit_status).name
    cause = " (perhaps for lack of memory: lower run.threads or run.workers)"
    text = f"{command[1]} was ended by {name}{cause if name == 'SIGKILL' else ''}"
    logger.error("%s; rerun the same command to resume", text)
    return 128 - exit_status


class PeakMemory:
    """The most memory that a process and its children had at a time, in bytes.

    Pages that processes share count once. Files that are mapped count as far as they are in memory.
    """

    def __init__(self) -> None:
        self.peak = 0

    def watch(self, pid: int) -> None:
        """Look at the memory of process `pid` until it ends, in a thread."""
        threading.Thread(target=self._watch, args=(pid,), daemon=True).start()

    def _watch(self, pid: int) -> None:
        pause, start = threading.Event(), time.perf_counter()
        while memory := sum(map(_resident, _family(pid))):
            self.peak = max(self.peak, memory)
            pause.wait(max(SECONDS, PAUSE * (time.perf_counter() - start)))
            start = time.perf_counter()


def _family(pid: int) -> list[int]:
    """A process and all that it started, as far as they run."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return found


def _resident(pid: int) -> int:
    """Bytes of a process in memory, with its share of what several have; 0 at its end."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
