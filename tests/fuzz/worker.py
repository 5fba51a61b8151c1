"""Run inputs in a forked process with limits, so that an abort or a hang is only a finding."""

import contextlib
import ctypes
import faulthandler
import gc
import logging
import mmap
import os
import resource
import select
import shutil
import signal
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lib.errors import UserError, one_line
from tests.fuzz.family import Family, PassedOver

ACCEPTED, REFUSED, PASSED_OVER = "accepted", "refused", "passed over"
BEHIND_CHECKSUM, FINDING = "stopped by the checksum alone", "finding"

MAX_SECONDS = 20.0  # of CPU time for an input; wall-clock time would blame a busy machine
MAX_WAIT = 120.0  # wall-clock seconds without CPU time: a deadlock, or a read that waits
MAX_BYTES = 1 << 30  # that the memory of the process may grow by, while it reads an input
ADDRESS_BYTES = 6 << 30  # the same of its address space, so that the machine does not run out
MAX_WARNINGS, MAX_NOISE = 40, 8192  # lines, and bytes on the standard error, of an input
MAX_LINE = 2000  # characters of a message
RESULT = struct.Struct("qqi")

FORBIDDEN = (
    "pickle.find_class",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "socket.getaddrinfo",
)
PATH_EVENTS = ("open", "os.mkdir", "os.remove", "os.rename", "os.symlink", "os.link", "os.rmdir")
READABLE = ("/proc/", "/sys/", "/dev/null", "/dev/urandom", "/usr/", "/etc/localtime")


@dataclass
class Result:
    """What became of an input."""

    number: int
    kind: str
    text: str = ""


@dataclass
class Watch:
    """What the audit hook of this process reports: accesses that no input may cause."""

    inside: Path | None = None
    trespasses: list[str] = field(default_factory=list)

    def hook(self, event: str, arguments: tuple) -> None:
        """Python calls it for each event of `sys.audit`."""
        if self.inside is None:
            return
        if event in FORBIDDEN and not (event == "pickle.find_class" and _is_compiled_code()):
            self._forbid(f"{event} {arguments[:2]!r:.200}")
        elif event in PATH_EVENTS:
            for path in arguments[: 2 if event in ("os.rename", "os.symlink", "os.link") else 1]:
                self._check_path(event, path, arguments)

    def _check_path(self, event: str, path: object, arguments: tuple) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        real = os.path.normpath(os.path.join(os.getcwd(), name))
        if "\0" in real or real == str(self.inside) or real.startswith(f"{self.inside}/"):
            return
        writes = event != "open" or bool(
            (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        roots = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]))
        in_cache = "__pycache__" in real and real.startswith(roots)  # of compiled code
        if writes and (in_cache or real == "/dev/null"):
            return
        if writes or not real.startswith((*READABLE, *(f"{root}/" for root in roots))):
            self._forbid(f"{event} of {real}")

    def _forbid(self, what: str) -> None:
        self.trespasses.append(what)
        raise PermissionError(f"fuzzing: {what}")


WATCH = Watch()


