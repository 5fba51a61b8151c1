"""Ctrl-C and SIGTERM: a run ends with one line, also from inside a long call of a library."""

import os
import signal
import sys
import time
from functools import cache
from threading import Thread

from lib.runtime.workers import is_distributed

GRACE_SECONDS = 10.0
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Terminated(KeyboardInterrupt):
    """SIGTERM, as `kill` and job schedulers send it: everything ends as after Ctrl-C."""


def raise_when_terminated() -> None:
    """Raise `Terminated` in the main thread on SIGTERM, so that what is open is closed.

    Not under torchrun: it ends processes that wait for others, and hear nothing meanwhile.
    """

    def terminate(*_: object) -> None:
        raise Terminated

    if not is_distributed():
        signal.signal(signal.SIGTERM, terminate)


@cache
def end_when_stuck() -> None:
    """End this process if it is still there GRACE_SECONDS after Ctrl-C or SIGTERM.

    Python hears a signal when a call of a library returns, and the fit of a booster takes hours.
    An unfinished artifact is left as after any kill. A second call does nothing.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    Thread(target=_wait_and_end, args=(reader,), daemon=True).start()


def words(number: int) -> str:
    """What the user reads when a signal has ended a run."""
    return f"{WORDS[signal.Signals(number)]}; rerun the same command to resume"


def _wait_and_end(reader: int) -> None:
    while (number := os.read(reader, 1)[0]) not in WORDS:
        continue
    time.sleep(GRACE_SECONDS)
    print(f"error: {words(number)}", file=sys.stderr, flush=True)
    os._exit(128 + number)
