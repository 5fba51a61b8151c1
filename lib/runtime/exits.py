"""The exit status of a command: errors that its user can mend become one line"""

import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from lib.errors import UserError
from lib.runtime import signals, workers
from lib.utils.disk_errors import explain_disk_error


def exit_status(work: Callable[[], int], folder: Callable[[], Path], logger: logging.Logger) -> int:
    """Call `work`, and turn what the user can mend into one line of `logger`.

    folder: that is named where memory or the disk runs out.
    The status of `work`; 2: a UserError, or no memory or disk; 130 and 143: it was interrupted;
    141: nobody reads what it prints any more, as after `| head`. Other errors pass.
    """

    def fail(text: str, status: int = 2) -> int:
        logger.error("%s", text)
        return status

    try:
        status = work()
        print(end="", flush=True)
        return status
    except UserError as error:
        return fail(str(error))
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, signals.Terminated) else signal.SIGINT
        return fail(signals.words(number), 128 + number)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _has_no_reader():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it
            return 128 + signal.SIGPIPE
        reason = explain_disk_error(error, folder())
        if workers.is_out_of_memory(error):
            reason = f"{folder()}: out of memory; free some, or lower run.threads or run.workers,"
        if reason is None:
            raise
        logger.debug("failed", exc_info=True)
        return fail(f"{reason} and rerun the same command: finished work is kept")


def _has_no_reader() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