def _is_compiled_code() -> bool:
    """Whether numba reads its cache, whose digest is compared before (`lib/utils/compiled.py`)."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.endswith("numba/core/caching.py"):
            return True
        frame = frame.f_back
    return False


def run_inputs(family: Family, numbers: range, box: Path) -> Iterator[Result]:
    """Yield the result of each input, in order; processes that die are replaced.

    box: an empty folder; the reader may touch only `box/inside`.
    """
    seeds = _make_seeds(family, box)
    at = numbers.start
    while at < numbers.stop:
        before = at
        for result in _run_process(family, range(at, numbers.stop), seeds, box):
            yield result
            at = result.number + 1
        if at == before:
            raise RuntimeError(f"{family.name}: {(box / 'noise').read_text(errors='replace')}")


def _make_seeds(family: Family, box: Path) -> list[bytes]:
    """The seeds, made in a process of their own: libraries that start threads cannot be forked."""
    folder = box / "seeds"
    folder.mkdir(parents=True)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            (box / "making").mkdir()
            for index, seed in enumerate(family.make_seeds(box / "making")):
                (folder / f"{index:04d}").write_bytes(seed)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(status)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError(f"{family.name}: its seeds cannot be made")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def _run_process(family: Family, numbers: range, seeds: list[bytes], box: Path) -> Iterator[Result]:
    """Results of one process, until it has read all inputs or dies."""
    current = mmap.mmap(-1, 8)  # the input that is being read
    current[:] = struct.pack("q", numbers.start)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            _work(family, numbers, seeds, box, current, writer)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)
    os.close(writer)
    watchdog = _Watchdog(pid, current)
    next_number, buffer = numbers.start, b""
    try:
        while True:
            ready, _, _ = select.select([reader], [], [], 1.0)
            if ready:
                piece = os.read(reader, 1 << 16)
                if not piece:
                    break
                buffer += piece
                while len(buffer) >= RESULT.size:
                    number, kind, size = RESULT.unpack_from(buffer)
                    if len(buffer) < RESULT.size + size:
                        break
                    text = buffer[RESULT.size : RESULT.size + size].decode("utf-8", "replace")
                    buffer = buffer[RESULT.size + size :]
                    yield Result(number, KINDS[kind], text)
                    next_number = number + 1
            if watchdog.has_expired():
                os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        pid = 0
    finally:
        os.close(reader)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if next_number < numbers.stop and (os.WIFSIGNALED(status) or watchdog.expired):
        number = struct.unpack("q", current[:])[0]
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else str(status)
        text = watchdog.expired or f"the process ended by {name}"
        for passed in range(next_number, number):  # not reported before the process died
            yield Result(passed, FINDING, "no result")
        kind = BEHIND_CHECKSUM if family.behind_checksum else FINDING
        yield Result(number, kind, text)


class _Watchdog:
    """Whether a process reads one input for too long."""

    def __init__(self, pid: int, current: mmap.mmap) -> None:
        self.pid, self.current, self.expired = pid, current, ""
        self.seen, self.since, self.cpu = b"", time.monotonic(), 0.0

    def has_expired(self) -> bool:
        """To be called every second or so."""
        if self.expired:
            return False
        cpu = _cpu_seconds(self.pid)
        if self.current[:] != self.seen:
            self.seen, self.since, self.cpu = self.current[:], time.monotonic(), cpu
        if cpu - self.cpu > MAX_SECONDS:
            self.expired = f"not read after {MAX_SECONDS:g} s of CPU time"
        elif time.monotonic() - self.since > MAX_WAIT:
            self.expired = f"not read after {MAX_WAIT:g} s"
        return bool(self.expired)


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


KINDS = (ACCEPTED, REFUSED, PASSED_OVER, BEHIND_CHECKSUM, FINDING)


def _work(
    family: Family,
    numbers: range,
    seeds: list[bytes],
    box: Path,
    current: mmap.mmap,
    writer: int,
) -> None:
    """Read inputs and report each; leaves after one that took too much memory."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    faulthandler.disable()  # pytest enables it; an abort is a result here
    noise = os.open(box / "noise", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(noise, 2)
    os.dup2(noise, 1)
    records = _CountRecords()
    logging.getLogger("lib").handlers[:] = [records]
    logging.getLogger("lib").propagate = False
    inside = box / "inside"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    os.chdir(inside)
    os.environ["TMPDIR"] = str(inside)
    family.prepare(inside)
    with contextlib.suppress(UserError, PassedOver):
        family.read(seeds[0], inside)  # imports, and compiled code, before anything is watched
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    limit = mapped + ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sys.addaudithook(WATCH.hook)
    before = _peak_bytes()
    bound = before + (family.max_bytes or MAX_BYTES)
    for number in numbers:
        current[:] = struct.pack("q", number)
        data = family.input(number, seeds)
        records.count = 0
        kind, text = _read(family, data, inside)
        if _peak_bytes() > bound:
            kind, text = FINDING, f"memory: {(_peak_bytes() - before) >> 20} MiB more"
        elif records.count > MAX_WARNINGS:
            kind, text = FINDING, f"{records.count} lines in the log"
        if os.fstat(noise).st_size > MAX_NOISE and not family.behind_checksum:
            kind, text = FINDING, f"{os.fstat(noise).st_size} bytes on the standard error"
        os.ftruncate(noise, 0)
        os.lseek(noise, 0, os.SEEK_SET)
        encoded = text.encode("utf-8", "replace")[:4000]
        os.write(writer, RESULT.pack(number, KINDS.index(kind), len(encoded)) + encoded)
        if _peak_bytes() > bound:
            return


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _read(family: Family, data: bytes, inside: Path) -> tuple[str, str]:
    """What became of one input: (kind, text)."""
    WATCH.trespasses.clear()
    raised: BaseException | None = None
    kind, text = ACCEPTED, ""
    with warnings.catch_warnings(record=True) as caught:
        WATCH.inside = inside
        try:
            if family.read(data, inside) == PASSED_OVER:
                kind = PASSED_OVER
        except PassedOver:
            kind = PASSED_OVER
        except UserError as error:
            kind, text = REFUSED, str(error)
        except BaseException as error:
            raised = error
            kind = BEHIND_CHECKSUM if family.behind_checksum else FINDING
            text = _describe(error)
        finally:
            WATCH.inside = None
    if raised is not None:
        raised.__traceback__ = None
        if isinstance(raised, MemoryError):
            gc.collect()
    if kind == REFUSED and (len(one_line(text)) > MAX_LINE or not one_line(text).isprintable()):
        kind, text = FINDING, f"a message of {len(text)} characters: {text[:200]!r}"
    if len(caught) > MAX_WARNINGS:
        kind, text = FINDING, f"{len(caught)} warnings, such as {caught[0].message!r:.200}"
    if WATCH.trespasses:
        kind, text = FINDING, WATCH.trespasses[0]
    return kind, text


def _describe(error: BaseException) -> str:
    """The error, and the innermost line of this project that it came through."""
    place, at = "", error.__traceback__
    root = str(Path(__file__).parents[2])
    while at is not None:
        code = at.tb_frame.f_code
        if (
            code.co_filename.startswith(root)
            and "/tests/" not in code.co_filename
            and "/.venv/" not in code.co_filename
        ):
            place = f"{code.co_filename.removeprefix(root + '/')}:{at.tb_lineno}"
        at = at.tb_next
    return f"{type(error).__name__} in {place}: {str(error)[:300]!r}"


class _CountRecords(logging.Handler):
    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()
        self.count += 1
