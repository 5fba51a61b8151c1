"""SQLite files to which people's answers are appended: no row is ever changed.

A row is on disk (write-ahead log, synced at every commit) before the call that appends it returns.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from lib.errors import UserError

LOCK_TIMEOUT = 20.0  # seconds to wait for another process that writes
METADATA_SCHEMA = "CREATE TABLE IF NOT EXISTS metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL);"
METADATA = "SELECT key, value FROM metadata"


class Database:
    """One file. Safe for threads, and for other processes on the same file.

    A kind of file says what it holds (`CONTENT`), what a person does about a wrong file (`REMEDY`),
    its `FORMAT`, and its tables (`SCHEMA`).
    """

    CONTENT, REMEDY, FORMAT, SCHEMA = "", "", "", ""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises UserError if it is not a database of this kind."""
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            mode = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            self._connection.execute("PRAGMA synchronous = FULL")
            with self._transaction():
                self._upgrade()
            self._connection.executescript(METADATA_SCHEMA + self.SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"{path}: not a database of {self.CONTENT} ({error}); {self.REMEDY}"
            ) from None
        if mode != "wal":
            raise UserError(
                f"{path}: the file system does not support a write-ahead log; {self.REMEDY}"
            )

    def close(self) -> None:
        """Close the file; it cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def metadata(self) -> dict[str, str]:
        """The settings of the task that the file belongs to; empty for a new file."""
        with self._lock:
            return dict(self._connection.execute(METADATA).fetchall())

    def bind(self, settings: Mapping[str, str]) -> None:
        """Record the task of a new file. Raises UserError if the file belongs to another task."""
        wanted = {"format": self.FORMAT, **settings}
        with self._transaction():
            stored = dict(self._connection.execute(METADATA).fetchall())
            if not stored:
                self._connection.executemany("INSERT INTO metadata VALUES (?, ?)", wanted.items())
                return
        changes = [
            f"{key} {stored.get(key)} -> {value}"
            for key, value in wanted.items()
            if stored.get(key) != value
        ]
        if changes:
            raise UserError(
                f"{self.path}: {self.CONTENT} of another task ({'; '.join(changes)});"
                f" {self.REMEDY} or the settings that the file was created with"
            )

    def _upgrade(self) -> None:
        """Bring a file of an older format to the current one, inside of a transaction."""

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block is on disk at its end, or nothing."""
        with self._lock:
            # IMMEDIATE takes the write lock now; a later one could fail beside another writer.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
