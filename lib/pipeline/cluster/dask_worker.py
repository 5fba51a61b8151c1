"""What a Dask worker does: it checks that it sees what the script sees, and has a process build.

A worker may stay while the code changes. So this module imports nothing else of the project, and
the work itself is done in a process that is started for it (`builder.py`), with the threads that it
shall have: libraries read their number when they are loaded. That process also keeps long calls
away from the worker, which has to answer its scheduler.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from distributed import Status, Worker, get_worker

PROJECT = Path(__file__).parents[3]  # the folder that holds `lib`
BUILDER = "lib.pipeline.cluster.builder"
CANCEL_SECONDS = 0.5  # between two looks whether a task is still wanted
ALIVE = (Status.running, Status.paused)
PYTHON, DASK = "Python", ("dask", "distributed")


class BuilderKilled(Exception):
    """The process that built an artifact was killed; Dask tries the task again."""


class _Builder:
    """A process that builds artifacts, one after the other, with the threads of its site."""

    def __init__(self, site: dict[str, Any]) -> None:
        self.kind = _kind(site)
        self.connection, other = Pipe()
        paths = [site["root"], os.environ.get("PYTHONPATH", "")]
        environ = {
            **os.environ,
            **site["environ"],
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        environ.pop("MALLOC_TRIM_THRESHOLD_", None)  # of Dask's nanny: it slows down large arrays
        arguments = [str(other.fileno()), str(site["threads"]), str(site["shares"])]
        with other:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", BUILDER, *arguments],
                cwd=site["folder"],
                env=environ,
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C reaches the script, which cancels its tasks
                stdin=subprocess.DEVNULL,
            )

    def kill(self) -> None:
        """End the process, whatever it does; an unfinished artifact is left as after any kill."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


# Of this worker, which does one task at a time: its process, and the token that it has seen last.
_builder: _Builder | None = None
_seen = ""


def see(site: dict[str, Any], worker: Worker) -> str:
    """Why a worker cannot build for a script, in words; "" if it can.

    site: what the script sees (`client._describe_site`). Writes a file beside the token of the
    script, and deletes it.
    """
    global _seen
    if site["text"] == _seen:
        return ""
    token, threads = Path(site["token"]), worker.state.nthreads
    try:
        if token.read_text() != site["text"]:
            return f"{token} is another file there; it needs the same folders"
        mark = token.with_name(f"{token.name}-{os.getpid()}")
        mark.touch()
        mark.unlink()
        os.listdir(site["folder"])
        if code_digest(PROJECT) != site["code"]:
            return f"{PROJECT} holds another version of lib; update it, or restart the worker"
    except OSError as error:
        return f"{error.filename or token}: {error.strerror}; it needs the same folders"
    if threads != 1:
        return f"it does {threads} tasks at a time; start it with --nthreads 1, several if need be"
    text = other_versions(versions(site["versions"]), site["versions"])
    _seen = "" if text else site["text"]
    return text


def other_versions(here: dict[str, str], wanted: dict[str, str]) -> str:
    """Which versions of a worker differ from those of the script, in words; "" if none does."""
    names = [name for name in here if here[name] != wanted[name]]
    differences = [f"{name} {here[name]}, here {wanted[name]}" for name in names]
    return f"it has {'; '.join(differences)}; install the same" if names else ""


def code_digest(folder: Path) -> str:
    """SHA-256 of the modules of `lib` below a folder."""
    digest = hashlib.sha256()
    for path in sorted((folder / "lib").rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution; "none" where there is none."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    if name == PYTHON:
        return sys.version.split()[0]
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def build(site: dict[str, Any], call: bytes) -> tuple[str, ...]:
    """Have a process of this worker build an artifact; returns its outcome (`builder.outcome`).

    call: the artifact and the options of `builder.main`, pickled for that process alone. What the
    process logs goes to the topic of the script. Raises BuilderKilled if the process dies.
    """
    global _builder
    worker = get_worker()
    problem = see(site, worker)  # it may have come after the script began
    if problem:
        return "UserError", f"run.cluster: worker {worker.address}: {problem}"
    if _builder is None or _builder.kind != _kind(site) or _builder.process.poll() is not None:
        end_builder()
        _builder = _Builder(site)
    try:
        _builder.connection.send_bytes(call)
        return _outcome(_builder.connection, worker, site["topic"])
    except (EOFError, OSError):
        end_builder()
        raise BuilderKilled(worker.address) from None


def _kind(site: dict[str, Any]) -> tuple[Any, ...]:
    """What a process is started with; one of the same kind builds on."""
    names = ("root", "folder", "code", "threads", "shares")
    return (*(site[name] for name in names), *sorted(site["environ"].items()))


def end_builder() -> None:
    """End the process of this worker, if there is one."""
    global _builder
    if _builder is not None:
        _builder.kill()
        _builder = None


def _outcome(connection: Connection, worker: Worker, topic: str) -> tuple[str, ...]:
    key = worker.get_current_task()
    while True:
        if not connection.poll(CANCEL_SECONDS):
            task = worker.state.tasks.get(key)
            is_wanted = task is not None and task.state == "executing"
            if not is_wanted or worker.status not in ALIVE:  # script or scheduler are gone
                end_builder()
                return "UserError", "interrupted"
            continue
        kind, *values = connection.recv()
        if kind != "log":
            return kind, *values
        worker.log_event(topic, values)
