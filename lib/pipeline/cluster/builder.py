"""A process that a Dask worker starts to build artifacts, with as many threads as the script says.

python -m lib.pipeline.cluster.builder CONNECTION THREADS SHARES
"""

import os
import sys
import time
import traceback
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from lib.errors import BeingBuilt, UserError
from lib.pipeline.artifact import Artifact, ensure
from lib.pipeline.manifest import read_manifest
from lib.runtime import workers
from lib.runtime.log import send_records
from lib.runtime.numba_cache import use_writable_cache
from lib.utils.disk_errors import find_os_error

IDLE_SECONDS = 30.0  # after which the process ends, and its memory is free
# A network file system may show a finished folder, or free the lock of a dead process, late.
LATE_SECONDS, PAUSE = 100.0, 0.2


def main(number: int, threads: int, shares: int) -> None:
    """Build what comes through a connection until it closes, or nothing comes for a while.

    number: of the file of the connection. threads, shares: as in `workers.take_share`.
    """
    workers.die_with_parent()
    workers.take_share(threads, shares)
    workers.tune_malloc()
    use_writable_cache()
    os.environ["TQDM_DISABLE"] = "1"  # the terminal of the user is elsewhere
    connection, lock = Connection(number), Lock()

    def send(*message: Any) -> None:
        with lock:  # threads of a build log too
            connection.send(message)

    while connection.poll(IDLE_SECONDS):
        try:
            artifact, rebuild, level = connection.recv()
        except EOFError:
            return
        send_records(level, lambda *record: send("log", *record))
        send(*outcome(artifact, rebuild))


def outcome(artifact: Artifact, rebuild: bool) -> tuple[str, ...]:
    """`ensure` an artifact; returns ("done",), or the kind of an error and what it says.

    UserError with its line; OSError with number, text and file; any other with its traceback.
    """
    try:
        wait_for_inputs(artifact)
        _ensure(artifact, rebuild)
    except UserError as error:
        return "UserError", str(error)
    except Exception as error:
        cause = find_os_error(error)
        if cause is not None:
            path = cause.filename or artifact.path
            return "OSError", str(cause.errno or 0), str(cause.strerror or cause), str(path)
        kind = "MemoryError" if workers.is_out_of_memory(error) else "RuntimeError"
        return kind, f"{artifact.path}: {traceback.format_exc()}"
    return ("done",)


def wait_for_inputs(artifact: Artifact) -> None:
    """Wait until the manifests of the inputs can be read here; `ensure` says which one is missing.

    Another machine has built them, and a network file system shows new files late.
    """
    end = time.monotonic() + LATE_SECONDS
    for source in artifact.inputs.values():
        if isinstance(source, Artifact):
            while read_manifest(source.path) is None and time.monotonic() < end:
                if source.path.parent.is_dir():
                    os.listdir(source.path.parent)  # has the file system look again
                time.sleep(PAUSE)


def _ensure(artifact: Artifact, rebuild: bool) -> None:
    """`ensure`; the process of a worker that died a moment ago may still hold the lock."""
    end = time.monotonic() + LATE_SECONDS
    while True:
        try:
            ensure(artifact, rebuild)
            return
        except BeingBuilt:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
