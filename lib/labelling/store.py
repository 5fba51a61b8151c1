"""SQLite log of labels: one row for each action of a person; no row is ever changed.

A person goes through positions 0 to N - 1 of an order. Each action names its position and counts
only if the person is at that position. A repeated key press or a second browser tab therefore
cannot count twice: it gets the person's real position instead. An undo is one more row. A row is
on disk (write-ahead log, synced at every commit) before its call returns.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lib.errors import UserError

UNANSWERED, SKIPPED = -2, -1  # in place of a class id; SKIPPED: "I cannot tell"
FORMAT = "labels 2"
LOCK_TIMEOUT = 20.0  # seconds to wait for another process that writes

SCHEMA = """
CREATE TABLE IF NOT EXISTS metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,  -- seconds since 1970
    person INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),  -- of an undo: the label that it removes
    kind TEXT NOT NULL CHECK (kind IN ('label', 'skip', 'undo')),
    class_id INTEGER CHECK ((class_id IS NOT NULL) = (kind = 'label'))
);
CREATE INDEX IF NOT EXISTS event_of_person ON event (person, position);
"""
# Format 1 had other names for a table, two columns and two keys. Its rows stay as they are.
FORMAT_1_TO_2 = (
    "ALTER TABLE about RENAME TO metadata",
    "ALTER TABLE event RENAME COLUMN place TO position",
    "ALTER TABLE event RENAME COLUMN class TO class_id",
    "UPDATE metadata SET key = 'items' WHERE key = 'drawings'",
    "UPDATE metadata SET key = 'task' WHERE key = 'sheet'",
    f"UPDATE metadata SET value = '{FORMAT}' WHERE key = 'format'",
)
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
METADATA = "SELECT key, value FROM metadata"
POSITION = (
    "SELECT coalesce(sum(CASE kind WHEN 'undo' THEN -1 ELSE 1 END), 0) FROM event WHERE person = ?"
)
LABELS = """
SELECT position, class_id FROM event WHERE id IN (
    SELECT max(id) FROM event WHERE person = :person AND kind != 'undo' GROUP BY position
) AND position < :end
"""


class StalePosition(Exception):
    """An action names another position than the person's current one, `position`."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the person is at position {position}")
        self.position = position


class Store:
    """The labels in one file. Safe for threads, and for other processes on the same file."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises UserError if it is not a database of labels."""
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            mode = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            self._connection.execute("PRAGMA synchronous = FULL")
            self._upgrade()
            self._connection.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"{path}: not a database of labels ({error}); choose another --data"
            ) from None
        if mode != "wal":
            raise UserError(
                f"{path}: the file system does not support a write-ahead log; choose another --data"
            )

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def metadata(self) -> dict[str, str]:
        """The settings of the task that the labels belong to; empty for a new file."""
        with self._lock:
            return dict(self._connection.execute(METADATA).fetchall())

    def bind(self, settings: Mapping[str, str]) -> None:
        """Record the task of a new file. Raises UserError if the file belongs to another task."""
        wanted = {"format": FORMAT, **settings}
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
                f"{self.path}: labels of another task ({'; '.join(changes)}); choose another --data"
                " or the settings that the file was created with"
            )

    def position(self, person: int) -> int:
        """The position that the person labels next."""
        with self._lock:
            return self._position(person)

    def answer(self, person: int, position: int, class_id: int | None) -> int:
        """Record a class, or None for "I cannot tell"; returns the next position.

        Raises StalePosition if the person is not at `position`.
        """
        with self._transaction():
            self._check_position(person, position)
            self._append(person, position, "skip" if class_id is None else "label", class_id)
        return position + 1

    def undo(self, person: int, position: int) -> int:
        """Remove the label before `position`; returns the position that is open again.

        Raises StalePosition if the person is not at `position`, or if there is no label to remove.
        """
        with self._transaction():
            self._check_position(person, position)
            if position == 0:
                raise StalePosition(0)
            self._append(person, position - 1, "undo", None)
        return position - 1

    def people(self) -> list[int]:
        """The numbers of all people with at least one action, ascending."""
        with self._lock:
            rows = self._connection.execute("SELECT DISTINCT person FROM event ORDER BY person")
            return [person for (person,) in rows]

    def labels(self, person: int, num_items: int) -> np.ndarray:
        """int16 [num_items] in the person's order: a class id, SKIPPED or UNANSWERED."""
        labels = np.full(num_items, UNANSWERED, np.int16)
        with self._lock:
            parameters = {"person": person, "end": self._position(person)}
            for position, class_id in self._connection.execute(LABELS, parameters):
                labels[position] = SKIPPED if class_id is None else class_id
        return labels

    def _upgrade(self) -> None:
        """Bring a file of format 1 to the current one."""
        with self._transaction():
            tables = {name for (name,) in self._connection.execute(TABLES)}
            if "about" in tables and "metadata" not in tables:
                for statement in FORMAT_1_TO_2:
                    self._connection.execute(statement)

    def _position(self, person: int) -> int:
        return self._connection.execute(POSITION, (person,)).fetchone()[0]

    def _check_position(self, person: int, position: int) -> None:
        current = self._position(person)
        if current != position:
            raise StalePosition(current)

    def _append(self, person: int, position: int, kind: str, class_id: int | None) -> None:
        self._connection.execute(
            "INSERT INTO event (time, person, position, kind, class_id) VALUES (?, ?, ?, ?, ?)",
            (time.time(), person, position, kind, class_id),
        )

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
