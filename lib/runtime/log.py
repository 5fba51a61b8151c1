"""What a run reports: to stderr, and to a file of its own in `work/<experiment>/logs/`."""

import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from lib.errors import one_line, printable

ROOT = "lib"  # the logger above those of all modules of this package


class _SafeFormatter(logging.Formatter):
    """Names from a catalog move no cursor; a warning or an error is one line (`one_line`)."""

    def format(self, record: logging.LogRecord) -> str:
        show = one_line if record.levelno >= logging.WARNING else printable
        safe = {"msg": show(record.getMessage()), "args": None}
        return super().format(logging.makeLogRecord(record.__dict__ | safe))


class _Formatter(_SafeFormatter):
    """The message alone; warnings and errors begin with their level, as in "warning: ..."."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class _StderrHandler(logging.StreamHandler):
    """Writes to the stderr of the moment, which tests and progress bars may replace."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self):  # type: ignore[no-untyped-def]
        return sys.stderr


class _LogFile(logging.FileHandler):
    """Leaves out records that cannot be written: on a full disk the error on stderr is enough."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


def configure_logging(level: int = logging.INFO, file: Path | None = None) -> None:
    """Send records of at least `level` to stderr, and all of them to `file`, with their time.

    Lines are appended in one write each, so that several processes may share both. A second call
    replaces what the first set up.
    """
    # The lock of tqdm is a semaphore of the machine, which a killed process would leave behind.
    tqdm.set_lock(threading.RLock())
    logger = logging.getLogger(ROOT)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    console = _StderrHandler()
    console.setLevel(level)
    console.setFormatter(_Formatter("%(message)s"))
    logger.addHandler(console)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        to_file = _LogFile(file, encoding="utf-8", delay=True)
        to_file.setFormatter(_SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(to_file)
    logger.setLevel(logging.DEBUG if file is not None else level)
    logger.propagate = False


def log_settings() -> tuple[int, Path | None]:
    """The level and the file that `configure_logging` was called with, for another process."""
    level, file = logging.INFO, None
    for handler in logging.getLogger(ROOT).handlers:
        if isinstance(handler, logging.FileHandler):
            file = Path(handler.baseFilename)
        else:
            level = handler.level
    return level, file


class _Sender(logging.Handler):
    """Hands every record on: its level, the name of its logger, and its text."""

    def __init__(self, send: Callable[[int, str, str], None]) -> None:
        super().__init__()
        self.send = send

    def emit(self, record: logging.LogRecord) -> None:
        self.send(record.levelno, record.name, self.format(record))


def send_records(level: int, send: Callable[[int, str, str], None]) -> None:
    """Hand records of at least `level` to `send`, for `log_record` in another process.

    Replaces what `configure_logging` set up.
    """
    tqdm.set_lock(threading.RLock())
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [_Sender(send)]
    logger.setLevel(level)
    logger.propagate = False


def log_record(level: int, name: str, text: str) -> None:
    """Log what another process sent, as if it had happened here."""
    logging.getLogger(name).log(level, "%s", text)
